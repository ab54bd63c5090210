"""Forecast of a run's final value from successful runs that were closest to it at the same epoch.

The median later gain of the nearest runs is added to the current value. The interval is as wide as the errors of the
same method on the successful runs themselves, each forecast from all others (leave-one-out).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.store.curve import Floats

NEAREST = 7
FEWEST = 10
SHARE = 0.8


@dataclass(frozen=True)
class Forecast:
    """The value at the end of ``epochs``, between ``low`` and ``high`` in ``SHARE`` of all cases.

    Each of the ``runs`` successful runs was forecast from the others too; ``covered``: how many of these intervals
    contained the actual final value.
    """

    value: float
    low: float
    high: float
    epoch: int
    epochs: int
    runs: int
    covered: int


def forecast(own: Floats, finished: Sequence[Floats], epochs: int) -> Forecast | None:
    """Forecast from the values per epoch of this run and of successful ones; None if too few are comparable."""
    epoch = len(own)
    if not 0 < epoch < epochs or not np.isfinite(own).all():
        return None
    ends = [(curve[:epoch], curve[min(epochs, len(curve)) - 1]) for curve in finished if len(curve) > epoch]
    ends = [(start, end) for start, end in ends if np.isfinite(start).all() and np.isfinite(end)]
    if len(ends) < FEWEST:
        return None
    table, last = np.array([start for start, _ in ends]), np.array([end for _, end in ends])
    gains = last - table[:, -1]
    nearest = np.argsort(_distances(own, table), kind="stable")[:NEAREST]
    errors, width_without = _errors(table, last, gains)
    width = _width(errors)
    covered = sum(abs(error) <= width_without(i) for i, error in enumerate(errors.tolist()))
    value = float(own[-1] + np.median(gains[nearest]))
    return Forecast(value, value - width, value + width, epoch, epochs, len(ends), covered)


def _distances(own: Floats, table: Floats) -> Floats:
    """Return the mean distance of each run from this one over the later half of the epochs so far."""
    half_way = len(own) // 2
    return np.asarray(np.abs(table[:, half_way:] - own[half_way:]).mean(1))


def _width(errors: Floats) -> float:
    """Return the error that SHARE of the runs do not exceed, with a margin for the small sample."""
    n = len(errors)
    return float(np.sort(np.abs(errors))[min(n, math.ceil((n + 1) * SHARE)) - 1])


def _errors(table: Floats, last: Floats, gains: Floats) -> tuple[Floats, _WidthWithout]:
    """Return the leave-one-out error of each finished run, and the interval width without it."""
    n = len(table)
    order = np.empty((n, n), dtype=np.int64)
    for i in range(n):
        distances = _distances(table[i], table)
        distances[i] = np.inf
        order[i] = np.argsort(distances, kind="stable")
    errors = gains - np.median(gains[order[:, :NEAREST]], axis=1)
    return errors, _WidthWithout(order, gains, errors)


@dataclass(frozen=True)
class _WidthWithout:
    """The interval width without one of the runs."""

    order: np.typing.NDArray[np.int64]
    gains: Floats
    errors: Floats

    def __call__(self, run: int) -> float:
        errors = self.errors.copy()
        for other in np.flatnonzero((self.order[:, :NEAREST] == run).any(1)):
            without = self.order[other][self.order[other] != run][:NEAREST]
            errors[other] = self.gains[other] - np.median(self.gains[without])
        return _width(np.delete(errors, run))
