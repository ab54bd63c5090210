"""McNemar's exact test: equal to statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from app.analysis.mcnemar import exact_p, outcomes


@given(st.integers(0, 400), st.integers(0, 400))
def test_it_is_the_test_of_statsmodels(first: int, second: int) -> None:
    expected = mcnemar([[7, first], [second, 9]], exact=True).pvalue
    assert exact_p(first, second) == pytest.approx(expected, rel=1e-9)
    assert exact_p(first, second) == exact_p(second, first)
    assert 0 < exact_p(first, second) <= 1


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (5, 5), (20_000, 19_000), (30_000, 30_000), (50, 3)])
def test_few_and_many_images_are_right(first: int, second: int) -> None:
    expected = mcnemar([[7, first], [second, 9]], exact=True).pvalue
    assert exact_p(first, second) == pytest.approx(expected, rel=1e-7)


def test_a_difference_beyond_all_doubt_is_zero_and_no_error() -> None:
    assert exact_p(60_000, 0) == 0


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_each_image_has_one_outcome(images: list[tuple[bool, bool]]) -> None:
    first, second = (np.array([each[side] for each in images], bool) for side in (0, 1))
    found = outcomes(first, second)
    assert found.total == len(images)
    assert found.both + found.first == first.sum()
    assert found.both + found.second == second.sum()
