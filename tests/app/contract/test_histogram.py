"""Histograms: what is accepted, what is kept of them, and their bytes."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.errors import Invalid
from app.contract.histogram import (
    MAX_BUCKETS,
    Histogram,
    checked_histogram,
    cumulated,
    pack_histogram,
    unpack_histogram,
)

counts = st.lists(st.integers(0, 1000), min_size=1, max_size=3 * MAX_BUCKETS)
widths = st.floats(0, 1e6)


@st.composite
def given_histograms(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    """Edges and counts, with empty buckets and ones without a width among them."""
    chosen = [float(count) for count in draw(counts)]
    seed = draw(st.lists(widths, min_size=1, max_size=8))
    low = draw(st.floats(-1e6, 1e6))
    return list(accumulate((seed[i % len(seed)] for i in range(len(chosen))), initial=low)), chosen


@given(given_histograms())
def test_what_is_kept_has_all_values_where_they_were(given: tuple[list[float], list[float]]) -> None:
    edges, counts = given
    kept = checked_histogram(edges, counts)
    assert kept.total == sum(counts)
    assert len(kept.counts) <= MAX_BUCKETS
    assert set(kept.edges) <= set(edges)
    assert list(kept.edges) == sorted(kept.edges)
    below = dict(zip(edges, [0.0, *accumulate(counts)], strict=True))
    if len(set(edges)) == len(edges):
        assert [below[edge] for edge in kept.edges] == cumulated(kept)
    if kept.total:
        assert kept.counts[0] > 0
    assert checked_histogram(kept.edges, kept.counts).total == kept.total


@given(given_histograms())
def test_its_bytes_are_the_histogram(given: tuple[list[float], list[float]]) -> None:
    kept = checked_histogram(*given)
    assert unpack_histogram(pack_histogram(kept)) == kept


@given(given_histograms(), st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_quantiles_ascend_from_the_lowest_edge_to_the_highest(
    given: tuple[list[float], list[float]], shares: list[float]
) -> None:
    kept = checked_histogram(*given)
    found = [kept.quantile(share) for share in sorted(shares)]
    scale = abs(kept.edges[0]) + abs(kept.edges[-1]) + 1
    for one, other in pairwise(found):
        assert one <= other + 1e-9 * scale
    assert all(kept.edges[0] - 1e-9 * scale <= each <= kept.edges[-1] + 1e-9 * scale for each in found)


def test_a_quantile_lies_between_the_edges_of_its_bucket() -> None:
    histogram = Histogram((0.0, 1.0, 3.0), (1.0, 3.0))
    assert [histogram.quantile(share) for share in (0.0, 0.25, 0.625, 1.0)] == [0.0, 1.0, 2.0, 3.0]
    assert Histogram((5.0, 5.0), (7.0,)).quantile(0.5) == 5.0


def test_empty_buckets_at_the_ends_are_left_out() -> None:
    kept = checked_histogram([0, 1, 2, 3, 4, 5], [0, 0, 2, 0, 0])
    assert kept == Histogram((2.0, 3.0), (2.0,))
    assert checked_histogram([0, 1, 2], [0, 0]) == Histogram((0.0, 1.0), (0.0,))


@pytest.mark.parametrize(
    ("edges", "counts", "words"),
    [
        ([], [], "0 buckets needs 1 edges"),
        ([0, 1], [1, 2], "2 buckets needs 3 edges, not 2"),
        ([0, math.nan], [1], "finite numbers in ascending order"),
        ([1, 0], [1], "ascending"),
        ([0, 1], [-1], "at least 0"),
        ([0, 1], [math.inf], "finite numbers of at least 0"),
        ([-1.7e308, 1.7e308], [1], "too large"),
        ([0, 1, 2], [1.7e308, 1.7e308], "too large"),
    ],
)
def test_what_is_no_histogram_is_refused(edges: list[float], counts: list[float], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        checked_histogram(edges, counts)
