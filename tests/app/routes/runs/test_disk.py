"""Disk used by a run and by all of them: on their pages and in the API."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.contract.events import Checkpoint
from app.contract.settings import Settings
from tests.app.predicted import keep, predictions_of
from tests.conftest import Runs


def test_a_run_says_what_its_files_take(
    client: TestClient, runs: Runs, settings: Settings, engine: Engine, look: Any
) -> None:
    run, other = runs.add(), runs.add()
    assert client.get(f"/api/v1/runs/{run}/disk").json()["total"] == 0
    assert "disk-used" not in look(client.get(f"/runs/{run}")).words
    best = Checkpoint(path=f"{run}/1/best", epoch=1, step=9, bytes=2_500_000)
    runs.set(run, best_checkpoint=best.model_dump_json())
    keep(settings, engine, found := predictions_of(run))
    size = len(found.to_bytes())
    said = client.get(f"/api/v1/runs/{run}/disk").json()
    assert said == {
        "checkpoints": 2_500_000,
        "predictions": size,
        "exports": 0,
        "files": 0,
        "histograms_and_texts": 0,
        "unknown": 0,
        "total": 2_500_000 + size,
    }
    for address in (f"/runs/{run}", f"/runs/{run}/head"):
        words = look(client.get(address)).words["disk-used"]
        assert "checkpoints2.5 MB" in words
        assert "exports" not in words
    assert client.get(f"/api/v1/runs/{other}/disk").json()["total"] == 0
    assert client.get("/api/v1/disk").json() == said
    assert client.get("/api/v1/runs/r_none/disk").status_code == 404


def test_the_page_of_datasets_says_what_all_runs_take_besides(client: TestClient, runs: Runs, look: Any) -> None:
    assert "disk-used" not in look(client.get("/datasets")).words
    run = runs.add()
    runs.set(run, best_checkpoint=Checkpoint(path="x", epoch=1, step=9, bytes=1000).model_dump_json())
    words = look(client.get("/datasets")).words["disk-used"]
    assert words.startswith("Besides, all runs use 1 kB: checkpoints 1 kB. Deleted runs count")


def test_checkpoints_of_earlier_versions_are_said_to_be_of_unknown_size(
    client: TestClient, runs: Runs, look: Any
) -> None:
    run = runs.add()
    runs.set(run, checkpoint='{"path": "x", "epoch": 1, "step": 9}')
    assert "1 checkpoint of unknown size" in look(client.get(f"/runs/{run}")).words["disk-used"]
