"""Curves in memory: points, smoothing, x axis and intervals of means. No database, no HTML."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from app.store.metric import Curve, Floats
from app.store.training_time import Intervals

MEAN: Intervals = ((0.0, 0.0),)
"""The training interval of a mean of several runs, whose times are already seconds of training."""


@dataclass(frozen=True)
class Band:
    """The interval around each point of a curve; NaN where it is unknown."""

    low: Floats
    high: Floats


@dataclass(frozen=True)
class Average:
    """State of an exponential moving average, from which it continues when more values arrive.

    ``total``: weighted sum of the values so far. ``weights``: sum of their weights; the average is total / weights.
    """

    total: float = 0.0
    weights: float = 0.0


@dataclass(frozen=True)
class Points:
    """A curve with what its x axis needs, and the interval around it if it is a mean.

    ``stretches``: the intervals in which it was trained; MEAN for the mean of several runs. ``coarse``: the full curve
    has more points. ``smooth``: the smoothed curve, averaged over all of its points.
    """

    curve: Curve
    steps_per_epoch: float | None
    stretches: Intervals = ()
    band: Band | None = None
    coarse: bool = False
    smooth: SmoothedCurve | None = None

    @property
    def has_clock(self) -> bool:
        """Whether its points have wall-clock times; those of the mean of several runs count from 0."""
        return self.stretches != MEAN


@dataclass(frozen=True)
class SmoothedCurve:
    """A downsampled smoothed curve, the state of its average at the end, and the interval if it is a mean."""

    curve: Curve
    average: Average
    band: Band | None = None


def smoothed(values: Floats, weight: float) -> Floats:
    """Return the bias-corrected exponential moving average; non-finite values are skipped."""
    return averaged(values, weight)[0] if 0 < weight < 1 else values


def averaged(values: Floats, weight: float) -> tuple[Floats, Average]:
    """Return the same for a weight between 0 and 1 (exclusive), and the state of the average after the last value."""
    is_finite = np.isfinite(values)
    all_finite = bool(is_finite.all())
    finite = values if all_finite else values[is_finite]
    n = len(finite)
    if not n:
        return np.full(len(values), np.nan), Average()
    # In blocks: each is a cumulative sum of values scaled up instead of down, short enough not to overflow.
    block = int(max(1, min(4096, n, 100 / -math.log10(weight))))
    padded = (finite if not n % block else np.concatenate((finite, np.zeros(-n % block)))).reshape(-1, block)
    decay = weight ** np.arange(block)
    sums = padded / decay
    np.cumsum(sums, axis=1, out=sums)
    sums *= decay * (1 - weight)
    carried = np.zeros(len(sums))
    ends, block_decay = sums[:, -1].tolist(), weight**block
    carry = 0.0
    for i in range(1, len(ends)):
        carry = carry * block_decay + ends[i - 1]
        carried[i] = carry
    sums += carried[:, None] * (decay * weight)
    averages = sums.ravel()[:n]
    total = float(averages[-1])
    # After this many values the bias correction is 1.
    biased = min(n, math.ceil(-40 / math.log10(weight) / 2))
    averages[:biased] /= 1 - weight ** np.arange(1, biased + 1)
    average = Average(total, float(1 - weight**n))
    if all_finite:
        return averages, average
    out = np.full(len(values), np.nan)
    out[is_finite] = averages
    return out, average
