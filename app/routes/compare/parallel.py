"""Parallel coordinates: every run or group as a line through its settings and what came of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

from app.analysis.groups import Group, varying_within
from app.analysis.statistics import mean_of
from app.charts.drawing import SIZE
from app.web.formatting import color, format_duration, format_setting, format_short, metric_value
from app.web.run_summary import RunSummary, settings_of

MOST_SETTINGS = 7
FEW_VALUES = 6
# Where the largest of some positive values is so many times the smallest, an axis is logarithmic.
LOG_FROM = 20
TOP, BOTTOM = 4.0, 96.0
RESULTS: tuple[tuple[str, Callable[[RunSummary], float | None], Callable[[Any], str]], ...] = (
    ("parameters", lambda each: each.run.params, format_short),
    ("duration", lambda each: each.seconds, format_duration),
    ("best val/acc", lambda each: each.val_acc, lambda value: metric_value("acc", value)),
    ("test/acc", lambda each: each.test_acc, lambda value: metric_value("acc", value)),
)


@dataclass(frozen=True)
class Mark:
    """A value on an axis: percent of the height, and in words."""

    at: float
    words: str


@dataclass(frozen=True)
class Axis:
    """``x``: percent of the width; ``anchor``: where its words lie."""

    title: str
    x: float
    anchor: str
    marks: list[Mark]


@dataclass(frozen=True)
class Line:
    """A run or group: its points in 0..1000, its height on each axis ("" where it has no value), and its words."""

    css: str
    title: str
    href: str
    points: str
    heights: str
    words: list[str]
    broken: bool


@dataclass(frozen=True)
class Parallel:
    """The picture, and the table that says the same."""

    axes: list[Axis]
    lines: list[Line]


@dataclass(frozen=True)
class _Scale:
    title: str
    values: list[Any]
    heights: list[float | None]
    marks: list[Mark]
    words: list[str]


def parallel(shown: Sequence[RunSummary], groups: Sequence[Group] | None) -> Parallel | None:
    """The picture of these runs or groups; None where fewer than two differ in less than two things."""
    members = [[facts] for facts in shown] if groups is None else [group.runs for group in groups]
    if len(members) < 2:
        return None
    without = varying_within(groups) if groups is not None else set()
    scales = [*_settings([each[0] for each in members], without), *_results(members)]
    if len(scales) < 2:
        return None
    places = [100 * i / (len(scales) - 1) for i in range(len(scales))]
    axes = [
        Axis(scale.title, x, "start" if i == 0 else "end" if i == len(scales) - 1 else "middle", scale.marks)
        for i, (scale, x) in enumerate(zip(scales, places, strict=True))
    ]
    lines = []
    for i, each in enumerate(members):
        heights = [scale.heights[i] for scale in scales]
        known = [(x, height) for x, height in zip(places, heights, strict=True) if height is not None]
        first = each[0]
        alone = groups is None
        lines.append(
            Line(
                css=color(first.number),
                title=first.name if alone else (groups or [])[i].title,
                href=f"/runs/{first.run.id}" if alone else f"/compare?runs={','.join(facts.run.id for facts in each)}",
                points=" ".join(f"{x * SIZE / 100:.1f},{y * SIZE / 100:.1f}" for x, y in known),
                heights=",".join("" if height is None else f"{height:.2f}" for height in heights),
                words=[scale.words[i] for scale in scales],
                broken=len(known) < len(heights),
            )
        )
    return Parallel(axes, lines)


def _settings(firsts: Sequence[RunSummary], without: Container[str]) -> list[_Scale]:
    said = [settings_of(facts.run.config) for facts in firsts]
    names = [name for name in dict.fromkeys(name for each in said for name in each) if name not in without]
    differing = [name for name in names if len({repr(each.get(name)) for each in said}) > 1]
    return [
        _scale(name.replace("_", " "), [each.get(name) for each in said], format_setting)
        for name in differing[:MOST_SETTINGS]
    ]


def _results(members: Sequence[Sequence[RunSummary]]) -> list[_Scale]:
    found = []
    for title, of, written in RESULTS:
        values: list[float | None] = []
        for each in members:
            known = [value for facts in each if (value := of(facts)) is not None]
            values.append(mean_of(known).mean if known else None)
        if len({value for value in values if value is not None}) > 1:
            found.append(_scale(title, values, written))
    return found


def _scale(title: str, values: list[Any], written: Callable[[Any], str]) -> _Scale:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    there = [value for value in values if value is not None]
    words = ["–" if value is None else written(value) for value in values]
    if len(numbers) == len(there) and there and all(math.isfinite(value) for value in numbers):
        heights, marks = _of_numbers(values, numbers, written)
    else:
        heights, marks = _of_words(words)
    return _Scale(title, values, heights, marks, words)


def _of_numbers(
    values: list[Any], numbers: list[float], written: Callable[[Any], str]
) -> tuple[list[float | None], list[Mark]]:
    low, high = min(numbers), max(numbers)
    log = low > 0 and high / low >= LOG_FROM

    def across(value: float) -> float:
        if high == low:
            return 0.5
        share = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
        return BOTTOM - share * (BOTTOM - TOP)

    different = sorted(set(numbers))
    if len(different) > FEW_VALUES:
        middle = math.sqrt(low * high) if log else (low + high) / 2
        shown = [low, round(middle) if all(isinstance(value, int) for value in numbers) else middle, high]
    else:
        shown = different
    marks = [Mark(across(value), written(value)) for value in shown]
    return [None if value is None else across(value) for value in values], _apart(marks)


def _apart(marks: list[Mark]) -> list[Mark]:
    """Without those whose words would lie over others; the ends stay."""
    kept = [marks[0]]
    for mark in marks[1:-1]:
        if kept[-1].at - mark.at > 8 and mark.at - marks[-1].at > 8:
            kept.append(mark)
    return kept + marks[-1:] if len(marks) > 1 else kept


def _of_words(words: list[str]) -> tuple[list[float | None], list[Mark]]:
    different = sorted({word for word in words if word != "–"})
    step = (BOTTOM - TOP) / max(1, len(different) - 1)
    at = {word: BOTTOM - i * step if len(different) > 1 else 50.0 for i, word in enumerate(different)}
    return [at.get(word) for word in words], [Mark(height, word) for word, height in at.items()]
