"""The metrics that a comparison shows, as table rows of runs and as means of groups, and the settings that differ."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.analysis.groups import Group, Standing, standings
from app.analysis.statistics import Mean
from app.contract.metric_names import ADDITIONAL, is_accuracy
from app.web.formatting import count, format_duration, format_number, format_setting, format_short, metric_value
from app.web.run_summary import RunSummary, settings_of


@dataclass(frozen=True)
class Metric:
    """A metric of a run. ``better``: 1 if larger is better, -1 if smaller is, 0 if neither. ``read`` gets its value.

    ``name`` is its key in the API, ``title`` its label on pages. ``optional``: it is shown only if a run has it.
    """

    name: str
    read: Callable[[RunSummary], float | None]
    format: Callable[[Any], str]
    better: int
    label: str = ""
    optional: bool = False

    @property
    def title(self) -> str:
        """Its label on pages."""
        return self.label or self.name


def _accuracy(value: Any) -> str:
    return metric_value("acc", value)


def _further(last: str) -> tuple[Metric, Metric]:
    def test(summary: RunSummary) -> float | None:
        found = summary.further_metric(last)
        return found.test if found else None

    def val(summary: RunSummary) -> float | None:
        found = summary.further_metric(last)
        return found.val if found else None

    formatted = partial(metric_value, last)
    return (
        Metric(f"test/{last}", test, formatted, 1, optional=True),
        Metric(f"best val/{last}", val, formatted, 1, optional=True),
    )


METRICS = (
    Metric("test/acc", lambda summary: summary.test_acc, _accuracy, 1),
    Metric("best val/acc", lambda summary: summary.val_acc, _accuracy, 1),
    *(metric for last in ADDITIONAL for metric in _further(last)),
    Metric("robust/acc", lambda summary: summary.robust_acc, _accuracy, 1, optional=True),
    Metric("best val/loss", lambda summary: summary.best_val_loss, format_number, -1),
    Metric("parameters", lambda summary: summary.run.params, count, -1),
    Metric("duration", lambda summary: summary.seconds, format_duration, -1),
    Metric("images a second", lambda summary: summary.samples_per_second, format_short, 1, "images/s"),
    Metric("epochs made", lambda summary: summary.epoch or None, count, 0, "epochs trained"),
)
ACCURACIES = ("test/acc", "best val/acc")


@dataclass(frozen=True)
class Cell:
    text: str
    best: bool


@dataclass(frozen=True)
class Line:
    """One metric of every run, with the best values marked if they differ."""

    title: str
    cells: list[Cell]


@dataclass(frozen=True)
class Difference:
    """A setting and its value in every run; ``equal`` if they are all the same."""

    name: str
    values: list[str]
    equal: bool = False


def shown_metrics(summaries: Iterable[RunSummary]) -> list[Metric]:
    """Return the metrics in a comparison of these runs."""
    runs = list(summaries)
    return [
        metric for metric in METRICS if not metric.optional or any(metric.read(summary) is not None for summary in runs)
    ]


def metrics_of_groups(groups: Sequence[Group]) -> list[Metric]:
    """Return the metrics in a comparison of these groups."""
    return shown_metrics(summary for group in groups for summary in group.runs)


def lines(summaries: Sequence[RunSummary]) -> list[Line]:
    """Return a table line for every metric of these runs."""
    return [
        Line(metric.title, _cells([metric.read(summary) for summary in summaries], metric.format, metric.better))
        for metric in shown_metrics(summaries)
    ]


def _cells(values: list[Any], format_value: Callable[[Any], str], better: int) -> list[Cell]:
    known = [value for value in values if value is not None]
    decides = better and len(set(known)) > 1
    best = (max(known) if better > 0 else min(known)) if decides else None
    return [Cell(format_value(value), decides != 0 and value is not None and value == best) for value in values]


def differences(
    summaries: Sequence[RunSummary], everything: bool = False, without: Container[str] = ()
) -> tuple[list[Difference], int]:
    """Return the settings that differ and the number of equal ones; ``everything`` includes those too."""
    settings = [settings_of(summary.run.config) for summary in summaries]
    names = [name for name in dict.fromkeys(name for values in settings for name in values) if name not in without]
    differing = [name for name in names if len({repr(values.get(name)) for values in settings}) > 1]
    listed = [
        Difference(
            name.replace("_", " "), [format_setting(values.get(name)) for values in settings], name not in differing
        )
        for name in names
        if everything or name in differing
    ]
    return listed, len(names) - len(differing)


# Groups --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GroupRow:
    """A group in the table: number of succeeded runs, the cells of every metric, and the gap to the best group."""

    group: Group
    succeeded: int
    cells: list[Cell]
    behind: str


def standings_by_metric(groups: Sequence[Group]) -> dict[str, list[Standing]]:
    """Return the standing of every group, by metric."""
    return {metric.name: standings(groups, metric.read, metric.better or 1) for metric in METRICS}


def deciding_metric(by_metric: dict[str, list[Standing]]) -> str:
    """Return the metric that ranks the groups: test accuracy, or validation accuracy until two groups were tested."""
    return next(
        (name for name in ACCURACIES if sum(standing.mean is not None for standing in by_metric[name]) > 1),
        ACCURACIES[0],
    )


def group_rows(groups: Sequence[Group], by_metric: dict[str, list[Standing]]) -> list[GroupRow]:
    """Return the table rows of groups."""
    ranking = deciding_metric(by_metric)
    rows = []
    metrics = metrics_of_groups(groups)
    for i, group in enumerate(groups):
        cells = [
            Cell(format_mean(metric, by_metric[metric.name][i].mean), is_best(metric, by_metric, i))
            for metric in metrics
        ]
        succeeded = sum(summary.run.status == "succeeded" for summary in group.runs)
        rows.append(GroupRow(group, succeeded, cells, _gap_to_best(by_metric[ranking][i])))
    return rows


def is_best(metric: Metric, by_metric: dict[str, list[Standing]], i: int) -> bool:
    """Whether a group has the best mean of a metric and another group has a worse one."""
    means = {standing.mean.mean for standing in by_metric[metric.name] if standing.mean is not None}
    mean = by_metric[metric.name][i].mean
    return (
        bool(metric.better)
        and len(means) > 1
        and mean is not None
        and mean.mean == (max if metric.better > 0 else min)(means)
    )


def format_mean(metric: Metric, mean: Mean | None) -> str:
    """Format a mean with its interval: "98.61 ± 0.25%"."""
    if mean is None:
        return "–"
    if metric.name == "parameters":
        return metric.format(round(mean.mean))
    if mean.half is None or metric.name == "epochs made":
        return metric.format(mean.mean) if metric.name != "epochs made" else f"{mean.mean:.4g}"
    if is_accuracy(metric.name):
        return f"{100 * mean.mean:.2f} ± {100 * mean.half:.2f}%"
    return f"{metric.format(mean.mean)} ± {metric.format(mean.half)}"


def _gap_to_best(standing: Standing) -> str:
    if standing.best:
        return "best"
    to_best = standing.to_best
    if to_best is None or to_best.gap.half is None:
        return "–" if to_best is None else f"−{100 * to_best.gap.difference:.2f}"
    return f"−{100 * to_best.gap.difference:.2f} ± {100 * to_best.gap.half:.2f}"
