"""A robustness card as a table and a figure: the accuracy under each corruption and strength, beside another run's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Final

from app.contract.model_jobs import RobustnessResult
from app.web.formatting import color

WIDTH: Final = 1000
HEIGHT: Final = 1000
"""Of the figure's coordinates; the page stretches it."""
HEATS: Final = 10
"""Number of colors of a cell, from 0: nothing is left of the accuracy, to this: as good as on the unchanged images."""
LABEL_GAP: Final = 5.6
"""Percent of the figure's height between two labels."""
Y_TICKS: Final = (0, 25, 50, 75, 100)


@dataclass(frozen=True)
class Cell:
    """An accuracy of one strength. ``difference``: from the other run's; ``title``: what the strength is."""

    value: float
    heat: int
    title: str
    difference: float | None = None


@dataclass(frozen=True)
class Row:
    """A corruption with the mean over its strengths. ``css``: the color of its line in the figure."""

    name: str
    cells: list[Cell]
    mean: float
    css: str
    difference: float | None = None

    @property
    def title(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ").replace("jpeg", "JPEG")


@dataclass(frozen=True)
class Line:
    """A line of the figure; ``points``: in its coordinates. ``end``: where its label is, in percent from the top."""

    label: str
    css: str
    points: str
    end: float = 0.0


@dataclass(frozen=True)
class HeadCard:
    """The card of one head. ``mean_of``: for each strength over all corruptions; ``lines``: the most important last."""

    head: str
    clean: float
    mean: float
    rows: list[Row]
    mean_of: list[Cell]
    lines: list[Line] = field(default_factory=list)
    other_clean: float | None = None
    other_mean: float | None = None


def draw_cards(
    found: RobustnessResult, other: RobustnessResult | None, number: int, other_number: int
) -> list[HeadCard]:
    """The card of each head; ``other``: of another run, compared where it has the same head and corruptions."""
    cards = []
    for head, by_name in found.accuracy.items():
        beside = other.accuracy.get(head, {}) if other is not None else {}
        clean = found.clean[head]
        rows = [
            _row(name, values, beside.get(name), found.parameters[name], clean, place)
            for place, (name, values) in enumerate(by_name.items())
        ]
        means = [fmean(column) for column in zip(*by_name.values(), strict=True)]
        other_means = [fmean(column) for column in zip(*beside.values(), strict=True)] if beside else []
        lines = [_line(row.title, f"{row.css} thin", [clean, *by_name[row.name]]) for row in rows]
        if other is not None and other_means:
            css = f"{color(other_number).split()[0]} mean d1"
            lines.append(_line(f"mean of run #{other_number}", css, [other.clean[head], *other_means]))
        lines.append(_line(f"mean of run #{number}" if other_means else "mean", "ink mean", [clean, *means]))
        cells = [
            Cell(mean, _heat(mean, clean), f"strength {i + 1}", mean - other_means[i] if other_means else None)
            for i, mean in enumerate(means)
        ]
        has_other = other is not None and bool(beside)
        cards.append(
            HeadCard(
                head,
                clean,
                found.mean[head],
                rows,
                cells,
                _labeled(lines, [*(row.cells[-1].value for row in rows), *_last(other_means), means[-1]]),
                other.clean[head] if other is not None and has_other else None,
                other.mean[head] if other is not None and has_other else None,
            )
        )
    return cards


def _row(
    name: str,
    values: Sequence[float],
    beside: Sequence[float] | None,
    parameters: Sequence[str],
    clean: float,
    place: int,
) -> Row:
    cells = [
        Cell(value, _heat(value, clean), parameters[i], None if beside is None else value - beside[i])
        for i, value in enumerate(values)
    ]
    mean = fmean(values)
    return Row(name, cells, mean, color(place + 1), None if beside is None else mean - fmean(beside))


def _heat(value: float, clean: float) -> int:
    """How much of the accuracy is left, from 0 to HEATS."""
    return round(HEATS * min(1.0, value / clean)) if clean > 0 else 0


def _last(values: Sequence[float]) -> Sequence[float]:
    return values[-1:]


def _labeled(lines: Sequence[Line], ends: Sequence[float]) -> list[Line]:
    """The lines with their labels beside their ends, where needed moved apart."""
    order = sorted(range(len(lines)), key=lambda i: -ends[i])
    places: list[float] = []
    for i in order:
        places.append(max(100 * (1 - ends[i]), places[-1] + LABEL_GAP if places else 0.0))
    # What was moved below the figure is moved up again.
    floor = 100.0
    for rank in reversed(range(len(places))):
        places[rank] = min(places[rank], floor)
        floor = places[rank] - LABEL_GAP
    found = {i: replace(lines[i], end=round(place, 1)) for i, place in zip(order, places, strict=True)}
    return [found[i] for i in range(len(lines))]


def _line(label: str, css: str, values: Sequence[float]) -> Line:
    last = len(values) - 1
    points = " ".join(f"{WIDTH * i / last:.0f},{HEIGHT * (1 - value):.0f}" for i, value in enumerate(values))
    return Line(label, css, points)
