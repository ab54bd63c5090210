"""`Run.export` saves what the server's export wrote, whole or not at all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fastapi import FastAPI

from app.contract.events import Checkpoint
from runyard import AsyncRunyard, Run, Runyard, RunyardError
from tests.app.exported import export_without_torch
from tests.conftest import Runs, run_apart


def ended(runs: Runs) -> str:
    run = runs.add()
    runs.finish(run)
    best = Checkpoint(path=f"{run}/1/best.safetensors", epoch=2, step=18, best=True)
    runs.set(run, best_checkpoint=best.model_dump_json())
    return run


@pytest.fixture
def run(yard: Runyard, server: FastAPI, runs: Runs, tmp_path: Path) -> Run:
    """A run that can be exported."""
    export_without_torch(server.state.parts.jobs, tmp_path)
    return yard.run(ended(runs))


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize(("form", "name"), [("onnx", "model.onnx"), ("torch_export", "model.pt2")])
@pytest.mark.parametrize("preprocessing", [True, False])
def test_a_file_is_saved_where_it_was_asked_for(
    run: Run, folder: Path, form: str, name: str, preprocessing: bool
) -> None:
    result = run.export(form, folder / "mine.bin", preprocessing=preprocessing)
    assert files(folder) == {"mine.bin": f"{name} {preprocessing}"}
    assert (result["format"], result["preprocessing"], result["difference"]) == (form, preprocessing, 3.2e-7)
    (listed,) = run.exports()
    assert (listed["name"], listed["bytes"]) == (name, len(f"{name} {preprocessing}"))


def test_weights_come_with_the_file_that_says_how_to_build_the_network(run: Run, folder: Path) -> None:
    result = run.export("safetensors", str(folder / "digits.safetensors"))
    assert files(folder) == {"digits.safetensors": "model.safetensors True", "digits.json": "model.json True"}
    assert result["difference"] is None


def test_an_awaited_export_saves_the_same(run: Run, url: str, folder: Path) -> None:
    async def ask() -> None:
        async with AsyncRunyard(url) as yard:
            found = await yard.run(run.id)
            await asyncio.gather(
                found.export("onnx", folder / "a.onnx"), found.export("onnx", folder / "b.onnx", preprocessing=False)
            )

    run_apart(ask())
    assert set(files(folder)) == {"a.onnx", "b.onnx"}


def test_an_export_that_fails_says_why_and_leaves_no_file(
    yard: Runyard, run: Run, runs: Runs, server: FastAPI, tmp_path: Path, folder: Path
) -> None:
    other = yard.run(ended(runs))
    export_without_torch(server.state.parts.jobs, tmp_path, broken=(other.id,))
    with pytest.raises(RunyardError, match=r"^the network cannot be exported as onnx$"):
        other.export("onnx", folder / "model.onnx")
    with pytest.raises(RunyardError, match="format must be one of onnx, torch_export or safetensors"):
        run.export("tflite", folder / "model.tflite")
    assert files(folder) == {}


def test_whoever_does_not_wait_long_enough_is_told_that_the_job_continues(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, server: FastAPI
) -> None:
    monkeypatch.setattr(server.state.parts.jobs, "_start_thread", lambda: None)
    with pytest.raises(TimeoutError, match="has not ended; it continues on the server"):
        run.export("onnx", folder / "model.onnx", timeout=0)
    assert files(folder) == {}
