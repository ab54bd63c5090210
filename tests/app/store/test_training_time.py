"""The time axis counts only training, without the waits between attempts or before a resume."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store import training_time
from app.store.curve import Curve
from app.store.database import next_commit, writing
from app.store.metric import add_points, cut_after
from app.store.training_time import read_intervals, trained_seconds_at
from tests.conftest import Runs

NOW = 1_700_000_000.0


def train(runs: Runs, run: str, began: float, first: int, last: int) -> None:
    """An attempt from one step to another, at one second per step."""
    steps = np.arange(first, last + 1, dtype=np.int64)
    times = began + 1.0 + np.arange(len(steps), dtype=np.float64)
    with writing(runs.engine) as connection:
        training_time.begin_interval(connection, run, began)
        runs_at = Curve(steps, np.ones(len(steps)), times)
        add_points(connection, run, "train/loss", runs_at, next_commit(connection))


def cut(runs: Runs, run: str, step: int) -> None:
    with writing(runs.engine) as connection:
        cut_after(connection, run, step, next_commit(connection))


def test_an_attempt_that_goes_on_later_leaves_no_gap_and_what_was_trained_in_vain_is_left_out(runs: Runs) -> None:
    run = runs.add()
    train(runs, run, NOW, 1, 10)
    cut(runs, run, 6)
    train(runs, run, NOW + 5000, 7, 12)
    assert runs.get(run).stretches == ((NOW, 0.0), (NOW + 5000, 6.0))
    # An attempt without points does not count.
    train(runs, run, NOW + 9000, 13, 12)
    train(runs, run, NOW + 10_000, 13, 14)
    assert runs.get(run).stretches == ((NOW, 0.0), (NOW + 5000, 6.0), (NOW + 10_000, 12.0))
    # An attempt that starts over keeps nothing of earlier ones.
    cut(runs, run, 0)
    train(runs, run, NOW + 20_000, 1, 3)
    assert runs.get(run).stretches == ((NOW + 20_000, 0.0),)


def test_a_run_that_is_resumed_counts_on_from_its_parent_s_time(runs: Runs) -> None:
    parent, child = runs.add(), runs.add()
    train(runs, parent, NOW, 1, 10)
    with writing(runs.engine) as connection:
        training_time.inherit(connection, parent, child)
    assert runs.get(child).stretches == ((NOW, 0.0),)
    with writing(runs.engine) as connection:
        copied = Curve(np.arange(1, 5, dtype=np.int64), np.ones(4), NOW + np.arange(1.0, 5.0))
        add_points(connection, child, "train/loss", copied, next_commit(connection))
    train(runs, child, NOW + 777, 5, 8)
    assert runs.get(child).stretches == ((NOW, 0.0), (NOW + 777, 4.0))


def test_a_run_of_an_earlier_version_counts_from_its_start() -> None:
    assert read_intervals("[]", 5.0) == ((5.0, 0.0),)
    assert read_intervals("[]", None) == ()
    assert read_intervals("[[1.0, 0.0], [9.0, 3.0]]", 5.0) == ((1.0, 0.0), (9.0, 3.0))


def test_instants_between_two_stretches_stand_where_the_later_begins() -> None:
    found = trained_seconds_at(((100.0, 0.0), (200.0, 7.0)), np.array([99.0, 100.0, 103.0, 150.0, 199.0, 200.0, 201.5]))
    assert found.tolist() == [-1.0, 0.0, 3.0, 7.0, 7.0, 7.0, 8.5]
    assert trained_seconds_at((), np.array([4.0, 6.0])).tolist() == [0.0, 2.0]
    assert trained_seconds_at((), np.empty(0)).tolist() == []


@given(
    st.lists(st.tuples(st.floats(0.1, 1e6), st.floats(0, 1e5)), min_size=1, max_size=6),
    st.lists(st.floats(0, 1e7), max_size=20),
)
def test_later_instants_never_stand_before_earlier_ones(said: list[tuple[float, float]], times: list[float]) -> None:
    began, before, stretches = 0.0, 0.0, []
    for wait, trained in said:
        began += wait
        stretches.append((began, before))
        began, before = began + trained, before + trained
    found = trained_seconds_at(stretches, np.sort(np.array(times)))
    assert np.all(np.diff(found) >= 0)


@pytest.mark.parametrize("seconds", [0.0, 3.5])
def test_one_stretch_is_time_since_the_start(seconds: float) -> None:
    assert trained_seconds_at(((100.0, 0.0),), np.array([100.0 + seconds])).tolist() == [seconds]
