"""`Run.files` and `Run.download`: the files of a run, whole or not at all, and never outside of the folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import runyard
from runyard import AsyncRunyard, Run, Runyard, RunyardError
from tests.conftest import run_apart

CONTENT = {"notes.txt": b"hello", "plots/roc 100%.bin": bytes(600_000)}


@pytest.fixture
def run(yard: Runyard, url: str) -> Run:
    """A run to which a script has logged."""
    made = httpx.post(f"{url}/api/2.0/mlflow/runs/create", json={"experiment_id": "0", "run_name": "logged"}).json()
    id = made["run"]["info"]["run_id"]
    for path, content in CONTENT.items():
        address = f"{url}/api/2.0/mlflow-artifacts/artifacts/0/{id}/artifacts/{path.replace('%', '%25')}"
        assert httpx.put(address, content=content).status_code == 200
    return yard.run(id)


def test_files_are_listed_and_saved(run: Run, tmp_path: Path) -> None:
    assert [(each["path"], each["bytes"]) for each in run.files()] == [(path, len(CONTENT[path])) for path in CONTENT]
    assert [each["path"] for each in run.files("plots")] == ["plots/roc 100%.bin"]
    assert run.download("plots/roc 100%.bin", tmp_path) == tmp_path / "roc 100%.bin"
    assert (tmp_path / "roc 100%.bin").read_bytes() == CONTENT["plots/roc 100%.bin"]
    assert run.download("notes.txt", tmp_path / "mine.md") == tmp_path / "mine.md"
    assert (tmp_path / "mine.md").read_bytes() == b"hello"


def test_all_files_are_saved_as_an_archive(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved = run.download()
    assert saved == Path("run-1-files.zip")
    with zipfile.ZipFile(saved) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == CONTENT


def test_awaited_calls_do_the_same(run: Run, url: str, tmp_path: Path) -> None:
    async def save() -> tuple[int, Path]:
        async with AsyncRunyard(url) as client:
            found = await client.run(run.id)
            return len(await found.files()), await found.download("notes.txt", tmp_path)

    assert run_apart(save()) == (2, tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_bytes() == b"hello"


def test_a_file_that_is_not_there_leaves_nothing(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(RunyardError, match="has no file 'none'"):
        run.download("none", folder)
    with pytest.raises(ValueError, match="is not the path of a file"):
        run.download("plots/../../x", folder)
    assert list(folder.iterdir()) == []


@given(st.lists(st.sampled_from(["..", ".", "", "a", "C:", "b.txt"]), max_size=5), st.sampled_from("/\\"))
def test_no_name_leads_out_of_the_folder_to_save_to(names: list[str], separator: str) -> None:
    folder = Path(__file__).parent
    try:
        _, target = runyard._download_target(1, separator.join(names), folder)
    except ValueError:
        return
    assert target.parent == folder
    assert target.name not in ("", ".", "..")
