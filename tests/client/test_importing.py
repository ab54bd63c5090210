"""Imports of images with the Python client: the worker's part is a file that the tests write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import runyard
from app.contract.dataset_import import UPLOAD
from app.contract.settings import Settings
from runyard import AsyncRunyard, Runyard, RunyardError
from tests.app.routes.datasets.test_api import OLD, folder_of, read
from tests.conftest import run_apart


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one file."""
    (tmp_path / "flowers" / "rose").mkdir(parents=True)
    (tmp_path / "flowers" / "rose" / "1.jpg").write_bytes(b"content")
    return tmp_path / "flowers"


@pytest.fixture
def finished_meanwhile(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """A worker makes the dataset as soon as somebody has found the import unfinished."""
    real = runyard._DatasetImportBase._settled

    def settled(each: runyard.DatasetImport, deadline: float) -> bool:
        if not (found := real(each, deadline)):
            read(settings, each.id, status="ready", version=OLD)
        return found

    monkeypatch.setattr(runyard._DatasetImportBase, "_settled", settled)


def test_an_import_is_awaited(yard: Runyard, folder: Path, finished_meanwhile: None) -> None:
    started = yard.add_dataset("flowers", folder, side=64)
    assert (started.name, started.status, started.url) == (
        "flowers",
        "waiting",
        f"{yard.url}/datasets/imports/{started.id}",
    )
    assert repr(started) == "<DatasetImport 'flowers' waiting>"
    assert started.wait(timeout=30) is started
    assert (started.status, started.version, started.data["version"]) == ("ready", OLD, OLD)


def test_names_of_any_bytes_are_uploaded(yard: Runyard, folder: Path, settings: Settings) -> None:
    # In Latin-1.
    Path(os.fsdecode(os.fsencode(folder / "rose") + b"/caf\xe9.jpg")).write_bytes(b"other content")
    started = yard.add_dataset("flowers", folder)
    uploaded = folder_of(settings, started.id) / UPLOAD / "flowers" / "rose"
    assert {each.name: each.read_bytes() for each in uploaded.iterdir()} == {
        "1.jpg": b"content",
        "café.jpg": b"other content",
    }


def test_links_are_uploaded_unless_they_lead_out(yard: Runyard, folder: Path, settings: Settings) -> None:
    (folder / "rose" / "2.jpg").symlink_to(folder / "rose" / "1.jpg")
    (folder / "rose" / "3.jpg").symlink_to(__file__)
    (folder / "rose" / "4.jpg").symlink_to("nowhere")
    started = yard.add_dataset("flowers", folder)
    uploaded = folder_of(settings, started.id) / UPLOAD / "flowers" / "rose"
    assert sorted(each.name for each in uploaded.iterdir()) == ["1.jpg", "2.jpg"]
    assert (uploaded / "2.jpg").read_bytes() == b"content"


def test_an_import_is_awaited_asynchronously(url: str, folder: Path, finished_meanwhile: None) -> None:
    async def ended() -> str:
        async with AsyncRunyard(url) as yard:
            started = await yard.add_dataset("flowers", folder)
            return (await started.wait(timeout=30)).status

    assert run_apart(ended()) == "ready"


def test_waiting_ends_at_a_preview_a_failure_or_the_time_limit(yard: Runyard, folder: Path, settings: Settings) -> None:
    started = yard.add_dataset("flowers", folder, keep=False)
    with pytest.raises(TimeoutError, match="the import of flowers has not ended; it continues on the server"):
        started.wait(timeout=0)
    read(settings, started.id)
    assert started.wait().status == "preview"
    # What was kept in the browser meanwhile is noticed.
    read(settings, started.id, status="failed", reason="no images found in flowers")
    with pytest.raises(RunyardError, match=r"^no images found in flowers$"):
        started.wait()
    started.cancel()
    with pytest.raises(RunyardError, match="no import"):
        started.wait()
