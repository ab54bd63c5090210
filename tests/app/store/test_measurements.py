"""Measurements count only comparable successful runs, and each figure says how many."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from app.store.database import next_commit, reading, writing
from app.store.measurements import PEAK_MEMORY, Figure, Measured, measure, measured_devices
from app.store.metric import Curve, add_points
from tests.conftest import Runs

DEVICE = "made-up gpu"


def finish(
    runs: Runs,
    *,
    speed: float | None = 1000.0,
    peak: float | None = None,
    seconds: float = 10.0,
    device: str = DEVICE,
    outcome: str = "succeeded",
    acc: dict[str, float] | None = None,
    **said: Any,
) -> str:
    """An ended run of two epochs."""
    run = runs.add(**said)
    progress = {} if speed is None else {"samples_per_second": speed}
    runs.set(run, started_at=1000.0, device=device, progress=json.dumps(progress))
    figures = dict(acc or {}) | ({} if peak is None else {PEAK_MEMORY: peak})
    with writing(runs.engine) as connection:
        commit = next_commit(connection)
        for name, value in figures.items():
            curve = Curve(np.array([9, 18], dtype=np.int64), np.array([value / 2, value]), np.array([1.0, 2.0]))
            add_points(connection, run, name, curve, commit)
    runs.finish(run, outcome, 1000.0 + seconds)
    return run


def measured(engine: Engine, dataset: str = "digits", target: str = "digit") -> dict[tuple[str, str], Measured]:
    with reading(engine) as connection:
        return measure(connection, dataset, target, DEVICE, 128)


def test_where_nothing_has_finished_there_is_nothing(runs: Runs, engine: Engine) -> None:
    runs.add()
    finish(runs, outcome="failed", acc={"test/acc": 0.9})
    finish(runs, outcome="cancelled", acc={"test/acc": 0.9})
    assert measured(engine) == {}


def test_a_finished_run_gives_all_four_figures(runs: Runs, engine: Engine) -> None:
    run = finish(runs, speed=500.0, peak=300.0, seconds=10.0, acc={"test/acc": 0.9})
    assert measured(engine) == {
        ("simple_mlp", "base"): Measured(Figure(500.0, 1), Figure(300.0, 1), Figure(5.0, 1), Figure(0.9, 1), run)
    }


def test_speed_and_pace_are_medians_memory_is_the_highest_and_accuracy_the_best(runs: Runs, engine: Engine) -> None:
    worse = finish(runs, speed=100.0, peak=200.0, seconds=10.0, acc={"test/acc": 0.8})
    best = finish(runs, speed=900.0, peak=500.0, seconds=40.0, acc={"test/acc": 0.95})
    finish(runs, speed=300.0, peak=300.0, seconds=20.0, acc={"test/acc": 0.9})
    found = measured(engine)["simple_mlp", "base"]
    assert found.samples_per_second == Figure(300.0, 3)
    assert found.peak_memory_mb == Figure(500.0, 3)
    assert found.epoch_seconds == Figure(10.0, 3)
    assert found.test_acc == Figure(0.95, 3)
    assert found.best_run == best != worse


def test_other_devices_batches_and_options_count_for_accuracy_alone(runs: Runs, engine: Engine) -> None:
    finish(runs, speed=500.0, acc={"test/acc": 0.5})
    finish(runs, speed=1.0, acc={"test/acc": 0.6}, device="another gpu")
    finish(runs, speed=2.0, acc={"test/acc": 0.7}, batch_size=64)
    finish(runs, speed=3.0, acc={"test/acc": 0.8}, options={"swish": "learnable"})
    found = measured(engine)["simple_mlp", "base"]
    assert found.samples_per_second == Figure(500.0, 1)
    assert found.test_acc == Figure(0.8, 4)


def test_sizes_and_datasets_are_kept_apart_and_the_trash_is_left_out(runs: Runs, engine: Engine) -> None:
    finish(runs, size="tiny", acc={"test/acc": 0.5})
    finish(runs, dataset="mnist", acc={"test/acc": 0.99})
    thrown = finish(runs, size="small", acc={"test/acc": 0.7})
    runs.set(thrown, deleted_at=2000.0)
    assert list(measured(engine)) == [("simple_mlp", "tiny")]
    assert list(measured(engine, "mnist")) == [("simple_mlp", "base")]


def test_accuracy_is_that_of_the_target_however_many_heads_a_run_has(runs: Runs, engine: Engine) -> None:
    both = {"test/digit/acc": 0.97, "test/thickness/acc": 0.99}
    heads = finish(runs, targets=["digit", "thickness"], acc=both)
    finish(runs, targets=["thickness"], acc={"test/acc": 0.995})
    found = measured(engine)["simple_mlp", "base"]
    assert (found.test_acc, found.best_run) == (Figure(0.97, 1), heads)


def test_what_a_run_did_not_report_is_not_counted(runs: Runs, engine: Engine) -> None:
    finish(runs, speed=None)
    found = measured(engine)["simple_mlp", "base"]
    assert found == Measured(epoch_seconds=Figure(5.0, 1))
    finish(runs, speed=700.0, peak=10.0)
    found = measured(engine)["simple_mlp", "base"]
    assert (found.samples_per_second, found.peak_memory_mb) == (Figure(700.0, 1), Figure(10.0, 1))


def test_a_score_that_is_not_a_number_is_nobodys_best(runs: Runs, engine: Engine) -> None:
    finish(runs, acc={"test/acc": float("nan")})
    found = measured(engine)["simple_mlp", "base"]
    assert (found.test_acc, found.best_run) == (Figure(), None)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_the_best_is_never_below_any_run(engine: Engine, runs: Runs, accs: list[float]) -> None:
    before = measured(engine).get(("simple_mlp", "base"), Measured()).test_acc
    for acc in accs:
        finish(runs, acc={"test/acc": acc})
    after = measured(engine)["simple_mlp", "base"].test_acc
    assert after.value == pytest.approx(max(*accs, before.value or 0.0))
    assert after.runs == before.runs + len(accs)


def test_devices_are_listed_with_the_busiest_first(runs: Runs, engine: Engine) -> None:
    finish(runs, device="a cpu")
    finish(runs)
    finish(runs)
    finish(runs, device="never seen", outcome="failed")
    finish(runs, device="elsewhere", dataset="mnist")
    with reading(engine) as connection:
        assert measured_devices(connection, "digits") == {DEVICE: 2, "a cpu": 1}
