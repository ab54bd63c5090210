"""McNemar's exact test: whether two classifiers differ on the same images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Outcomes:
    """Number of images by who is right: both, only the first, only the second, none."""

    both: int
    first: int
    second: int
    none: int

    @property
    def total(self) -> int:
        """All images."""
        return self.both + self.first + self.second + self.none

    @property
    def p(self) -> float:
        """Two-sided p of McNemar's exact test."""
        return exact_p(self.first, self.second)


def outcomes(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> Outcomes:
    """Count images by whether the first and the second classifier are right, each bool [N]."""
    both, first_only = int((first & second).sum()), int((first & ~second).sum())
    second_only = int((second & ~first).sum())
    return Outcomes(both, first_only, second_only, len(first) - both - first_only - second_only)


def exact_p(first: int, second: int) -> float:
    """Return the two-sided p if ``first`` and ``second`` images are right only for one of two classifiers.

    If both err equally often, each such image is a toss of a fair coin: Q. McNemar, Psychometrika 12 (1947), 153-157.
    """
    tosses, fewer = first + second, min(first, second)
    if 2 * fewer >= tosses:
        return 1.0
    # The terms of the binomial sum from the largest one down, relative to it.
    k = np.arange(fewer, 0, -1, dtype=np.float64)
    terms = float(np.cumprod(k / (tosses - k + 1)).sum()) + 1
    largest = math.lgamma(tosses + 1) - math.lgamma(fewer + 1) - math.lgamma(tosses - fewer + 1)
    return min(1.0, 2 * terms * math.exp(largest - tosses * math.log(2)))
