"""Reproduction check: compare the curves of a run and its rerun, and find where they first differ. No database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.contract.metric_names import ADDITIONAL, last_part
from app.store.curve import Curve

UNCOMPARED = "system/"
"""Prefix of metrics that measure the machine and are not compared."""
SAMPLED = ("train/lr",)
"""Metrics whose steps depend on the speed of the machine; compared only where both runs have a point."""


@dataclass(frozen=True)
class Difference:
    """The first step and metric at which two runs differ, with both values; None if only one run has the point."""

    metric: str
    step: int
    first: float | None
    again: float | None

    @property
    def words(self) -> str:
        """The difference as part of a sentence."""
        if self.first is None or self.again is None:
            return f"the curves first differ at step {self.step:,} of {self.metric}, where only one run has a point"
        return (
            f"the curves first differ at step {self.step:,} of {self.metric}:"
            f" {self.first!r} in the original, {self.again!r} in the rerun"
        )


def first_difference(first: Mapping[str, Curve], again: Mapping[str, Curve], *, whole: bool) -> Difference | None:
    """Return the earliest difference between two runs, by step, then by metric name.

    ``whole``: both runs completed, so a missing point is a difference. Otherwise only steps that both reached are
    compared. Metrics that earlier versions did not report are compared only if both runs have them.
    """
    differences: list[Difference] = []
    for name in sorted(set(first) | set(again)):
        if name.startswith(UNCOMPARED) or (last_part(name) in ADDITIONAL and not (name in first and name in again)):
            continue
        one, other = first.get(name), again.get(name)
        if name in SAMPLED:
            difference = _compare_common_steps(name, one, other) if one and other else None
        elif one is None or other is None:
            curve = one or other
            difference = Difference(name, int(curve.steps[0]), None, None) if whole and curve else None
        else:
            difference = _compare_all_steps(name, one, other, whole)
        if difference is not None:
            differences.append(difference)
    return min(differences, key=lambda item: (item.step, item.metric)) if differences else None


def common_steps(first: Mapping[str, Curve], again: Mapping[str, Curve]) -> int:
    """Return the last step up to which both runs have points."""
    ends = [
        max((int(curve.steps[-1]) for name, curve in curves.items() if not name.startswith(UNCOMPARED)), default=0)
        for curves in (first, again)
    ]
    return min(ends)


def _compare_all_steps(name: str, one: Curve, other: Curve, whole: bool) -> Difference | None:
    n = min(len(one.steps), len(other.steps))
    is_equal = (one.steps[:n] == other.steps[:n]) & _equal(one.values[:n], other.values[:n])
    if not is_equal.all():
        i = int(np.argmin(is_equal))
        if one.steps[i] == other.steps[i]:
            return Difference(name, int(one.steps[i]), float(one.values[i]), float(other.values[i]))
        return Difference(name, int(min(one.steps[i], other.steps[i])), None, None)
    longer = one if len(one.steps) > n else other
    if whole and len(longer.steps) > n:
        return Difference(name, int(longer.steps[n]), None, None)
    return None


def _compare_common_steps(name: str, one: Curve, other: Curve) -> Difference | None:
    steps, first_positions, other_positions = np.intersect1d(one.steps, other.steps, return_indices=True)
    is_equal = _equal(one.values[first_positions], other.values[other_positions])
    if is_equal.all():
        return None
    i = int(np.argmin(is_equal))
    return Difference(
        name, int(steps[i]), float(one.values[first_positions[i]]), float(other.values[other_positions[i]])
    )


def _equal(one: Any, other: Any) -> Any:
    return (one == other) | (np.isnan(one) & np.isnan(other))
