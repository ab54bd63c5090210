"""Statistics over seeds: confidence intervals, Welch's t-test, a permutation test and the number of seeds needed.

All functions expect a handful of values from independent runs, one per seed.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

CONFIDENCE = 0.95
MOST_EXACT = 20_000
DRAWS = 10_000
MOST_SEEDS = 200


@dataclass(frozen=True)
class Mean:
    """The mean of ``n`` values and half the width of its 95% interval (Student's t), None for fewer than two."""

    mean: float
    half: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """The difference between the means of two samples, with half the width of its 95% interval.

    ``half`` and ``welch`` (two-sided p of Welch's t-test) are None if a sample has fewer than two values;
    ``permutation`` is the two-sided p of a permutation test of the difference of means.
    """

    difference: float
    half: float | None
    welch: float | None
    permutation: float | None

    @property
    def certain(self) -> bool:
        """Whether the interval excludes zero."""
        return self.half is not None and abs(self.difference) > self.half


def mean_of(values: Sequence[float]) -> Mean:
    """Return the mean of at least one value, with its interval."""
    mean, n = statistics.fmean(values), len(values)
    if n < 2:
        return Mean(mean, None, n)
    return Mean(mean, t_quantile(n - 1) * statistics.stdev(values) / math.sqrt(n), n)


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compare two samples of at least one value each: B. L. Welch, Biometrika 34 (1947), 28-35."""
    gap = statistics.fmean(first) - statistics.fmean(second)
    if len(first) < 2 or len(second) < 2:
        return Difference(gap, None, None, None)
    permutation = permutation_p(first, second)
    one, other = statistics.variance(first) / len(first), statistics.variance(second) / len(second)
    error = math.sqrt(one + other)
    if error <= 1e-12 * max(abs(value) for value in (*first, *second, 1e-300)):
        return Difference(gap, 0.0, 1.0 if gap == 0 else 0.0, permutation)
    freedom = (one + other) ** 2 / (one**2 / (len(first) - 1) + other**2 / (len(second) - 1))
    return Difference(gap, t_quantile(freedom) * error, 2 * (1 - t_cdf(abs(gap) / error, freedom)), permutation)


def smallest_permutation_p(first: int, second: int) -> float:
    """Return the smallest p that `permutation_p` can give for samples of these sizes."""
    return (2 if first == second else 1) / math.comb(first + second, first)


def permutation_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the two-sided p of a permutation test (R. A. Fisher): the share of splits with at least this difference.

    Exact with up to MOST_EXACT splits; otherwise DRAWS random splits with a fixed seed.
    """
    pooled = [*first, *second]
    total, size = math.fsum(pooled), len(first)
    scale = 1 / size + 1 / len(second)

    def gap(chosen: Sequence[float]) -> float:
        return abs(math.fsum(chosen) * scale - total / len(second))

    # The last digits of a sum depend on the order of its terms.
    threshold = gap(first) - 1e-9 * max(map(abs, pooled), default=0.0)
    splits = math.comb(len(pooled), size)
    if splits <= MOST_EXACT:
        return sum(gap(chosen) >= threshold for chosen in combinations(pooled, size)) / splits
    draw = random.Random(0)
    hits = sum(gap(draw.sample(pooled, size)) >= threshold for _ in range(DRAWS))
    return (hits + 1) / (DRAWS + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """Correct p-values for multiple comparisons, in their order: S. Holm, Scand. J. Statist. 6 (1979), 65-70."""
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, ps[i] * (len(ps) - rank)))
        adjusted[i] = largest
    return adjusted


def seeds_to_decide(first: Sequence[float], second: Sequence[float]) -> int | None:
    """Return the seeds per sample at which this difference would be significant; None if more than MOST_SEEDS."""
    gap = abs(statistics.fmean(first) - statistics.fmean(second))
    if len(first) < 2 or len(second) < 2 or gap == 0:
        return None
    spread = statistics.variance(first) + statistics.variance(second)
    for n in range(max(len(first), len(second)), MOST_SEEDS + 1):
        if t_quantile(2 * (n - 1)) * math.sqrt(spread / n) < gap:
            return n
    return None


# Student's t ---------------------------------------------------------------------------------------------------------


def t_cdf(t: float, freedom: float) -> float:
    """Return the probability of a value below ``t`` under Student's t with ``freedom`` degrees of freedom."""
    if math.isinf(t):
        return 1.0 if t > 0 else 0.0
    tail = _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5) / 2
    return 1 - tail if t > 0 else tail


@cache
def t_quantile(freedom: float, confidence: float = CONFIDENCE) -> float:
    """Return the half-width of a two-sided interval in standard errors."""
    target = (1 + confidence) / 2
    low, high = 0.0, 1.0
    while t_cdf(high, freedom) < target:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, freedom) < target else (low, middle)
    return high


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function by its continued fraction: DLMF 8.17.22."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    tiny = 1e-300
    # Lentz's method, evaluated from the front.
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1), tiny)
    result = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        step = 1.0
        for term in (even, odd):
            d = 1 / _not_zero(1 + term * d, tiny)
            c = _not_zero(1 + term / c, tiny)
            step = c * d
            result *= step
        if abs(step - 1) < 1e-14:
            break
    return front * result


def _not_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
