"""Curves for tests: awkward values, and a comparison of curves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from app.contract.steps import LARGEST_STEP, SMALLEST_STEP
from app.store.metric import Curve

AWKWARD = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e308, -1e308, 5e-324])


VALUES = st.one_of(st.floats(-100, 100), AWKWARD)


def curve(values: Any, first: int = 0, steps: Any = None) -> Curve:
    array = np.array(values, np.float64)
    counted = np.arange(first, first + len(array)) if steps is None else np.array(steps)
    return Curve(counted.astype(np.int64), array, 1000.0 + counted.astype(np.float64))


def same(one: Curve, other: Curve) -> bool:
    return (
        np.array_equal(one.steps, other.steps)
        and np.array_equal(one.values, other.values, equal_nan=True)
        and np.array_equal(one.times, other.times)
    )


def part(whole: Curve, begin: int, end: int | None = None) -> Curve:
    return Curve(whole.steps[begin:end], whole.values[begin:end], whole.times[begin:end])


STEPS = st.one_of(
    st.integers(-3, 12),
    st.integers(SMALLEST_STEP, LARGEST_STEP),
    st.sampled_from([SMALLEST_STEP, -1, 0, 2**32 - 1, 2**32, 1_764_000_000_000, 2**53 + 1, LARGEST_STEP]),
)
"""Any steps, many of which are equal or do not fit into 32 bits."""


def in_any_order(steps: list[int], values: list[float]) -> Curve:
    """A curve whose times tell the order in which its points came."""
    times = np.arange(1000, 1000 + len(steps), dtype=np.float64)
    return Curve(np.array(steps, np.int64), np.array(values, np.float64), times)


def sorted_by_step(whole: Curve) -> Curve:
    """The same points by step, as Python's own sort, which is stable, puts them."""
    order = sorted(range(len(whole.steps)), key=whole.steps.tolist().__getitem__)
    return Curve(whole.steps[order], whole.values[order], whole.times[order])
