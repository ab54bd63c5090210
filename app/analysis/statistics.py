"""Are these figures really different: intervals of means, Welch's t, a permutation test, how many more would tell.

Everything here is about a handful of figures, one for each seed, and of independent runs.
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
    """The mean of ``n`` figures and half the width of its 95 % interval, by Student's t; None for fewer than two."""

    mean: float
    half: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """How much larger the mean of one sample is than that of another, with half the width of the 95 % interval.

    ``half`` and ``welch`` (the p of Welch's t-test, two-sided) are None where a sample has fewer than two figures;
    ``permutation`` is the p of a permutation test of the difference of means, two-sided.
    """

    difference: float
    half: float | None
    welch: float | None
    permutation: float | None

    @property
    def certain(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.half is not None and abs(self.difference) > self.half


def mean_of(values: Sequence[float]) -> Mean:
    """The mean of at least one figure, with its interval."""
    mean, n = statistics.fmean(values), len(values)
    if n < 2:
        return Mean(mean, None, n)
    return Mean(mean, t_quantile(n - 1) * statistics.stdev(values) / math.sqrt(n), n)


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """How two samples of at least one figure each differ: B. L. Welch, Biometrika 34 (1947), 28-35."""
    apart = statistics.fmean(first) - statistics.fmean(second)
    if len(first) < 2 or len(second) < 2:
        return Difference(apart, None, None, None)
    permutation = permutation_p(first, second)
    one, other = statistics.variance(first) / len(first), statistics.variance(second) / len(second)
    error = math.sqrt(one + other)
    if error <= 1e-12 * max(abs(each) for each in (*first, *second, 1e-300)):
        return Difference(apart, 0.0, 1.0 if apart == 0 else 0.0, permutation)
    freedom = (one + other) ** 2 / (one**2 / (len(first) - 1) + other**2 / (len(second) - 1))
    return Difference(apart, t_quantile(freedom) * error, 2 * (1 - t_share(abs(apart) / error, freedom)), permutation)


def least_permutation_p(first: int, second: int) -> float:
    """The smallest p that `permutation_p` can give for samples of these sizes, however far they are apart."""
    return (2 if first == second else 1) / math.comb(first + second, first)


def permutation_p(first: Sequence[float], second: Sequence[float]) -> float:
    """The share of all ways to deal the figures into two samples that leave them at least as far apart, R. A. Fisher.

    All ways where they are few; else so many drawn at random, always the same ones.
    """
    whole = [*first, *second]
    total, size = math.fsum(whole), len(first)
    scale = 1 / size + 1 / len(second)

    def apart(chosen: Sequence[float]) -> float:
        return abs(math.fsum(chosen) * scale - total / len(second))

    # A sum's last digits depend on the order of its terms.
    least = apart(first) - 1e-9 * max(map(abs, whole), default=0.0)
    ways = math.comb(len(whole), size)
    if ways <= MOST_EXACT:
        return sum(apart(chosen) >= least for chosen in combinations(whole, size)) / ways
    draw = random.Random(0)
    hits = sum(apart(draw.sample(whole, size)) >= least for _ in range(DRAWS))
    return (hits + 1) / (DRAWS + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """These p corrected for being several, in their order: S. Holm, Scand. J. Statist. 6 (1979), 65-70."""
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        largest = max(largest, min(1.0, ps[place] * (len(ps) - rank)))
        adjusted[place] = largest
    return adjusted


def seeds_to_decide(first: Sequence[float], second: Sequence[float]) -> int | None:
    """With how many seeds each this difference would stand out, at this spread; None where it takes over MOST_SEEDS."""
    apart = abs(statistics.fmean(first) - statistics.fmean(second))
    if len(first) < 2 or len(second) < 2 or apart == 0:
        return None
    spread = statistics.variance(first) + statistics.variance(second)
    for n in range(max(len(first), len(second)), MOST_SEEDS + 1):
        if t_quantile(2 * (n - 1)) * math.sqrt(spread / n) < apart:
            return n
    return None


# Student's t ---------------------------------------------------------------------------------------------------------


def t_share(t: float, freedom: float) -> float:
    """The probability of a value below ``t`` under Student's distribution with so many degrees of freedom."""
    if math.isinf(t):
        return 1.0 if t > 0 else 0.0
    tail = _beta_share(freedom / (freedom + t * t), freedom / 2, 0.5) / 2
    return 1 - tail if t > 0 else tail


@cache
def t_quantile(freedom: float, confidence: float = CONFIDENCE) -> float:
    """How many standard errors a two-sided interval reaches to either side."""
    wanted = (1 + confidence) / 2
    low, high = 0.0, 1.0
    while t_share(high, freedom) < wanted:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_share(middle, freedom) < wanted else (low, middle)
    return high


def _beta_share(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function, by its continued fraction: DLMF 8.17.22."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_share(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    tiny = 1e-300
    # Lentz's method, from the front.
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1), tiny)
    whole = d
    for m in range(1, 500):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        step = 1.0
        for term in (even, odd):
            d = 1 / _not_zero(1 + term * d, tiny)
            c = _not_zero(1 + term / c, tiny)
            step = c * d
            whole *= step
        if abs(step - 1) < 1e-14:
            break
    return front * whole


def _not_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
