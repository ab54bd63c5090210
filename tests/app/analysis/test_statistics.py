"""Intervals and tests agree with SciPy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from app.analysis.statistics import (
    difference,
    holm,
    mean_of,
    permutation_p,
    seeds_to_decide,
    smallest_permutation_p,
    t_quantile,
    t_share,
)

FIGURES = st.lists(st.floats(0, 1).map(lambda value: round(value, 4)), min_size=2, max_size=6)


@pytest.mark.parametrize("freedom", [0.7, 1, 2, 3.5, 10, 100, 5000])
def test_student_s_distribution_is_scipy_s(freedom: float) -> None:
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)
    for t in (-30.0, -1.3, 0.0, 0.2, 4.0, 1e6):
        assert t_share(t, freedom) == pytest.approx(stats.t.cdf(t, freedom), abs=1e-12)


def test_a_mean_of_one_figure_has_no_interval() -> None:
    assert mean_of([0.5]) == mean_of([0.5])
    assert mean_of([0.5]).half is None


@given(values=FIGURES)
def test_the_interval_of_a_mean_is_scipy_s(values: list[float]) -> None:
    found = mean_of(values)
    error = float(stats.sem(values))
    assert found.half == pytest.approx(float(stats.t.ppf(0.975, len(values) - 1)) * error, rel=1e-9, abs=1e-12)


@pytest.mark.filterwarnings("ignore:Precision loss")
@given(first=FIGURES, second=FIGURES)
def test_welch_s_test_and_its_interval_are_scipy_s(first: list[float], second: list[float]) -> None:
    found = difference(first, second)
    if len(set(first)) == len(set(second)) == 1:
        assert found.half == 0.0
        return
    theirs = stats.ttest_ind(first, second, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert found.welch == pytest.approx(float(theirs.pvalue), abs=1e-9)
    assert found.half == pytest.approx(float(interval.high - interval.low) / 2, rel=1e-6, abs=1e-12)
    assert difference(second, first).difference == pytest.approx(-found.difference)


@given(
    first=st.lists(st.integers(0, 9), min_size=2, max_size=4),
    second=st.lists(st.integers(0, 9), min_size=2, max_size=4),
)
def test_the_permutation_test_is_scipy_s(first: list[int], second: list[int]) -> None:
    def apart(one: list[float], other: list[float]) -> float:
        return abs(math.fsum(one) / len(one) - math.fsum(other) / len(other))

    theirs = stats.permutation_test((first, second), apart, n_resamples=10**6, alternative="greater")
    assert permutation_p(first, second) == pytest.approx(float(theirs.pvalue))


def test_many_permutations_are_drawn_and_always_the_same() -> None:
    first, second = [0.9 + i / 1000 for i in range(12)], [0.5 + i / 1000 for i in range(12)]
    assert permutation_p(first, second) == permutation_p(first, second) == pytest.approx(1 / 10_001)


def test_one_figure_each_decides_nothing() -> None:
    found = difference([0.9], [0.1])
    assert found.difference == pytest.approx(0.8)
    assert (found.half, found.welch, found.certain) == (None, None, False)


def test_figures_without_spread_decide_at_once() -> None:
    assert difference([0.9, 0.9], [0.8, 0.8]).certain
    assert not difference([0.9, 0.9], [0.9, 0.9]).certain


def test_holm_s_correction_never_reverses_an_order() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_the_seeds_that_would_decide_are_enough_and_no_more() -> None:
    first, second = [0.90, 0.92, 0.94], [0.89, 0.91, 0.93]
    n = seeds_to_decide(first, second)
    assert n is not None
    spread = math.sqrt(2 * 0.02**2 / n)
    assert t_quantile(2 * (n - 1)) * spread < 0.01
    assert t_quantile(2 * (n - 2)) * math.sqrt(2 * 0.02**2 / (n - 1)) >= 0.01
    assert seeds_to_decide([0.9, 0.9], [0.9, 0.9]) is None
    assert seeds_to_decide([0.1, 0.9], [0.1001, 0.9001]) is None


@pytest.mark.parametrize(("first", "second"), [(3, 3), (2, 4), (5, 5)])
def test_no_permutation_test_gives_less_than_the_least(first: int, second: int) -> None:
    assert permutation_p([1.0 + i for i in range(first)], [100.0 + i for i in range(second)]) == pytest.approx(
        smallest_permutation_p(first, second)
    )
