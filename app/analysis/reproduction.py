"""Whether a run that was trained again came out the same: two sets of curves, and where they part. No database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.store.curve import Curve

UNCOMPARED = "system/"
"""What these metrics measure is the machine."""
SAMPLED = ("train/lr",)
"""Metrics whose steps depend on how fast the machine is; compared where both have a point."""


@dataclass(frozen=True)
class Difference:
    """The first step at which two runs differ, in which metric, and the two values; None for a point one has not."""

    metric: str
    step: int
    first: float | None
    again: float | None

    @property
    def words(self) -> str:
        """As a part of a sentence."""
        if self.first is None or self.again is None:
            return f"from step {self.step:,} of {self.metric} on, where only one of them has a point"
        return f"from step {self.step:,} of {self.metric} on: {self.first!r} first, {self.again!r} again"


def first_difference(first: Mapping[str, Curve], again: Mapping[str, Curve], *, whole: bool) -> Difference | None:
    """Where two runs part: the earliest step, and there the first metric by name.

    whole: both have ended by themselves, so that a point that one of them has not is a difference. Otherwise only what
    both have made is compared.
    """
    found: list[Difference] = []
    for name in sorted(set(first) | set(again)):
        if name.startswith(UNCOMPARED):
            continue
        one, other = first.get(name), again.get(name)
        if name in SAMPLED:
            difference = _where_both(name, one, other) if one and other else None
        elif one is None or other is None:
            curve = one or other
            difference = Difference(name, int(curve.steps[0]), None, None) if whole and curve else None
        else:
            difference = _point_by_point(name, one, other, whole)
        if difference is not None:
            found.append(difference)
    return min(found, key=lambda each: (each.step, each.metric)) if found else None


def common_steps(first: Mapping[str, Curve], again: Mapping[str, Curve]) -> int:
    """Up to which step both have points of training."""
    ends = [
        max((int(curve.steps[-1]) for name, curve in curves.items() if not name.startswith(UNCOMPARED)), default=0)
        for curves in (first, again)
    ]
    return min(ends)


def _point_by_point(name: str, one: Curve, other: Curve, whole: bool) -> Difference | None:
    n = min(len(one.steps), len(other.steps))
    same = (one.steps[:n] == other.steps[:n]) & _equal(one.values[:n], other.values[:n])
    if not same.all():
        at = int(np.argmin(same))
        if one.steps[at] == other.steps[at]:
            return Difference(name, int(one.steps[at]), float(one.values[at]), float(other.values[at]))
        return Difference(name, int(min(one.steps[at], other.steps[at])), None, None)
    longer = one if len(one.steps) > n else other
    if whole and len(longer.steps) > n:
        return Difference(name, int(longer.steps[n]), None, None)
    return None


def _where_both(name: str, one: Curve, other: Curve) -> Difference | None:
    steps, mine, theirs = np.intersect1d(one.steps, other.steps, return_indices=True)
    same = _equal(one.values[mine], other.values[theirs])
    if same.all():
        return None
    at = int(np.argmin(same))
    return Difference(name, int(steps[at]), float(one.values[mine[at]]), float(other.values[theirs[at]]))


def _equal(one: Any, other: Any) -> Any:
    return (one == other) | (np.isnan(one) & np.isnan(other))
