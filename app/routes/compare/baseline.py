"""Differences of every run or group to the baseline of a comparison, for each metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.analysis.groups import Group
from app.analysis.statistics import difference
from app.contract.metric_names import is_accuracy
from app.routes.compare.figures import Metric, metrics_of_groups, shown_metrics
from app.web.formatting import count, format_duration, format_number, format_short
from app.web.run_summary import RunSummary


@dataclass(frozen=True)
class Delta:
    """A formatted difference to the baseline; ``direction`` is "better", "worse", or "" if undecided."""

    text: str
    direction: str


def baseline_index(requested: str, summaries: Sequence[RunSummary], groups: Sequence[Group] | None) -> int | None:
    """Return the index of the baseline: a run, or the group with this key or this run; None if there is none."""
    if not requested:
        return None
    if groups is None:
        return next((i for i, summary in enumerate(summaries) if summary.run.id == requested), None)
    return next(
        (
            i
            for i, group in enumerate(groups)
            if requested == group.key or requested in {summary.run.id for summary in group.runs}
        ),
        None,
    )


def deltas_of_runs(summaries: Sequence[RunSummary], baseline: int) -> list[list[Delta | None]]:
    """For every metric, the difference of each run to the baseline."""
    return [
        [
            None if i == baseline else _run_delta(metric, metric.read(summary), metric.read(summaries[baseline]))
            for i, summary in enumerate(summaries)
        ]
        for metric in shown_metrics(summaries)
    ]


def deltas_of_groups(groups: Sequence[Group], baseline: int) -> list[list[Delta | None]]:
    """For every group, the difference of each metric to the baseline, with its 95% interval."""
    metrics = metrics_of_groups(groups)
    return [
        [None if i == baseline else _group_delta(metric, group, groups[baseline]) for metric in metrics]
        for i, group in enumerate(groups)
    ]


def _run_delta(metric: Metric, value: float | None, base: float | None) -> Delta | None:
    if value is None or base is None:
        return None
    gap = value - base
    return Delta(_format_delta(metric, gap, None), _direction(metric, gap))


def _group_delta(metric: Metric, group: Group, base: Group) -> Delta | None:
    values, base_values = group.values(metric.read), base.values(metric.read)
    if not values or not base_values:
        return None
    gap = difference(values, base_values)
    half = None if metric.name in ("parameters", "epochs made") else gap.half
    # A group is better or worse only if the interval excludes zero.
    certain = gap.certain if gap.half is not None else len(values) == len(base_values) == 1
    return Delta(_format_delta(metric, gap.difference, half), _direction(metric, gap.difference) if certain else "")


def _direction(metric: Metric, gap: float) -> str:
    return "" if not metric.better or gap == 0 else "better" if gap * metric.better > 0 else "worse"


def _format_delta(metric: Metric, gap: float, half: float | None) -> str:
    if gap == 0 and not half:
        return "±0"
    sign = "−" if gap < 0 else "+"
    if is_accuracy(metric.name):
        text = f"{sign}{100 * abs(gap):.2f}"
        return text if half is None else f"{text} ± {100 * half:.2f}"
    match metric.name:
        case "parameters" | "epochs made":
            size = count(round(abs(gap)))
        case "duration":
            size = format_duration(abs(gap))
        case "images a second":
            size = format_short(abs(gap))
        case _:
            size = format_number(abs(gap), 3)
    if half is None:
        return f"{sign}{size}"
    half_width = (
        format_duration(half)
        if metric.name == "duration"
        else format_short(half)
        if metric.name == "images a second"
        else format_number(half, 2)
    )
    return f"{sign}{size} ± {half_width}"
