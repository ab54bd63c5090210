"""Downsampled curves keep their extremes, and the better direction of a metric follows from its name."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store import metric
from app.store.curve import combine, figures, in_order
from app.store.metric import Curve, envelope
from tests.app.store.curves import VALUES, curve, part, same


@pytest.mark.parametrize(
    ("name", "larger"),
    [
        ("val/acc", True),
        ("val/digit/acc", True),
        ("test/f1", True),
        ("val/macro_acc", True),
        ("val/fine/top5", True),
        ("val/top5_error", False),
        ("system/samples_per_second", True),
        ("train/loss", False),
        ("acc/loss", False),
        ("train/lr", False),
    ],
)
def test_accuracies_are_better_when_larger_and_losses_when_smaller(name: str, larger: bool) -> None:
    assert metric.larger_is_better(name) == larger


@given(values=st.lists(VALUES, min_size=1, max_size=300), points=st.integers(2, 120))
def test_a_reduced_curve_keeps_its_extremes_and_only_points_that_are_there(values: list[float], points: int) -> None:
    whole = curve(values)
    found = envelope(whole, points)
    assert len(found.steps) <= max(points, 2)
    assert np.array_equal(found.values, whole.values[found.steps], equal_nan=True)
    assert np.array_equal(found.times, whole.times[found.steps])
    assert (np.diff(found.steps.astype(np.int64)) > 0).all()
    good = whole.values[~np.isnan(whole.values)]
    if len(good):
        assert good.min() in found.values
        assert good.max() in found.values
        # The first of equal extremes is kept.
        if points == 2 and len(values) > 2:
            expected = {int(np.nanargmin(whole.values)), int(np.nanargmax(whole.values))}
            if np.isfinite(good).all():
                assert set(found.steps.tolist()) == expected
    else:
        assert np.isnan(found.values).all()


@given(values=st.lists(st.floats(-5, 5), min_size=1, max_size=200), points=st.integers(2, 60))
def test_the_extremes_of_every_stretch_are_kept(values: list[float], points: int) -> None:
    whole = curve(values)
    found = envelope(whole, points)
    if len(values) <= points:
        assert same(found, whole)
        return
    edges = np.linspace(0, len(values), points // 2 + 1).astype(int)
    expected = set()
    for begin, end in pairwise(edges):
        stretch = whole.values[begin:end]
        expected |= {int(begin + stretch.argmin()), int(begin + stretch.argmax())}
    assert found.steps.tolist() == sorted(expected)


def test_no_points_asked_for_means_every_point() -> None:
    whole = curve(range(1000))
    assert envelope(whole, 0) is whole


POINT = st.tuples(st.integers(-2, 2), st.integers(0, 3), VALUES | st.just(math.nan))


@given(points=st.lists(POINT, min_size=1, max_size=20), size=st.integers(1, 20))
def test_the_last_point_is_the_newest_at_the_largest_step_in_whatever_order_points_arrive(
    points: list[tuple[int, int, float]], size: int
) -> None:
    steps, times, values = zip(*points, strict=True)
    whole = Curve(np.array(steps), np.array(values), np.array(times, np.float64))
    parts = [in_order(part(whole, first, first + size)) for first in range(0, len(points), size)]
    summary = figures("loss", parts[0])
    for each in parts[1:]:
        summary = combine("loss", summary, figures("loss", each))

    def age(point: tuple[int, int, float]) -> tuple[int, int, float]:
        step, time, value = point
        # What is not finite has no value in a summary.
        return step, time, value if math.isfinite(value) else -math.inf

    step, time, value = age(max(points, key=age))
    expected = value if math.isfinite(value) else None
    assert (summary["last_step"], summary["last_time"], summary["last"]) == (step, time, expected)
