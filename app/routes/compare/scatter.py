"""Scatter plot of accuracy against cost (parameters, FLOPs, duration, memory) with its Pareto front."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.analysis.groups import Group, short_titles
from app.analysis.statistics import mean_of
from app.charts.svg import SIZE, Tick, ticks
from app.routes.compare.flops import FLOPS
from app.web.formatting import color, format_bytes, format_duration, format_short
from app.web.run_summary import RunSummary

COSTS: dict[str, tuple[str, Callable[[RunSummary], float | None], Callable[[float], str]]] = {
    "parameters": ("parameters", lambda summary: summary.run.params, format_short),
    # Not part of a run's summary; computed separately from its network.
    FLOPS: ("FLOPs per image", lambda _: None, format_short),
    "duration": ("duration", lambda summary: summary.seconds, format_duration),
    "memory": (
        "peak memory",
        lambda summary: None if summary.peak_memory_mb is None else summary.peak_memory_mb * 1e6,
        lambda value: format_bytes(round(value), 1000),
    ),
}


@dataclass(frozen=True)
class Dot:
    """A run or group: its position and accuracy interval in percent of the plot, its color, label and link."""

    x: float
    y: float
    low: float | None
    high: float | None
    css: str
    title: str
    text: str
    href: str
    best: bool


@dataclass(frozen=True)
class Scatter:
    """The plot; ``front`` is the Pareto front as a staircase in coordinates of 0 to 1000."""

    cost: str
    title: str
    metric: str
    dots: list[Dot]
    front: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]


@dataclass(frozen=True)
class _Point:
    cost: float
    accuracy: float
    half: float | None
    css: str
    title: str
    href: str


def scatter(
    summaries: Sequence[RunSummary], groups: Sequence[Group] | None, metric: str, cost: str, flops: Mapping[str, int]
) -> Scatter | None:
    """Return the plot of these runs or groups; None if fewer than two have an accuracy and parameters.

    ``flops``: by run ID, used if that is the cost.
    """
    cost = cost if cost in COSTS else next(iter(COSTS))
    read_accuracy = _test_acc if metric == "test/acc" else _val_acc
    title, read_cost, format_cost = COSTS[cost]
    if cost == FLOPS:
        read_cost = lambda summary: flops.get(summary.run.id)  # noqa: E731  the other readers are lambdas as well
    points = (
        _group_points(groups, read_accuracy, read_cost)
        if groups is not None
        else _run_points(summaries, read_accuracy, read_cost)
    )
    if len(points) < 2:
        # More may be known of another cost, so keep the switch visible.
        return None if cost == next(iter(COSTS)) else Scatter(cost, title, metric, [], "", [], [])
    front = pareto([(point.cost, point.accuracy) for point in points])
    x_low, x_high = _with_margin(
        min(math.log10(point.cost) for point in points), max(math.log10(point.cost) for point in points)
    )
    ends = [end for point in points for end in (point.accuracy - (point.half or 0), point.accuracy + (point.half or 0))]
    y_low, y_high = _with_margin(max(0.0, min(ends)), min(1.0, max(ends)))

    def x_position(value: float) -> float:
        return 100 * (math.log10(value) - x_low) / (x_high - x_low)

    def y_position(value: float) -> float:
        return 100 * (1 - (min(y_high, max(y_low, value)) - y_low) / (y_high - y_low))

    dots = [
        Dot(
            x=x_position(point.cost),
            y=y_position(point.accuracy),
            low=None if point.half is None else y_position(max(0.0, point.accuracy - point.half)),
            high=None if point.half is None else y_position(min(1.0, point.accuracy + point.half)),
            css=point.css,
            title=short,
            text=f"{point.title}: {metric} {100 * point.accuracy:.2f}%, {title} {format_cost(point.cost)}",
            href=point.href,
            best=i in front,
        )
        for i, (point, short) in enumerate(zip(points, short_titles([point.title for point in points]), strict=True))
    ]
    return Scatter(
        cost=cost,
        title=title,
        metric=metric,
        dots=dots,
        front=_staircase([dots[i] for i in front]),
        x_ticks=[Tick(f"{x_position(value):.2f}%", format_cost(value)) for value in _log_ticks(x_low, x_high)],
        y_ticks=[Tick(f"{y_position(value):.2f}%", f"{100 * value:.4g}%") for value in ticks(y_low, y_high, 5)],
    )


def _test_acc(summary: RunSummary) -> float | None:
    return summary.test_acc


def _val_acc(summary: RunSummary) -> float | None:
    return summary.val_acc


def _run_points(
    summaries: Sequence[RunSummary],
    read_accuracy: Callable[[RunSummary], float | None],
    read_cost: Callable[[RunSummary], float | None],
) -> list[_Point]:
    points = []
    for summary in summaries:
        accuracy, cost = read_accuracy(summary), read_cost(summary)
        if accuracy is not None and cost:
            points.append(_Point(cost, accuracy, None, color(summary.number), summary.name, f"/runs/{summary.run.id}"))
    return points


def _group_points(
    groups: Sequence[Group],
    read_accuracy: Callable[[RunSummary], float | None],
    read_cost: Callable[[RunSummary], float | None],
) -> list[_Point]:
    points = []
    for group in groups:
        accuracy, costs = group.values(read_accuracy), [cost for cost in group.values(read_cost) if cost]
        if accuracy and costs:
            mean = mean_of(accuracy)
            cost = mean_of(costs).mean
            href = f"/compare?runs={','.join(summary.run.id for summary in group.runs)}"
            points.append(_Point(cost, mean.mean, mean.half, color(group.number), group.title, href))
    return points


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the (cost, gain) pairs on the Pareto front, cheapest first."""
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def _with_margin(low: float, high: float) -> tuple[float, float]:
    margin = (high - low) * 0.08 or 0.05
    return low - margin, high + margin


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(low), math.ceil(high) + 1)
    full_powers = [10.0**power for power in powers if low <= power <= high]
    if len(full_powers) >= 2:
        return full_powers
    candidates = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    values = [value for value in candidates if low <= math.log10(value) <= high]
    # Networks of almost the same size need linear ticks.
    return values if len(values) >= 2 else ticks(10.0**low, 10.0**high, 4)


def _staircase(front: Sequence[Dot]) -> str:
    """Return the front as SVG points: level until a more expensive dot is better."""
    corners: list[tuple[float, float]] = []
    for dot in front:
        if corners:
            corners.append((dot.x, corners[-1][1]))
        corners.append((dot.x, dot.y))
    if corners:
        corners.append((100, corners[-1][1]))
    return " ".join(f"{x * SIZE / 100:.1f},{y * SIZE / 100:.1f}" for x, y in corners)
