"""A sweep's runs are counted along an index, ranked by one metric, and keep the reason why they were stopped."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sqlalchemy import Engine, text

from app.store import sweep as store
from app.store.database import next_commit, reading, writing
from app.store.lease import end, request_cancel
from app.store.metric import Curve, add_points
from app.store.run import Origin, insert_run, transition
from app.store.sweep import SweepRun
from tests.conftest import Runs, config

CONTENTS = {"asked": {"base": {}, "grid": {"lr": [0.1, 0.2]}}, "left_out": [], "families": {}}


def made(engine: Engine, *values: dict[str, object]) -> tuple[str, list[str]]:
    """A sweep and its runs."""
    with writing(engine) as connection:
        sweep = store.insert_sweep(connection, "", CONTENTS, len(values), 1.0)
        origins = [Origin(sweep=sweep, sweep_values=each) for each in values]
        runs = [insert_run(connection, config(), {}, None, 1.0, origin=each) for each in origins]
    return sweep, runs


def add(engine: Engine, run: str, name: str, *values: float) -> None:
    with writing(engine) as connection:
        curve = Curve(np.arange(len(values), dtype=np.int64), np.array(values), np.arange(len(values), dtype=float))
        add_points(connection, run, name, curve, next_commit(connection))


def read(engine: Engine, sweep: str, metric: str = "val/acc", direction: str | None = None) -> list[SweepRun]:
    with reading(engine) as connection:
        return store.read_runs(connection, sweep, metric, store.direction_of(metric, direction))


@pytest.mark.sqlite
def test_runs_are_counted_by_state_along_the_index(engine: Engine, runs: Runs) -> None:
    sweep, ids = made(engine, {}, {}, {}, {})
    other, _ = made(engine, {})
    runs.set(ids[0], status="cancelled", stop_reason="pruned at epoch 1: …")
    runs.set(ids[1], status="cancelled")
    runs.set(ids[2], deleted_at=5.0)
    with reading(engine) as connection:
        found = store.count_runs(connection, [sweep, other])
        plan = connection.execute(
            text("EXPLAIN QUERY PLAN SELECT status, count(*) FROM run WHERE sweep = 'x' GROUP BY status")
        ).all()
    assert (found[sweep].states, found[sweep].pruned, found[sweep].made) == ({"cancelled": 2, "queued": 1}, 1, 3)
    assert found[other].states == {"queued": 1}
    assert "ix_run_sweep" in str(plan)


def test_the_best_figure_follows_the_direction_and_is_never_nan(engine: Engine) -> None:
    sweep, (first, second, third) = made(engine, {"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3})
    add(engine, first, "val/loss", 0.5, 0.3, math.nan)
    add(engine, second, "val/loss", 0.2, 0.9)
    add(engine, third, "val/loss", math.nan)
    assert [run.value for run in read(engine, sweep, "val/loss")] == [0.3, 0.2, None]
    assert [run.value for run in read(engine, sweep, "val/loss", "maximize")] == [0.5, 0.9, None]
    ranked = store.best_first(read(engine, sweep, "val/loss"), "minimize")
    assert [run.id for run in ranked] == [second, first, third]


def test_the_first_head_stands_for_a_run_of_several(engine: Engine) -> None:
    sweep, (one, several) = made(engine, {}, {})
    add(engine, one, "val/acc", 0.7)
    add(engine, several, "val/digit/acc", 0.6)
    add(engine, several, "val/thickness/acc", 0.9)
    assert [(run.metric, run.value) for run in read(engine, sweep)] == [("val/acc", 0.7), ("val/digit/acc", 0.6)]


@pytest.mark.parametrize("outcome", ["cancelled", "interrupted", "succeeded"])
def test_the_reason_for_a_stop_outlives_what_the_worker_says(engine: Engine, runs: Runs, outcome: str) -> None:
    run = runs.add()
    runs.set(run, status="running", fence=1)
    with writing(engine) as connection:
        assert request_cancel(connection, run, 5, 10.0, 15.0, "pruned at epoch 4") == "cancelling"
    assert (runs.status(run), runs.get(run).reason) == ("cancelling", "pruned at epoch 4")
    with writing(engine) as connection:
        end(connection, run, 1, outcome, "stopped at step 9", 6, 11.0)
    found = runs.get(run)
    # One that had just succeeded has.
    expected = ("succeeded", "stopped at step 9") if outcome == "succeeded" else ("cancelled", "pruned at epoch 4")
    assert (found.status, found.reason) == expected


def test_a_waiting_run_is_stopped_with_the_reason_at_once(engine: Engine, runs: Runs) -> None:
    run, other = runs.add(), runs.add()
    with writing(engine) as connection:
        assert request_cancel(connection, run, 5, 10.0, 15.0, "pruned before it began") == "cancelled"
        request_cancel(connection, other, 5, 10.0, 15.0)
    assert runs.get(run).reason == "pruned before it began"
    assert runs.get(other).reason == "cancelled while queued"


def test_a_user_s_stop_says_what_the_worker_said(engine: Engine, runs: Runs) -> None:
    run = runs.add()
    runs.set(run, status="running", fence=1)
    with writing(engine) as connection:
        request_cancel(connection, run, 5, 10.0, 15.0)
        transition(connection, run, "cancelled", 6, reason="stopped at step 9", ended_at=11.0)
    assert runs.get(run).reason == "stopped at step 9"


def test_a_sweep_ends_once_and_can_go_on(engine: Engine) -> None:
    sweep, _ = made(engine, {})
    with writing(engine) as connection:
        assert store.settle_sweep(connection, sweep, "stopped", 5.0, "enough")
        assert not store.settle_sweep(connection, sweep, "finished", 6.0)
        found = store.load_sweep(connection, sweep)
        assert found is not None
        assert (found.status, found.reason, found.ended_at, found.title) == ("stopped", "enough", 5.0, "lr")
        store.continue_sweep(connection, sweep, found.contents, 9)
        found = store.load_sweep(connection, sweep)
    assert found is not None
    assert (found.status, found.reason, found.ended_at, found.planned) == ("running", "", None, 9)
