"""Wilson's interval is that of statsmodels, and never leaves 0 to 1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from app.analysis.proportion import wilson


@given(st.integers(1, 100_000), st.floats(0, 1))
def test_the_interval_is_that_of_statsmodels_and_contains_the_share(count: int, share: float) -> None:
    hits = round(share * count)
    low, high = wilson(hits, count)
    assert 0 <= low <= hits / count <= high <= 1
    assert (low, high) == pytest.approx(proportion_confint(hits, count, method="wilson"), abs=1e-9)


@pytest.mark.parametrize(("hits", "count"), [(0, 0), (3, 2), (-1, 5)])
def test_what_is_no_share_is_refused(hits: int, count: int) -> None:
    with pytest.raises(ValueError, match="is no share"):
        wilson(hits, count)
