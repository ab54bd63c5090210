"""`runyard files`, against a real server."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from app.cli import cli
from tests.served import serving


@pytest.fixture
def folder(server: FastAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where commands are called; run 1 of the server has two files."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with serving(server) as address:
        monkeypatch.setenv("RUNYARD_URL", address)
        made = httpx.post(f"{address}/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}).json()
        for path in ("notes.txt", "plots/roc.png"):
            root = f"{address}/api/2.0/mlflow-artifacts/artifacts/0/{made['run']['info']['run_id']}/artifacts"
            assert httpx.put(f"{root}/{path}", content=b"content").status_code == 200
        yield tmp_path / "here"


def called(*words: str, status: int = 0) -> str:
    """What a command prints."""
    found = CliRunner().invoke(cli, ["files", *words])
    assert found.exit_code == status, found.output
    return found.output


def test_files_are_listed(folder: Path) -> None:
    lines = called("1").splitlines()
    assert [line.split()[:3] for line in lines if "." in line] == [
        ["notes.txt", "7", "script"],
        ["plots/roc.png", "7", "script"],
    ]
    assert "notes.txt" not in called("1", "plots/")
    assert [each["path"] for each in json.loads(called("1", "--json"))] == ["notes.txt", "plots/roc.png"]


def test_a_file_is_downloaded(folder: Path) -> None:
    assert called("1", "plots/roc.png") == "roc.png\n"
    assert called("1", "plots/roc.png", "-o", "mine.png") == "mine.png\n"
    assert json.loads(called("1", "notes.txt", "-o", ".", "--json")) == {"path": "notes.txt", "bytes": 7}
    assert sorted(path.name for path in folder.iterdir()) == ["mine.png", "notes.txt", "roc.png"]


def test_all_files_are_downloaded_as_an_archive(folder: Path) -> None:
    assert called("1", "--all", "-o", "all.zip") == "all.zip\n"
    assert zipfile.ZipFile(folder / "all.zip").namelist() == ["notes.txt", "plots/roc.png"]


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["1", "none"], 1, "this run has no file 'none'"),
        (["1", "-o", "x"], 2, "-o needs the PATH"),
        (["1", "notes.txt", "--all"], 2, "give a PATH or --all, not both"),
        (["1", "notes.txt", "-o", "nowhere/x"], 1, "nowhere"),
        (["9"], 1, "no run 9"),
    ],
)
def test_what_cannot_be_done_is_said_and_saves_nothing(
    folder: Path, words: list[str], status: int, sentence: str
) -> None:
    assert sentence in called(*words, status=status)
    assert list(folder.iterdir()) == []
