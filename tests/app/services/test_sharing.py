"""What the recorder puts into an artifact store for workers of other machines."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from app.contract.command_key import architecture_key, key_path, read_key
from app.contract.settings import Settings
from app.contract.shared_files import SharedFolder, dataset_manifest
from app.services import artifacts
from app.services.own_dataset_trash import purge_datasets, restore_dataset, trash_dataset
from app.services.sharing import SharedArchitectures, Sharing
from tests.app.own_dataset import describe_own_dataset


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A data folder, and an artifact store elsewhere."""
    (tmp_path / "data").mkdir()
    (tmp_path / "nets").mkdir()
    return Settings(data_dir=tmp_path / "data", artifact_url=str(tmp_path / "store"), models_path=tmp_path / "nets")


def files(settings: Settings) -> list[str]:
    root = Path(settings.artifacts) / "shared" / "files"
    return sorted(path.name for path in root.iterdir()) if root.exists() else []


def sharing(settings: Settings) -> Sharing:
    return Sharing(settings, SharedArchitectures(settings))


def test_a_dataset_is_copied_once_and_its_manifest_comes_last(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = describe_own_dataset(settings.datasets)
    manifest = dataset_manifest(own.name, own.version)
    shared = sharing(settings)
    real, written = artifacts.write, []

    def write(where: Settings, path: str, content: bytes) -> None:
        written.append((path, files(where)))
        real(where, path, content)

    monkeypatch.setattr(artifacts, "write", write)
    for _ in range(3):
        shared.step()
    found = SharedFolder.model_validate_json(artifacts.read(settings, manifest))
    assert [each.name for each in found.files] == ["dataset.json", "items.csv"]
    assert written == [(manifest, sorted(each.sha256 for each in found.files))]
    folder = settings.datasets / "own" / own.name / own.version
    for each in found.files:
        assert artifacts.read(settings, each.path) == (folder / each.name).read_bytes()
    # Nor is it copied again by the next recorder.
    sharing(settings).step()
    assert len(written) == 1


def test_a_dataset_leaves_the_store_when_it_is_deleted_for_good(settings: Settings) -> None:
    describe_own_dataset(settings.datasets, version="aaaaaaaaaaaa")
    describe_own_dataset(settings.datasets, "birds", "bbbbbbbbbbbb")
    shared = sharing(settings)
    shared.step()
    # The two have one file in common.
    assert len(files(settings)) == 3
    entry = trash_dataset(settings.datasets, "flowers")
    shared.step()
    assert len(files(settings)) == 3
    assert restore_dataset(settings.datasets, entry)
    trash_dataset(settings.datasets, "flowers")
    purge_datasets(settings.datasets, 1e12)
    shared.step()
    assert not artifacts.exists(settings, dataset_manifest("flowers", "aaaaaaaaaaaa"))
    assert artifacts.exists(settings, dataset_manifest("birds", "bbbbbbbbbbbb"))
    assert len(files(settings)) == 2


def test_a_file_that_changes_while_it_is_copied_is_not_shared(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = describe_own_dataset(settings.datasets)
    items = settings.datasets / "own" / own.name / own.version / "items.csv"
    real = artifacts.size

    def change(where: Settings, path: str) -> int | None:
        found = real(where, path)
        if "files" in path:
            items.write_text(items.read_text()[:-2] + "!\n")
        return found

    monkeypatch.setattr(artifacts, "size", change)
    with pytest.raises(OSError, match=r"items\.csv changed while it was copied"):
        sharing(settings).step()
    assert not artifacts.exists(settings, dataset_manifest(own.name, own.version))


def test_architectures_are_shared_as_they_were_when_a_run_was_promised_them(settings: Settings) -> None:
    net = Path(str(settings.models_path)) / "net.py"
    net.write_text("first")
    architectures = SharedArchitectures(settings)
    first = architectures.now()
    net.write_text("second, which is longer")
    second = architectures.now()
    assert first is not None
    assert second is not None
    assert first.digest != second.digest
    assert architectures.now() is second
    Sharing(settings, architectures).step()
    assert [artifacts.read(settings, each.files[0].path) for each in (first, second)] == [
        b"first",
        b"second, which is longer",
    ]
    assert not architectures.waiting
    assert first.is_signed(architecture_key(read_key(key_path(settings.data_dir))))


def test_nothing_is_shared_where_all_workers_have_the_data_folder(settings: Settings) -> None:
    local = settings.model_copy(update={"artifact_url": None})
    assert SharedArchitectures(local).now() is None
    stop = threading.Event()
    sharing(local).run(stop)  # returns at once
    assert SharedArchitectures(settings.model_copy(update={"models_path": None})).now() is None


def test_a_store_that_fails_is_tried_again(settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    own = describe_own_dataset(settings.datasets)
    stop, failures = threading.Event(), iter([OSError("the store is away")])
    monkeypatch.setattr("app.services.sharing.LOOK_SECONDS", 0.001)
    monkeypatch.setattr("app.services.sharing.RETRY_SECONDS", 0.001)
    real = artifacts.write

    def write(where: Settings, path: str, content: bytes) -> None:
        if error := next(failures, None):
            raise error
        real(where, path, content)
        stop.set()

    monkeypatch.setattr(artifacts, "write", write)
    sharing(settings).run(stop)
    assert artifacts.exists(settings, dataset_manifest(own.name, own.version))
    assert "retrying: the store is away" in caplog.text


def test_a_key_that_others_can_read_signs_nothing(settings: Settings, caplog: Any) -> None:
    (Path(str(settings.models_path)) / "net.py").write_text("x")
    assert SharedArchitectures(settings).now() is not None
    os.chmod(key_path(settings.data_dir), 0o644)
    assert SharedArchitectures(settings).now() is None
    assert "workers of other machines do not get the architectures" in caplog.text
