"""A ridgeline: one histogram above the other by step, the newest in front, on a common x axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.charts.svg import SIZE, Tick, ticks, x_label, y_label
from app.contract.histogram import Histogram, cumulated
from app.web.formatting import format_number

BINS: Final = 100
"""Equally wide parts of the x axis; a ridge has the share of the values in each."""
RIDGE: Final = 0.24
"""Height of the highest ridge, as a share of the figure's."""
LABEL_GAP: Final = 6.0
"""Percent of the figure's height between two labels."""
SHADES: Final = 9
"""Number of shades, from 0, the oldest."""


@dataclass(frozen=True)
class Ridge:
    """A histogram of the figure. ``points``: a polygon in its coordinates; ``base``: percent from the top.

    ``label``: its step, blank where it would cover another label. The rest are columns of the table.
    """

    number: int
    step: int
    points: str
    base: str
    shade: int
    label: str
    values: str
    low: str
    quantiles: tuple[str, str, str]
    high: str

    @property
    def words(self) -> str:
        """The histogram in words."""
        if self.values == "0":
            return f"step {self.step}: no values"
        return f"step {self.step}: {self.values} values from {self.low} to {self.high}, median {self.quantiles[1]}"


@dataclass(frozen=True)
class Ridgeline:
    """The figure, oldest histogram first: in this order ridges are drawn over one another."""

    ridges: list[Ridge]
    x_ticks: list[Tick]


def ridgeline(histograms: Sequence[tuple[int, Histogram]]) -> Ridgeline:
    """Draw histograms with their steps, in the order of these."""
    low, high = _extent([histogram for _, histogram in histograms])
    shares = [_shares(histogram, low, high) for _, histogram in histograms]
    highest = max((float(each.max()) for each in shares), default=0.0) or 1.0
    count = len(histograms)
    height = SIZE * (RIDGE if count > 1 else 0.95)
    ridges: list[Ridge] = []
    labelled = -LABEL_GAP
    for number, ((step, histogram), share) in enumerate(zip(histograms, shares, strict=True)):
        base = height + (SIZE - height) * number / (count - 1) if count > 1 else SIZE
        last = number == count - 1
        percent = 100 * base / SIZE
        # The newest one always has a label.
        shown = last or (percent - labelled >= LABEL_GAP and 100 - percent >= LABEL_GAP)
        labelled = percent if shown else labelled
        ridges.append(
            Ridge(
                number,
                step,
                _polygon(share / highest * height, base),
                f"{percent:.2f}%",
                (SHADES - 1) * number // max(1, count - 1) if count > 1 else SHADES - 1,
                x_label(float(step), "step") if shown else "",
                f"{histogram.total:,.15g}",
                format_number(histogram.edges[0]),
                (
                    format_number(histogram.quantile(0.05)),
                    format_number(histogram.quantile(0.5)),
                    format_number(histogram.quantile(0.95)),
                ),
                format_number(histogram.edges[-1]),
            )
        )
    places = [(value, 100 * (value - low) / (high - low)) for value in ticks(low, high, 6)]
    return Ridgeline(ridges, [Tick(f"{at:.2f}%", y_label(value, "")) for value, at in places])


def _extent(histograms: Sequence[Histogram]) -> tuple[float, float]:
    """The ends of the x axis, which are never the same."""
    filled = [each for each in histograms if each.total > 0]
    low = min((each.edges[0] for each in filled), default=0.0)
    high = max((each.edges[-1] for each in filled), default=0.0)
    margin = abs(low) * 0.05 or 0.5
    # Numbers may be too close or too far apart to be told apart in between.
    return (low, high) if high - low > abs(low) * 1e-9 and math.isfinite(high - low) else (low - margin, low + margin)


def _shares(histogram: Histogram, low: float, high: float) -> np.typing.NDArray[np.float64]:
    """The share of the values in each part of the axis, spread evenly within each bucket."""
    total = histogram.total
    if not total:
        return np.zeros(BINS)
    grid = np.linspace(low, high, BINS + 1)
    # Values at the upper end belong to the last part.
    grid[-1] = np.nextafter(high, np.inf)
    grid[0] = np.nextafter(low, -np.inf)
    below = np.interp(grid, np.array(histogram.edges), np.array(cumulated(histogram)), left=0.0, right=total)
    shares: np.typing.NDArray[np.float64] = np.diff(below) / total
    return shares


def _polygon(heights: np.typing.NDArray[np.float64], base: float) -> str:
    """The outline of a ridge, which begins and ends on its base."""
    middles = (np.arange(BINS) + 0.5) * SIZE / BINS
    x = np.concatenate(([0.0], middles, [float(SIZE)]))
    y = np.concatenate(([base], base - heights, [base]))
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
