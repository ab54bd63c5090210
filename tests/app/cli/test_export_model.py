"""`runyard export-model`, against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from app.cli import cli
from app.contract.events import Checkpoint
from tests.app.exported import export_without_torch
from tests.conftest import Runs
from tests.served import serving


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands are called."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def run(server: FastAPI, runs: Runs, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run 1 of a server, which can be exported."""
    export_without_torch(server.state.parts.jobs, tmp_path)
    found = runs.add()
    runs.finish(found)
    best = Checkpoint(path=f"{found}/1/best.safetensors", epoch=2, step=18, best=True)
    runs.set(found, best_checkpoint=best.model_dump_json())
    with serving(server) as address:
        monkeypatch.setenv("RUNYARD_URL", address)
        yield found


def called(*words: str, status: int = 0) -> str:
    """What a command prints."""
    found = CliRunner().invoke(cli, ["export-model", *words])
    assert found.exit_code == status, found.output
    return found.output


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_without_a_file_it_is_onnx_named_after_the_run(run: str, folder: Path) -> None:
    assert called("1") == "run-1.onnx: 15 bytes; differs from torch by at most 3.2e-07 on 256 test images\n"
    assert files(folder) == {"run-1.onnx": "model.onnx True"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-o", "a.pt2"], {"a.pt2": "model.pt2 True"}),
        (["-o", "A.ONNX", "--no-preprocessing"], {"A.ONNX": "model.onnx False"}),
        (["--format", "safetensors"], {"run-1.safetensors": "model.safetensors True", "run-1.json": "model.json True"}),
        (["--format", "torch_export", "-o", "net.bin"], {"net.bin": "model.pt2 True"}),
    ],
)
def test_the_format_is_that_of_the_option_or_of_the_suffix(
    run: str, folder: Path, words: list[str], expected: dict[str, str]
) -> None:
    called(run, *words)
    assert files(folder) == expected


def test_weights_have_no_difference_to_tell_and_json_has_the_whole_result(run: str, folder: Path) -> None:
    assert called("1", "--format", "safetensors") == "run-1.safetensors: 37 bytes\n"
    said = json.loads(called("1", "-o", "b.onnx", "--json"))
    assert (said["path"], said["format"], said["difference"], said["pictures"]) == ("b.onnx", "onnx", 3.2e-7, 256)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["1", "-o", "model.tflite"], "unknown file suffix .tflite; suffixes: .onnx, .pt2, .safetensors"),
        (["1", "-o", "nowhere/model.onnx"], "no folder nowhere"),
        (["7"], "no run"),
    ],
)
def test_what_cannot_be_exported_is_told_and_nothing_is_written(
    run: str, folder: Path, words: list[str], sentence: str
) -> None:
    found = CliRunner().invoke(cli, ["export-model", *words])
    assert found.exit_code != 0
    assert sentence in found.output
    assert files(folder) == {}
