"""A curve with its smoothed trace, its x axis and, where it is a mean, its interval. No database, no HTML."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from app.store.metric import Curve, Floats
from app.store.training_time import Stretches

MEAN: Stretches = ((0.0, 0.0),)
"""The stretch of a mean of several runs, whose times are seconds already."""


@dataclass(frozen=True)
class Band:
    """The interval around each point of a curve; NaN where there is none."""

    low: Floats
    high: Floats


@dataclass(frozen=True)
class Average:
    """Where an exponential average stands: what more values are added to."""

    total: float = 0.0
    share: float = 0.0


@dataclass(frozen=True)
class Points:
    """A curve with what its x axis needs, and the interval around it where it is a mean.

    ``stretches``: when it was trained; MEAN for the mean of several runs. ``coarse``: it has more points than these.
    ``even``: it smoothed, by an average of all its points.
    """

    curve: Curve
    steps_per_epoch: float | None
    stretches: Stretches = ()
    band: Band | None = None
    coarse: bool = False
    even: Even | None = None

    @property
    def has_clock(self) -> bool:
        """Whether its points have instants by the clock; those of the mean of several runs count from 0."""
        return self.stretches != MEAN


@dataclass(frozen=True)
class Even:
    """A smoothed curve with few points, where its average stands at its end, and the interval around that of a mean."""

    curve: Curve
    average: Average
    band: Band | None = None


def smoothed(values: Floats, weight: float) -> Floats:
    """Exponential moving average without the pull towards its start; what is not finite is passed over."""
    return averaged(values, weight)[0] if 0 < weight < 1 else values


def averaged(values: Floats, weight: float) -> tuple[Floats, Average]:
    """The same for a weight above 0 and below 1, and where the average stands after the last value."""
    good = np.isfinite(values)
    whole = bool(good.all())
    found = values if whole else values[good]
    n = len(found)
    if not n:
        return np.full(len(values), np.nan), Average()
    # In blocks, each a cumulative sum of values that are scaled up instead of down; not so long that one overflows.
    block = int(max(1, min(4096, n, 100 / -math.log10(weight))))
    padded = (found if not n % block else np.concatenate((found, np.zeros(-n % block)))).reshape(-1, block)
    decay = weight ** np.arange(block)
    sums = padded / decay
    np.cumsum(sums, axis=1, out=sums)
    sums *= decay * (1 - weight)
    carried = np.zeros(len(sums))
    ends, far = sums[:, -1].tolist(), weight**block
    before = 0.0
    for i in range(1, len(ends)):
        before = before * far + ends[i - 1]
        carried[i] = before
    sums += carried[:, None] * (decay * weight)
    even = sums.ravel()[:n]
    total = float(even[-1])
    # After so many values the start weighs nothing any more.
    begun = min(n, math.ceil(-40 / math.log10(weight) / 2))
    even[:begun] /= 1 - weight ** np.arange(1, begun + 1)
    average = Average(total, float(1 - weight**n))
    if whole:
        return even, average
    out = np.full(len(values), np.nan)
    out[good] = even
    return out, average
