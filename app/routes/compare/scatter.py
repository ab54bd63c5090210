"""Accuracy against what it costs, as points, with the front of those that nothing beats in both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.analysis.groups import Group
from app.analysis.statistics import mean_of
from app.charts.drawing import SIZE, Tick, ticks
from app.routes.compare.flops import FLOPS
from app.web.formatting import color, format_duration, format_short
from app.web.run_summary import RunSummary

COSTS: dict[str, tuple[str, Callable[[RunSummary], float | None], Callable[[float], str]]] = {
    "parameters": ("parameters", lambda each: each.run.params, format_short),
    # What a network costs is not known of its run alone.
    FLOPS: ("FLOPs of an image forward", lambda _: None, format_short),
    "duration": ("duration", lambda each: each.seconds, format_duration),
    "memory": (
        "most memory used, bytes",
        lambda each: None if each.peak_memory_mb is None else each.peak_memory_mb * 1e6,
        format_short,
    ),
}


@dataclass(frozen=True)
class Dot:
    """A run or a group: percent of the picture's width and height, its color, what it is, and where it leads."""

    x: float
    y: float
    low: float | None
    high: float | None
    css: str
    title: str
    words: str
    href: str
    best: bool


@dataclass(frozen=True)
class Scatter:
    """The picture; ``front`` is a staircase in 0..1000 through the dots that nothing beats in both."""

    cost: str
    title: str
    figure: str
    dots: list[Dot]
    front: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]


@dataclass(frozen=True)
class _Point:
    cost: float
    share: float
    half: float | None
    css: str
    title: str
    href: str


def scatter(
    shown: Sequence[RunSummary], groups: Sequence[Group] | None, figure: str, cost: str, flops: Mapping[str, int]
) -> Scatter | None:
    """The picture of these runs, or of their groups; None where fewer than two have accuracy and parameters.

    ``flops`` of each run by its id, where the cost is that.
    """
    cost = cost if cost in COSTS else next(iter(COSTS))
    share = _tested if figure == "test/acc" else _validated
    title, of, written = COSTS[cost]
    if cost == FLOPS:
        of = lambda each: flops.get(each.run.id)  # noqa: E731  the others are lambdas as well
    points = _of_groups(groups, share, of) if groups is not None else _of_runs(shown, share, of)
    if len(points) < 2:
        # Of another cost more may be known: the choice stays there.
        return None if cost == next(iter(COSTS)) else Scatter(cost, title, figure, [], "", [], [])
    front = pareto([(each.cost, each.share) for each in points])
    x_low, x_high = _wide(min(math.log10(each.cost) for each in points), max(math.log10(each.cost) for each in points))
    ends = [end for each in points for end in (each.share - (each.half or 0), each.share + (each.half or 0))]
    y_low, y_high = _wide(max(0.0, min(ends)), min(1.0, max(ends)))

    def across(value: float) -> float:
        return 100 * (math.log10(value) - x_low) / (x_high - x_low)

    def up(value: float) -> float:
        return 100 * (1 - (min(y_high, max(y_low, value)) - y_low) / (y_high - y_low))

    dots = [
        Dot(
            x=across(each.cost),
            y=up(each.share),
            low=None if each.half is None else up(max(0.0, each.share - each.half)),
            high=None if each.half is None else up(min(1.0, each.share + each.half)),
            css=each.css,
            title=each.title,
            words=f"{each.title}: {figure} {100 * each.share:.2f} %, {title} {written(each.cost)}",
            href=each.href,
            best=i in front,
        )
        for i, each in enumerate(points)
    ]
    return Scatter(
        cost=cost,
        title=title,
        figure=figure,
        dots=dots,
        front=_staircase([dots[i] for i in front]),
        x_ticks=[Tick(f"{across(value):.2f}%", written(value)) for value in _log_ticks(x_low, x_high)],
        y_ticks=[Tick(f"{up(value):.2f}%", f"{100 * value:.4g} %") for value in ticks(y_low, y_high, 5)],
    )


def _tested(each: RunSummary) -> float | None:
    return each.test_acc


def _validated(each: RunSummary) -> float | None:
    return each.val_acc


def _of_runs(
    shown: Sequence[RunSummary], share: Callable[[RunSummary], float | None], of: Callable[[RunSummary], float | None]
) -> list[_Point]:
    found = []
    for each in shown:
        right, cost = share(each), of(each)
        if right is not None and cost:
            found.append(_Point(cost, right, None, color(each.number), each.name, f"/runs/{each.run.id}"))
    return found


def _of_groups(
    groups: Sequence[Group], share: Callable[[RunSummary], float | None], of: Callable[[RunSummary], float | None]
) -> list[_Point]:
    found = []
    for group in groups:
        right, costs = group.values(share), [cost for cost in group.values(of) if cost]
        if right and costs:
            mean = mean_of(right)
            cost = mean_of(costs).mean
            href = f"/compare?runs={','.join(each.run.id for each in group.runs)}"
            found.append(_Point(cost, mean.mean, mean.half, color(group.number), group.title, href))
    return found


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """The places of those (cost, gain) that none beats in both, the cheapest first."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def _wide(low: float, high: float) -> tuple[float, float]:
    margin = (high - low) * 0.08 or 0.05
    return low - margin, high + margin


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(low), math.ceil(high) + 1)
    whole = [10.0**power for power in powers if low <= power <= high]
    if len(whole) >= 2:
        return whole
    fine = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    found = [value for value in fine if low <= math.log10(value) <= high]
    # Networks of almost the same size.
    return found if len(found) >= 2 else ticks(10.0**low, 10.0**high, 4)


def _staircase(front: Sequence[Dot]) -> str:
    """As SVG's points: level until something dearer is better."""
    places: list[tuple[float, float]] = []
    for dot in front:
        if places:
            places.append((dot.x, places[-1][1]))
        places.append((dot.x, dot.y))
    if places:
        places.append((100, places[-1][1]))
    return " ".join(f"{x * SIZE / 100:.1f},{y * SIZE / 100:.1f}" for x, y in places)
