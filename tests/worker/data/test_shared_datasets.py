from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from app.contract.settings import Settings
from app.contract.shared_files import SharedFolder, dataset_manifest, describe_contents
from app.services.sharing import SharedArchitectures, Sharing
from tests.app.own_dataset import describe_own_dataset
from worker.data.datasets import DatasetError
from worker.data.shared_datasets import FETCHED, IN_USE_SECONDS, ensure_dataset
from worker.training.checkpoint_file import Store

MUCH = 1e9


@pytest.fixture
def server(tmp_path: Path) -> Settings:
    """A server that shares what is imported."""
    (tmp_path / "server").mkdir()
    return Settings(data_dir=tmp_path / "server", artifact_url=str(tmp_path / "store"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The datasets of another machine."""
    return tmp_path / "elsewhere" / "datasets"


def share(server: Settings, name: str, version: str = "aaaaaaaaaaaa") -> str:
    describe_own_dataset(server.datasets, name, version)
    Sharing(server, SharedArchitectures(server)).step()
    return f"{name}@{version}"


def copies(folder: Path) -> set[str]:
    return {f"{mark.parent.parent.name}@{mark.parent.name}" for mark in (folder / "own").glob(f"*/*/{FETCHED}")}


def age(folder: Path, key: str, seconds: float) -> None:
    mark = folder / "own" / key.replace("@", "/") / FETCHED
    os.utime(mark, (time.time() - seconds, time.time() - seconds))


def test_a_dataset_is_fetched_when_it_is_first_needed(server: Settings, folder: Path) -> None:
    key, sentences = share(server, "flowers"), list[str]()
    for _ in range(2):
        ensure_dataset(key, folder, Store(server.artifacts), MUCH, sentences.append)
    assert copies(folder) == {key}
    assert sentences[0] == f"fetching {key} from the artifact store"
    assert sentences[-1] == f"fetched {key}: 0.0 MB"
    assert len(sentences) == 2
    ours, theirs = (each / "own" / "flowers" / "aaaaaaaaaaaa" for each in (server.datasets, folder))
    assert all((theirs / path.name).read_bytes() == path.read_bytes() for path in ours.iterdir())


def test_a_worker_with_the_servers_data_folder_fetches_nothing(server: Settings) -> None:
    key = share(server, "flowers")
    ensure_dataset(key, server.datasets, Store(server.artifacts), MUCH, list[str]().append)
    assert copies(server.datasets) == set()
    ensure_dataset("digits", server.datasets, Store("memory://none"), MUCH, list[str]().append)


def test_the_least_recently_used_copies_make_room(server: Settings, folder: Path) -> None:
    keys = [share(server, f"set{number}") for number in range(4)]
    store, sentences = Store(server.artifacts), list[str]()
    size = sum(path.stat().st_size for path in (server.datasets / "own" / "set0" / "aaaaaaaaaaaa").iterdir())
    for number, key in enumerate(keys[:3]):
        ensure_dataset(key, folder, store, MUCH, list[str]().append)
        age(folder, key, 10 * IN_USE_SECONDS - number)
    # A run uses the oldest one again.
    ensure_dataset(keys[0], folder, store, MUCH, list[str]().append)
    ensure_dataset(keys[3], folder, store, 2.5 * size, sentences.append)
    assert copies(folder) == {keys[0], keys[3]}
    assert f"removed the copy of {keys[1]}, which no run has used for longest" in sentences
    # A copy in use stays, even if it takes more than it may.
    ensure_dataset(share(server, "more"), folder, store, 1.0, list[str]().append)
    assert copies(folder) == {keys[0], keys[3], "more@aaaaaaaaaaaa"}


def test_what_cannot_be_fetched_ends_the_run_with_a_sentence(
    server: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.data.shared_files.WAIT_SECONDS", 0.01)
    monkeypatch.setattr("worker.data.shared_files.LOOK_SECONDS", 0.001)
    store = Store(server.artifacts)
    with pytest.raises(DatasetError, match="flowers@bbb is not on this machine: the server has not put flowers@bbb"):
        ensure_dataset("flowers@bbb", folder, store, MUCH, list[str]().append)
    other: SharedFolder = describe_contents({"net.py": b""})
    store.write(dataset_manifest("flowers", "bbb"), other.model_dump_json().encode())
    with pytest.raises(DatasetError, match="describes no dataset"):
        ensure_dataset("flowers@bbb", folder, store, MUCH, list[str]().append)


def test_a_folder_that_cannot_be_written_to_ends_the_run_with_a_sentence(server: Settings, tmp_path: Path) -> None:
    key = share(server, "flowers")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match="could not write flowers@aaaaaaaaaaaa to"):
        ensure_dataset(key, tmp_path / "file", Store(server.artifacts), MUCH, list[str]().append)


def test_stopping_reaches_a_run_that_waits(server: Settings, folder: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(*_: Any) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        ensure_dataset("flowers@bbb", folder, Store(server.artifacts), MUCH, list[str]().append, stop)
