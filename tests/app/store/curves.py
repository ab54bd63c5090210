"""Curves for tests: awkward values, and a comparison of curves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from app.store.metric import Curve

AWKWARD = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e308, -1e308, 5e-324])


VALUES = st.one_of(st.floats(-100, 100), AWKWARD)


def curve(values: Any, first: int = 0, steps: Any = None) -> Curve:
    array = np.array(values, np.float64)
    counted = np.arange(first, first + len(array)) if steps is None else np.array(steps)
    return Curve(counted.astype(np.uint32), array, 1000.0 + counted.astype(np.float64))


def same(one: Curve, other: Curve) -> bool:
    return (
        np.array_equal(one.steps, other.steps)
        and np.array_equal(one.values, other.values, equal_nan=True)
        and np.array_equal(one.times, other.times)
    )


def part(whole: Curve, begin: int, end: int | None = None) -> Curve:
    return Curve(whole.steps[begin:end], whole.values[begin:end], whole.times[begin:end])
