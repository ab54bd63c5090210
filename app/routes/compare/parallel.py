"""Parallel coordinates: every run or group as a line across its differing settings and its results."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.analysis.groups import Group, settings_varying_within
from app.analysis.statistics import mean_of
from app.charts.svg import SIZE
from app.web.formatting import color, format_duration, format_setting, format_short, metric_value
from app.web.run_summary import RunSummary, settings_of

MOST_SETTINGS = 7
FEW_VALUES = 6
# An axis of positive values is logarithmic if the largest is at least this many times the smallest.
LOG_FROM = 20
TOP, BOTTOM = 4.0, 96.0
Result = tuple[str, Callable[[RunSummary], float | None], Callable[[Any], str]]
RESULTS: tuple[Result, ...] = (
    ("parameters", lambda summary: summary.run.params, format_short),
    ("duration", lambda summary: summary.seconds, format_duration),
    ("best val/acc", lambda summary: summary.val_acc, lambda value: metric_value("acc", value)),
    ("test/acc", lambda summary: summary.test_acc, lambda value: metric_value("acc", value)),
)


@dataclass(frozen=True)
class SweptMetric:
    """The metric of a sweep: its best value in each run that has one."""

    name: str
    values: dict[str, float]


@dataclass(frozen=True)
class Mark:
    """A labeled value on an axis; ``at`` is in percent of the height."""

    at: float
    text: str


@dataclass(frozen=True)
class Axis:
    """An axis; ``x`` is in percent of the width, ``anchor`` is the SVG text anchor of its labels."""

    title: str
    x: float
    anchor: str
    marks: list[Mark]


@dataclass(frozen=True)
class Line:
    """A run or group: its points (0 to 1000), height on each axis ("" without a value) and formatted values."""

    css: str
    title: str
    href: str
    points: str
    heights: str
    texts: list[str]
    broken: bool


@dataclass(frozen=True)
class Parallel:
    """The plot, which the page also shows as a table."""

    axes: list[Axis]
    lines: list[Line]


@dataclass(frozen=True)
class _Scale:
    title: str
    values: list[Any]
    heights: list[float | None]
    marks: list[Mark]
    texts: list[str]


def parallel(
    summaries: Sequence[RunSummary], groups: Sequence[Group] | None, swept: SweptMetric | None = None
) -> Parallel | None:
    """Return the plot of these runs or groups; None with fewer than two of them or fewer than two differing axes.

    ``swept``: the metric of the sweep that all of them belong to, which is the last axis.
    """
    members = [[summary] for summary in summaries] if groups is None else [group.runs for group in groups]
    if len(members) < 2:
        return None
    without = settings_varying_within(groups) if groups is not None else set()
    scales = [*_setting_scales([group[0] for group in members], without), *_result_scales(members, swept)]
    if len(scales) < 2:
        return None
    positions = [100 * i / (len(scales) - 1) for i in range(len(scales))]
    axes = [
        Axis(scale.title, x, "start" if i == 0 else "end" if i == len(scales) - 1 else "middle", scale.marks)
        for i, (scale, x) in enumerate(zip(scales, positions, strict=True))
    ]
    lines = []
    for i, group in enumerate(members):
        heights = [scale.heights[i] for scale in scales]
        known = [(x, height) for x, height in zip(positions, heights, strict=True) if height is not None]
        first = group[0]
        ungrouped = groups is None
        lines.append(
            Line(
                css=color(first.number),
                title=first.name if ungrouped else (groups or [])[i].title,
                href=f"/runs/{first.run.id}"
                if ungrouped
                else f"/compare?runs={','.join(summary.run.id for summary in group)}",
                points=" ".join(f"{x * SIZE / 100:.1f},{y * SIZE / 100:.1f}" for x, y in known),
                heights=",".join("" if height is None else f"{height:.2f}" for height in heights),
                texts=[scale.texts[i] for scale in scales],
                broken=len(known) < len(heights),
            )
        )
    return Parallel(axes, lines)


def _setting_scales(firsts: Sequence[RunSummary], without: Container[str]) -> list[_Scale]:
    settings = [settings_of(summary.run.config) for summary in firsts]
    names = [name for name in dict.fromkeys(name for values in settings for name in values) if name not in without]
    differing = [name for name in names if len({repr(values.get(name)) for values in settings}) > 1]
    return [
        _scale(name.replace("_", " "), _numbers([values.get(name) for values in settings]), format_setting)
        for name in differing[:MOST_SETTINGS]
    ]


def _numbers(values: list[Any]) -> list[Any]:
    """Parameters that scripts logged, which are texts, as numbers if all of them are."""
    if not all(value is None or isinstance(value, str) for value in values):
        return values
    try:
        numbers = [None if value is None else float(value) for value in values]
    except ValueError:
        return values
    return numbers if all(number is None or math.isfinite(number) for number in numbers) else values


def _result_scales(members: Sequence[Sequence[RunSummary]], swept: SweptMetric | None) -> list[_Scale]:
    scales = []
    results = list(RESULTS)
    if swept is not None:
        name, best = swept.name, swept.values
        results = [each for each in results if each[0].removeprefix("best ") != name]
        results.append((f"best {name}", lambda summary: best.get(summary.run.id), partial(metric_value, name)))
    for title, read, format_value in results:
        values: list[float | None] = []
        for group in members:
            known = [value for summary in group if (value := read(summary)) is not None]
            values.append(mean_of(known).mean if known else None)
        if len({value for value in values if value is not None}) > 1:
            scales.append(_scale(title, values, format_value))
    return scales


def _scale(title: str, values: list[Any], format_value: Callable[[Any], str]) -> _Scale:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    known = [value for value in values if value is not None]
    texts = ["–" if value is None else format_value(value) for value in values]
    if len(numbers) == len(known) and known and all(math.isfinite(value) for value in numbers):
        heights, marks = _number_axis(values, numbers, format_value)
    else:
        heights, marks = _category_axis(texts)
    return _Scale(title, values, heights, marks, texts)


def _number_axis(
    values: list[Any], numbers: list[float], format_value: Callable[[Any], str]
) -> tuple[list[float | None], list[Mark]]:
    low, high = min(numbers), max(numbers)
    log = low > 0 and high / low >= LOG_FROM

    def height_of(value: float) -> float:
        if high == low:
            return 0.5
        fraction = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
        return BOTTOM - fraction * (BOTTOM - TOP)

    distinct = sorted(set(numbers))
    if len(distinct) > FEW_VALUES:
        middle = math.sqrt(low * high) if log else (low + high) / 2
        marked = [low, round(middle) if all(isinstance(value, int) for value in numbers) else middle, high]
    else:
        marked = distinct
    marks = [Mark(height_of(value), format_value(value)) for value in marked]
    return [None if value is None else height_of(value) for value in values], _without_overlaps(marks)


def _without_overlaps(marks: list[Mark]) -> list[Mark]:
    """Drop marks whose labels would overlap; both ends stay."""
    result = [marks[0]]
    for mark in marks[1:-1]:
        if result[-1].at - mark.at > 8 and mark.at - marks[-1].at > 8:
            result.append(mark)
    return result + marks[-1:] if len(marks) > 1 else result


def _category_axis(texts: list[str]) -> tuple[list[float | None], list[Mark]]:
    distinct = sorted({word for word in texts if word != "–"})
    step = (BOTTOM - TOP) / max(1, len(distinct) - 1)
    at = {word: BOTTOM - i * step if len(distinct) > 1 else 50.0 for i, word in enumerate(distinct)}
    return [at.get(word) for word in texts], [Mark(height, word) for word, height in at.items()]
