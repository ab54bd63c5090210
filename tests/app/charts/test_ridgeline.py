"""The ridgeline of histograms by step."""

from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from app.charts.ridgeline import BINS, LABEL_GAP, Ridgeline, ridgeline
from app.contract.histogram import Histogram, checked_histogram
from tests.app.contract.test_histogram import given_histograms


def heights(figure: Ridgeline, number: int) -> list[float]:
    """How high a ridge is above its base in each part of the x axis."""
    corners = [tuple(map(float, corner.split(","))) for corner in figure.ridges[number].points.split(" ")]
    base = corners[0][1]
    assert corners[-1][1] == base
    return [base - y for _, y in corners[1:-1]]


@given(st.lists(given_histograms().map(lambda given: checked_histogram(*given)), min_size=1, max_size=6))
def test_every_ridge_lies_inside_the_figure_and_labels_keep_their_distance(histograms: list[Histogram]) -> None:
    figure = ridgeline(list(enumerate(histograms)))
    for ridge in figure.ridges:
        corners = [tuple(map(float, corner.split(","))) for corner in ridge.points.split(" ")]
        assert len(corners) == BINS + 2
        assert all(0 <= x <= 1000 and -0.1 <= y <= 1000 for x, y in corners)
    bases = [float(ridge.base.rstrip("%")) for ridge in figure.ridges if ridge.label]
    assert all(other - one >= LABEL_GAP - 0.01 for one, other in itertools.pairwise(bases))
    assert figure.ridges[-1].label
    assert all(0 <= float(tick.at.rstrip("%")) <= 100 for tick in figure.x_ticks)
    if any(each.total for each in histograms):
        assert math.isclose(
            max(max(heights(figure, i)) for i in range(len(histograms))),
            950 if len(histograms) == 1 else 240,
            abs_tol=0.2,
        )


def test_heights_are_shares_of_the_values() -> None:
    few, many = Histogram((0.0, 1.0, 2.0), (1.0, 3.0)), Histogram((0.0, 1.0, 2.0), (100.0, 300.0))
    figure = ridgeline([(1, few), (2, many)])
    assert heights(figure, 0) == heights(figure, 1)
    left, right = heights(figure, 0)[:50], heights(figure, 0)[50:]
    assert max(left) * 3 <= max(right) + 0.3
    assert max(right) - min(right) < 0.2


def test_equal_values_are_one_peak_with_all_of_them() -> None:
    figure = ridgeline([(1, Histogram((3.0, 3.0), (9.0,)))])
    assert sum(each > 0 for each in heights(figure, 0)) == 1
    wide = ridgeline([(1, Histogram((0.0, 0.0), (1.0,))), (2, Histogram((0.0, 10.0), (1.0,)))])
    assert heights(wide, 0)[0] > 20 * heights(wide, 1)[0]
    upper = ridgeline([(1, Histogram((10.0, 10.0), (1.0,))), (2, Histogram((0.0, 10.0), (1.0,)))])
    assert heights(upper, 0)[-1] > 20 * heights(upper, 1)[-1]


def test_a_ridge_says_in_words_what_it_shows() -> None:
    histogram = Histogram((-1.0, 0.0, 3.0), (1000.0, 1000.0))
    ridge, empty = ridgeline([(50, histogram), (2**63 - 1, Histogram((0.0, 1.0), (0.0,)))]).ridges
    assert ridge.words == "step 50: 2,000 values from -1 to 3, median 0"
    assert empty.words == "step 9223372036854775807: no values"
