"""The API of jobs on a run's best checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.contract.events import Checkpoint
from tests.conftest import Runs, errors_of, until


@pytest.fixture
def ended(runs: Runs, trained: Callable[..., str]) -> str:
    """A run whose best checkpoint has been removed since."""
    run = trained("succeeded")
    best = Checkpoint(path=f"{run}/1/best.safetensors", epoch=2, step=200, best=True)
    runs.set(run, best_checkpoint=best.model_dump_json())
    return run


def test_a_job_is_started_followed_and_listed(client: TestClient, ended: str) -> None:
    started = client.post(f"/api/v1/runs/{ended}/jobs", json={"kind": "evaluate"})
    assert started.status_code == 202
    job = started.json()
    assert (job["run"], job["kind"], job["options"], job["started"]) == (ended, "evaluate", {}, job["started"])

    def found() -> dict[str, Any]:
        answer: dict[str, Any] = client.get(f"/api/v1/jobs/{job['id']}").json()
        return answer

    until(lambda: found()["status"] == "failed", 120)
    assert "no longer in the artifact store" in found()["reason"]
    assert client.get(f"/api/v1/runs/{ended}/jobs").json() == {"jobs": [found()]}
    assert client.delete(f"/api/v1/jobs/{job['id']}").json() == found()


def test_what_cannot_be_done_is_one_sentence_and_starts_nothing(client: TestClient, ended: str, runs: Runs) -> None:
    assert errors_of(client.post(f"/api/v1/runs/{ended}/jobs", json={"kind": "bake"}))["kind"].startswith(
        "no kind of job 'bake'; kinds: evaluate, robustness"
    )
    bad = client.post(f"/api/v1/runs/{ended}/jobs", json={"kind": "robustness", "options": {"seed": -1}})
    assert errors_of(bad) == {"seed": "seed must be at least 0"}
    for path in ("/api/v1/runs/none/jobs", "/api/v1/jobs/none"):
        assert client.get(path).status_code == 404
    live = runs.add()
    assert client.post(f"/api/v1/runs/{live}/jobs", json={"kind": "evaluate"}).status_code == 409
    assert client.get(f"/api/v1/runs/{ended}/jobs").json() == {"jobs": []}
