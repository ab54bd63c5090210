"""How a run that is being trained will probably end, from finished runs that stood closest to it at the same epoch.

What those gained from there to the end is added to where this one stands: the median of the nearest. The interval is as
wide as the errors of the same method on the finished runs themselves, each foretold from all the others.
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

    ``right`` of the ``runs`` finished ones ended inside the interval that was made for each without knowing it.
    """

    value: float
    low: float
    high: float
    epoch: int
    epochs: int
    runs: int
    right: int


def forecast(own: Floats, finished: Sequence[Floats], epochs: int) -> Forecast | None:
    """From the values of each epoch, own and of finished runs; None where too few of those are comparable."""
    epoch = len(own)
    if not 0 < epoch < epochs or not np.isfinite(own).all():
        return None
    ends = [(each[:epoch], each[min(epochs, len(each)) - 1]) for each in finished if len(each) > epoch]
    ends = [(begun, end) for begun, end in ends if np.isfinite(begun).all() and np.isfinite(end)]
    if len(ends) < FEWEST:
        return None
    table, last = np.array([begun for begun, _ in ends]), np.array([end for _, end in ends])
    gains = last - table[:, -1]
    nearest = np.argsort(_distances(own, table), kind="stable")[:NEAREST]
    errors, width_without = _errors(table, last, gains)
    width = _width(errors)
    right = sum(abs(error) <= width_without(i) for i, error in enumerate(errors.tolist()))
    value = float(own[-1] + np.median(gains[nearest]))
    return Forecast(value, value - width, value + width, epoch, epochs, len(ends), right)


def _distances(own: Floats, table: Floats) -> Floats:
    """How far each run was from this one in the later half of the epochs so far."""
    since = len(own) // 2
    return np.asarray(np.abs(table[:, since:] - own[since:]).mean(1))


def _width(errors: Floats) -> float:
    """The error that SHARE of them do not exceed; a little more, since they are few."""
    n = len(errors)
    return float(np.sort(np.abs(errors))[min(n, math.ceil((n + 1) * SHARE)) - 1])


def _errors(table: Floats, last: Floats, gains: Floats) -> tuple[Floats, _WidthWithout]:
    """By how much each finished run is missed when it is foretold from all others."""
    n = len(table)
    order = np.empty((n, n), dtype=np.int64)
    for i in range(n):
        apart = _distances(table[i], table)
        apart[i] = np.inf
        order[i] = np.argsort(apart, kind="stable")
    errors = gains - np.median(gains[order[:, :NEAREST]], axis=1)
    return errors, _WidthWithout(order, gains, errors)


@dataclass(frozen=True)
class _WidthWithout:
    """The interval's width as it would be if one of the runs had never been."""

    order: np.typing.NDArray[np.int64]
    gains: Floats
    errors: Floats

    def __call__(self, run: int) -> float:
        errors = self.errors.copy()
        for other in np.flatnonzero((self.order[:, :NEAREST] == run).any(1)):
            without = self.order[other][self.order[other] != run][:NEAREST]
            errors[other] = self.gains[other] - np.median(self.gains[without])
        return _width(np.delete(errors, run))
