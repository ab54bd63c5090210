"""What the result of an evaluation changes: the run's predictions, and the figures of one that was never tested."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.contract.model_jobs import EvaluateResult
from app.services.job_results import EFFECTS
from app.store import model_job
from app.store.database import next_commit, reading, writing
from app.store.metric import Curve, add_points, read_summaries
from tests.conftest import Runs


def evaluate(engine: Engine, run: str, **accuracy: float) -> None:
    """Let a run be evaluated with these accuracies on the test images, by head."""
    path = f"{run}/1/predictions.safetensors"
    result = EvaluateResult(path=path, kind="final", epoch=1, step=9, bytes=1, accuracy={"test": accuracy})
    with writing(engine) as connection:
        job = model_job.add_job(connection, run, "evaluate", {}, time.time())
        EFFECTS["evaluate"](connection, job, result.model_dump(), next_commit(connection), time.time())


def figures_of(engine: Engine, run: str) -> dict[str, float | None]:
    with reading(engine) as connection:
        return {name: each.last for name, each in read_summaries(connection, [run])[run].items()}


def test_a_stopped_run_has_the_accuracy_that_was_evaluated_and_says_when(
    client: TestClient, runs: Runs, engine: Engine
) -> None:
    run, other = runs.add(), runs.add()
    runs.finish(run, "cancelled")
    runs.finish(other)
    assert "tested-afterwards" not in client.get(f"/runs/{run}").text
    evaluate(engine, run, digit=0.875)
    page = client.get(f"/runs/{run}").text
    assert "<span>test/acc</span><b>87.50%</b>" in page
    assert "The test accuracy was evaluated after the run had ended." in page
    compared = client.get(f"/compare?runs={run},{other}&by=none").text
    assert "87.50%" in compared
    assert "test/acc of #1: evaluated after the run ended early." in compared


def test_an_accuracy_that_the_run_measured_itself_stays(runs: Runs, engine: Engine) -> None:
    run = runs.add()
    with writing(engine) as connection:
        curve = Curve(np.array([9], np.uint32), np.array([0.9]), np.array([1.0]))
        add_points(connection, run, "test/acc", curve, next_commit(connection))
    runs.finish(run)
    evaluate(engine, run, digit=0.5)
    assert figures_of(engine, run) == {"test/acc": 0.9}


def test_a_run_that_failed_after_its_test_was_not_evaluated_afterwards(
    client: TestClient, runs: Runs, engine: Engine
) -> None:
    run = runs.add()
    with writing(engine) as connection:
        commit = next_commit(connection)
        for name in ("test/acc", "test/loss"):
            add_points(connection, run, name, Curve(np.array([9], np.uint32), np.array([0.9]), np.array([1.0])), commit)
    runs.finish(run, "failed")
    page = client.get(f"/runs/{run}").text
    assert "90.00%" in page
    assert "tested-afterwards" not in page


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [
        ({"digit": 0.5}, {"test/acc": 0.5}),
        ({"digit": 0.5, "slant": 0.25}, {"test/digit/acc": 0.5, "test/slant/acc": 0.25}),
    ],
)
def test_figures_are_called_as_a_trainer_calls_them(
    runs: Runs, engine: Engine, accuracy: dict[str, float], expected: dict[str, Any]
) -> None:
    run = runs.add()
    runs.finish(run, "failed")
    evaluate(engine, run, **accuracy)
    assert figures_of(engine, run) == expected
    evaluate(engine, run, **dict.fromkeys(accuracy, 0.75))
    assert figures_of(engine, run) == expected
