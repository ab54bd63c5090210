from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from app.analysis.reproduction import Difference, common_steps, first_difference
from app.store.curve import Curve


def curve(values: list[float], first: int = 1, every: int = 1) -> Curve:
    steps = np.arange(first, first + every * len(values), every, dtype=np.int64)
    return Curve(steps, np.array(values), np.random.default_rng().random(len(values)))


LOSS = [2.0, 1.5, math.nan, 1.2]


def test_equal_curves_have_no_difference_whenever_they_were_made_and_whatever_the_machine_did() -> None:
    first = {"train/loss": curve(LOSS), "system/peak_memory_mb": curve([1.0])}
    again = {"train/loss": curve(LOSS), "system/peak_memory_mb": curve([2.0])}
    assert first_difference(first, again, whole=True) is None


@pytest.mark.parametrize("at", range(4))
def test_the_step_of_the_first_value_that_differs_in_its_last_bit_is_named(at: int) -> None:
    changed = [math.nextafter(value, 9) if i == at and not math.isnan(value) else value for i, value in enumerate(LOSS)]
    changed[at] = 7.0 if math.isnan(LOSS[at]) else changed[at]
    found = first_difference({"train/loss": curve(LOSS)}, {"train/loss": curve(changed)}, whole=True)
    assert found is not None
    assert (found.metric, found.step, found.again) == ("train/loss", at + 1, changed[at])
    assert f"at step {at + 1} of train/loss" in found.words


def test_the_earliest_difference_of_all_metrics_is_told() -> None:
    first = {"a": curve([1.0, 2.0, 3.0]), "b": curve([1.0, 2.0, 3.0])}
    again = {"a": curve([1.0, 2.0, 4.0]), "b": curve([1.0, 5.0, 3.0])}
    found = first_difference(first, again, whole=True)
    assert found == Difference("b", 2, 2.0, 5.0)


@pytest.mark.parametrize("name", ["test/acc", "train/loss"])
def test_what_only_one_of_them_has_is_a_difference_when_both_have_ended_by_themselves(name: str) -> None:
    first: dict[str, Any] = {"val/loss": curve([1.0]), name: curve([1.0, 2.0])}
    for again in ({"val/loss": curve([1.0])}, {"val/loss": curve([1.0]), name: curve([1.0])}):
        for one, other in ((first, again), (again, first)):
            found = first_difference(one, other, whole=True)
            assert found is not None
            assert found.step == (2 if name in again else 1)
            assert "only one run" in found.words
            assert first_difference(one, other, whole=False) is None


@pytest.mark.parametrize("name", ["val/macro_acc", "val/digit/f1", "test/top5"])
def test_a_metric_that_earlier_versions_did_not_report_is_compared_only_if_both_have_it(name: str) -> None:
    earlier, later = {"val/loss": curve([1.0])}, {"val/loss": curve([1.0]), name: curve([0.5])}
    for one, other in ((earlier, later), (later, earlier)):
        assert first_difference(one, other, whole=True) is None
    found = first_difference(later, later | {name: curve([0.25])}, whole=True)
    assert found == Difference(name, 1, 0.5, 0.25)


def test_steps_that_are_others_are_a_difference() -> None:
    found = first_difference({"val/loss": curve([1.0], 9)}, {"val/loss": curve([1.0], 10)}, whole=False)
    assert found == Difference("val/loss", 9, None, None)


def test_a_rate_that_was_reported_at_other_steps_is_compared_where_both_were() -> None:
    rates = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    every_second = {"train/lr": curve(rates[::2], 1, 2)}
    assert first_difference({"train/lr": curve(rates)}, every_second, whole=True) is None
    rates[2] = 9.0
    assert first_difference({"train/lr": curve(rates)}, every_second, whole=True) == Difference("train/lr", 3, 9.0, 0.3)
    assert first_difference({"train/lr": curve(rates)}, {}, whole=True) is None


def test_how_far_both_have_come() -> None:
    assert common_steps({"a": curve([1.0] * 5), "system/x": curve([1.0] * 9)}, {"a": curve([1.0] * 3)}) == 3
    assert common_steps({}, {"a": curve([1.0])}) == 0
