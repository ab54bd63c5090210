"""Curves in a terminal, drawn with braille characters of 2 × 4 dots each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

# Bits of the dots in each of the two columns, from the top.
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
BLANK = 0x2800
COLORS = ("cyan", "yellow", "green", "magenta", "red", "blue", "bright_cyan", "bright_yellow")


@dataclass(frozen=True)
class Line:
    """A curve to draw; points that are not finite are left out."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]

    def points(self) -> list[tuple[float, float]]:
        """Return the finite points, sorted by x."""
        pairs = zip(self.xs, self.ys, strict=True)
        return sorted((float(x), float(y)) for x, y in pairs if math.isfinite(x) and math.isfinite(y))


def plot(title: str, lines: Sequence[Line], width: int = 60, height: int = 10) -> Text:
    """Draw the curves in ``width`` × ``height`` characters, with the limits of both axes and a legend."""
    from rich.text import Text

    curves = [(line.points(), COLORS[i % len(COLORS)]) for i, line in enumerate(lines)]
    all_points = [point for points, _ in curves for point in points]
    figure = Text(title[:width] + "\n", style="bold")
    if not all_points:
        figure.append("no points yet" + "\n" * (height - 1), style="dim")
        return figure
    low, high = _limits([y for _, y in all_points])
    left, right = _limits([x for x, _ in all_points])
    labels = [f"{high:.4g}", f"{low:.4g}"]
    margin = max(map(len, labels))
    columns, rows = max(2, width - margin - 2), max(2, height - 3)
    cells, colors = _draw_curves(curves, (left, right), (low, high), columns, rows)
    for i, row in enumerate(cells):
        label = labels[0] if i == 0 else labels[1] if i == rows - 1 else ""
        figure.append(f"{label:>{margin}} ┤", style="dim")
        for cell, color in zip(row, colors[i], strict=True):
            figure.append(chr(BLANK + cell), style=color)
        figure.append("\n")
    first, last = _x_label(left), _x_label(right)
    figure.append(f"{'':{margin + 2}}{first}{last:>{max(1, columns - len(first))}}\n", style="dim")
    for line, (_, color) in zip(lines, curves, strict=True):
        figure.append(f"— {line.label}  ", style=color)
    figure.append("\n")
    return figure


def _x_label(value: float) -> str:
    label = f"{value:,.0f}" if value.is_integer() else f"{value:,.6g}"
    return label.replace("-", "−")


def _draw_curves(
    curves: Sequence[tuple[list[tuple[float, float]], str]],
    x_limits: tuple[float, float],
    y_limits: tuple[float, float],
    columns: int,
    rows: int,
) -> tuple[list[list[int]], list[list[str]]]:
    """Return the dots of each character, and the color of the last curve that passes through it."""
    cells = [[0] * columns for _ in range(rows)]
    colors = [[""] * columns for _ in range(rows)]
    across, down = 2 * columns - 1, 4 * rows - 1
    for points, color in curves:
        dots = [
            (
                round((x - x_limits[0]) / (x_limits[1] - x_limits[0]) * across),
                round((y_limits[1] - y) / (y_limits[1] - y_limits[0]) * down),
            )
            for x, y in points
        ]
        for start, end in zip(dots, dots[1:] or dots, strict=False):
            for x, y in _line_dots(start, end):
                cells[y // 4][x // 2] |= DOTS[x % 2][y % 4]
                colors[y // 4][x // 2] = color
    return cells, colors


def _line_dots(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the dots of a straight line, including both ends."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    return [
        (round(start[0] + (end[0] - start[0]) * i / steps), round(start[1] + (end[1] - start[1]) * i / steps))
        for i in range(steps + 1)
    ]


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        # Center a horizontal line.
        margin = abs(low) / 2 or 1.0
        return low - margin, high + margin
    return low, high
