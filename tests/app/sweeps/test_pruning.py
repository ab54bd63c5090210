"""Only bad runs are pruned, by the median or by rungs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.sweep import SweepSpec
from app.store.curve import Curve
from app.sweeps.pruning import MOST_VALUES, TrainingCurve, logged_values, rungs, runs_to_prune

MEDIAN = SweepSpec(pruning="median", prune_after_runs=3)
ASHA = SweepSpec(pruning="asha", prune_after_runs=3)


def curve(run: str, *values: float, epochs: int | None = 10, live: bool = True) -> TrainingCurve:
    return TrainingCurve(run, values, epochs, live)


def others(*levels: float, epochs: int = 3) -> list[TrainingCurve]:
    return [curve(f"o{i}", *[level] * epochs, live=False) for i, level in enumerate(levels)]


def test_a_run_whose_best_is_below_the_median_there_is_hopeless() -> None:
    found = runs_to_prune(MEDIAN, "maximize", [curve("r", 0.3, 0.2), *others(0.5, 0.6, 0.7)], set())
    assert found == {"r": "pruned at epoch 2: val/acc 30.0% is below the median (60.0%) of 3 other runs"}


def test_its_best_so_far_counts_and_not_its_last() -> None:
    assert runs_to_prune(MEDIAN, "maximize", [curve("r", 0.65, 0.2), *others(0.5, 0.6, 0.7)], set()) == {}


def test_a_loss_is_hopeless_above_the_median() -> None:
    spec = SweepSpec(metric="val/loss", pruning="median", prune_after_runs=3)
    found = runs_to_prune(spec, "minimize", [curve("r", 3.0), *others(0.5, 0.6, 0.7)], set())
    assert found == {"r": "pruned at epoch 1: val/loss 3 is above the median (0.6) of 3 other runs"}


def test_too_few_others_too_few_epochs_or_a_run_that_is_over_prune_nothing() -> None:
    assert runs_to_prune(MEDIAN, "maximize", [curve("r", 0.1), *others(0.5, 0.6)], set()) == {}
    late = SweepSpec(pruning="median", prune_after_runs=3, prune_after_epochs=2)
    assert runs_to_prune(late, "maximize", [curve("r", 0.1), *others(0.5, 0.6, 0.7)], set()) == {}
    last = curve("r", 0.1, epochs=1)
    assert runs_to_prune(MEDIAN, "maximize", [last, *others(0.5, 0.6, 0.7)], set()) == {}
    assert runs_to_prune(MEDIAN, "maximize", [curve("r", 0.1, live=False), *others(0.5, 0.6, 0.7)], set()) == {}


def test_what_is_never_finite_is_the_worst_there_is() -> None:
    found = runs_to_prune(MEDIAN, "maximize", [curve("r", math.nan), *others(0.5, 0.6, 0.7)], set())
    assert "val/acc was never finite" in found["r"]


def test_only_the_best_third_goes_beyond_a_rung_and_each_is_judged_once() -> None:
    passed: set[tuple[str, int]] = set()
    there = [curve("r", 0.55), *others(0.5, 0.6, 0.7, 0.4, 0.3, epochs=1)]
    found = runs_to_prune(ASHA, "maximize", there, passed)
    assert found == {"r": "pruned at epoch 1: val/acc 55.0% is not in the best third of 6 runs (cutoff: 60.0%)"}
    assert passed == {("r", 1)}
    assert runs_to_prune(ASHA, "maximize", there, passed) == {}
    good = [curve("g", 0.65), *others(0.5, 0.6, 0.7, 0.4, 0.3, epochs=1)]
    assert runs_to_prune(ASHA, "maximize", good, set()) == {}


def test_the_first_at_a_rung_pass_it() -> None:
    assert runs_to_prune(ASHA, "maximize", [curve("r", 0.1), *others(0.9, epochs=1)], set()) == {}


def test_rungs_lie_three_times_as_late_each() -> None:
    assert rungs(1, 30) == [1, 3, 9, 27]
    assert rungs(2, 17) == [2, 6]
    assert rungs(5, 4) == []


CURVES = st.lists(st.lists(st.floats(0, 1) | st.just(math.nan), min_size=1, max_size=8), min_size=1, max_size=9)


@given(histories=CURVES, pruning=st.sampled_from(["median", "asha"]))
def test_the_best_run_is_never_stopped(histories: list[list[float]], pruning: Any) -> None:
    spec = SweepSpec(pruning=pruning, prune_after_runs=1)
    curves = [TrainingCurve(str(i), values, 100, True) for i, values in enumerate(histories)]
    found = runs_to_prune(spec, "maximize", curves, set())
    epochs = len(max(histories, key=len))
    for epoch in range(1, epochs + 1):
        there = [each for each in curves if len(each.values) >= epoch]
        best = max(there, key=lambda each: each.best(epoch, "maximize"))
        if len(best.values) == epoch and all(b.best(1, "maximize") <= best.best(1, "maximize") for b in curves):
            assert best.run not in found or best.best(epoch, "maximize") < max(b.best(epoch, "maximize") for b in there)


# Scripts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("values", "when"), [((0.2,), "after 1 value"), ((0.2, 0.3), "after 2 values")])
def test_a_script_of_unknown_length_is_judged_by_its_values(values: tuple[float, ...], when: str) -> None:
    spec = SweepSpec(metric="score", pruning="median", prune_after_runs=3)
    found = runs_to_prune(spec, "maximize", [curve("r", *values, epochs=None), *others(0.5, 0.6, 0.7)], set())
    assert found == {"r": f"pruned {when}: score {values[-1]:g} is below the median (0.6) of 3 other runs"}


def logged(*points: tuple[int, float]) -> list[float]:
    steps, values = np.array([step for step, _ in points], np.int64), np.array([value for _, value in points])
    return logged_values(Curve(steps, values, np.zeros(len(points))))


def test_each_step_of_a_script_counts_once_with_its_last_value() -> None:
    # The second attempt logs its steps again.
    assert logged((0, 0.1), (10, 0.2), (10, 0.3), (20, 0.4)) == [0.1, 0.3, 0.4]


def test_all_values_of_a_script_without_steps_count() -> None:
    assert logged((0, 0.1), (0, 0.2), (0, 0.3)) == [0.1, 0.2, 0.3]
    assert logged((7, 0.1)) == [0.1]


def test_only_the_first_values_of_a_long_script_are_read() -> None:
    assert logged(*((step, float(step)) for step in range(MOST_VALUES + 5))) == [*map(float, range(MOST_VALUES))]
