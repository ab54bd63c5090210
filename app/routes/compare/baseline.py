"""The baseline of a comparison: how far everything else is from it, in every figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.analysis.groups import Group
from app.analysis.statistics import difference
from app.routes.compare.figures import FIGURES, SHARES, Figure
from app.web.formatting import count, format_duration, format_number, format_short
from app.web.run_summary import RunSummary


@dataclass(frozen=True)
class Delta:
    """A difference to the baseline in words; ``way`` is better, worse, or "" where neither can be said."""

    words: str
    way: str


def place_of(said: str, shown: Sequence[RunSummary], groups: Sequence[Group] | None) -> int | None:
    """Where the baseline stands: by a run's id, which stands for its group as well, or by a group's key."""
    if not said:
        return None
    if groups is None:
        return next((i for i, facts in enumerate(shown) if facts.run.id == said), None)
    return next(
        (i for i, group in enumerate(groups) if said == group.key or said in {facts.run.id for facts in group.runs}),
        None,
    )


def deltas_of_runs(shown: Sequence[RunSummary], place: int) -> list[list[Delta | None]]:
    """For every figure, the difference of each run to the baseline."""
    return [
        [None if i == place else _single(each, each.of(facts), each.of(shown[place])) for i, facts in enumerate(shown)]
        for each in FIGURES
    ]


def deltas_of_groups(groups: Sequence[Group], place: int) -> list[list[Delta | None]]:
    """For every group, the difference of each of its figures to the baseline's, with its 95 % interval."""
    return [
        [None if i == place else _means(each, group, groups[place]) for each in FIGURES]
        for i, group in enumerate(groups)
    ]


def _single(each: Figure, value: float | None, base: float | None) -> Delta | None:
    if value is None or base is None:
        return None
    apart = value - base
    return Delta(_written(each, apart, None), _way(each, apart))


def _means(each: Figure, group: Group, base: Group) -> Delta | None:
    values, others = group.values(each.of), base.values(each.of)
    if not values or not others:
        return None
    apart = difference(values, others)
    half = None if each.name in ("parameters", "epochs made") else apart.half
    # Only what an interval without zero says is told as better or worse.
    certain = apart.certain if apart.half is not None else len(values) == len(others) == 1
    return Delta(_written(each, apart.difference, half), _way(each, apart.difference) if certain else "")


def _way(each: Figure, apart: float) -> str:
    return "" if not each.better or apart == 0 else "better" if apart * each.better > 0 else "worse"


def _written(each: Figure, apart: float, half: float | None) -> str:
    if apart == 0 and not half:
        return "±0"
    sign = "−" if apart < 0 else "+"
    if each.name in SHARES:
        words = f"{sign}{100 * abs(apart):.2f}"
        return words if half is None else f"{words} ± {100 * half:.2f}"
    match each.name:
        case "parameters" | "epochs made":
            written = count(round(abs(apart)))
        case "duration":
            written = format_duration(abs(apart))
        case "images a second":
            written = format_short(abs(apart))
        case _:
            written = format_number(abs(apart), 3)
    if half is None:
        return f"{sign}{written}"
    ends = (
        format_duration(half)
        if each.name == "duration"
        else format_short(half)
        if each.name == "images a second"
        else format_number(half, 2)
    )
    return f"{sign}{written} ± {ends}"
