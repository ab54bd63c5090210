"""The figures that are compared: of each run beside the others, and of groups of runs as means."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

from app.analysis.groups import Group, Standing, standings
from app.analysis.statistics import Mean
from app.web.formatting import count, format_duration, format_number, format_setting, format_short, metric_value
from app.web.run_summary import RunSummary, settings_of


@dataclass(frozen=True)
class Figure:
    """A figure of a run: ``better`` is 1 where larger is, -1 where smaller is, 0 where neither; ``of`` reads it."""

    name: str
    of: Callable[[RunSummary], float | None]
    written: Callable[[Any], str]
    better: int


def _accuracy(value: Any) -> str:
    return metric_value("acc", value)


FIGURES = (
    Figure("test/acc", lambda each: each.test_acc, _accuracy, 1),
    Figure("best val/acc", lambda each: each.val_acc, _accuracy, 1),
    Figure("best val/loss", lambda each: each.best_val_loss, format_number, -1),
    Figure("parameters", lambda each: each.run.params, count, -1),
    Figure("duration", lambda each: each.seconds, format_duration, -1),
    Figure("images a second", lambda each: each.samples_per_second, format_short, 1),
    Figure("epochs made", lambda each: each.epoch or None, count, 0),
)
SHARES = ("test/acc", "best val/acc")


@dataclass(frozen=True)
class Cell:
    text: str
    best: bool


@dataclass(frozen=True)
class Line:
    """One figure of every run, the best ones marked where one is better than another."""

    title: str
    cells: list[Cell]


@dataclass(frozen=True)
class Difference:
    """A setting in which the runs differ, or not where ``equal``."""

    name: str
    values: list[str]
    equal: bool = False


def lines(shown: Sequence[RunSummary]) -> list[Line]:
    """Every figure of these runs."""
    return [Line(each.name, _cells([each.of(facts) for facts in shown], each.written, each.better)) for each in FIGURES]


def _cells(values: list[Any], written: Callable[[Any], str], better: int) -> list[Cell]:
    there = [value for value in values if value is not None]
    decides = better and len(set(there)) > 1
    best = (max(there) if better > 0 else min(there)) if decides else None
    return [Cell(written(value), decides != 0 and value is not None and value == best) for value in values]


def differences(
    shown: Sequence[RunSummary], everything: bool = False, without: Container[str] = ()
) -> tuple[list[Difference], int]:
    """In which settings these runs differ, and in how many they do not; with ``everything`` these are listed too."""
    settings = [settings_of(each.run.config) for each in shown]
    names = [name for name in dict.fromkeys(name for each in settings for name in each) if name not in without]
    differing = [name for name in names if len({repr(each.get(name)) for each in settings}) > 1]
    found = [
        Difference(name.replace("_", " "), [format_setting(each.get(name)) for each in settings], name not in differing)
        for name in names
        if everything or name in differing
    ]
    return found, len(names) - len(differing)


# Groups --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GroupRow:
    """A group in the table: how many of its runs have ended well, each figure in words, and how far it is behind."""

    group: Group
    succeeded: int
    cells: list[Cell]
    behind: str


def standings_of(groups: Sequence[Group]) -> dict[str, list[Standing]]:
    """Every group's standing, by figure."""
    return {each.name: standings(groups, each.of, each.better or 1) for each in FIGURES}


def decisive(found: dict[str, list[Standing]]) -> str:
    """The figure by which groups are told apart: the test's, until there is one the validation's."""
    return next((name for name in SHARES if sum(each.mean is not None for each in found[name]) > 1), SHARES[0])


def group_rows(groups: Sequence[Group], found: dict[str, list[Standing]]) -> list[GroupRow]:
    """The table of groups; figures that no group has are blank."""
    by = decisive(found)
    rows = []
    for place, group in enumerate(groups):
        cells = [
            Cell(mean_in_words(each, found[each.name][place].mean), marked(each, found, place)) for each in FIGURES
        ]
        succeeded = sum(facts.run.status == "succeeded" for facts in group.runs)
        rows.append(GroupRow(group, succeeded, cells, _behind(found[by][place])))
    return rows


def marked(each: Figure, found: dict[str, list[Standing]], place: int) -> bool:
    """Whether a group has the best mean of a figure, and another has a worse one."""
    means = {standing.mean.mean for standing in found[each.name] if standing.mean is not None}
    mean = found[each.name][place].mean
    return (
        bool(each.better)
        and len(means) > 1
        and mean is not None
        and mean.mean == (max if each.better > 0 else min)(means)
    )


def mean_in_words(each: Figure, mean: Mean | None) -> str:
    """A mean with its interval, "98.61 ± 0.25 %"."""
    if mean is None:
        return "–"
    if each.name == "parameters":
        return each.written(round(mean.mean))
    if mean.half is None or each.name == "epochs made":
        return each.written(mean.mean) if each.name != "epochs made" else f"{mean.mean:.4g}"
    if each.name in SHARES:
        return f"{100 * mean.mean:.2f} ± {100 * mean.half:.2f} %"
    return f"{each.written(mean.mean)} ± {each.written(mean.half)}"


def _behind(standing: Standing) -> str:
    if standing.best:
        return "best"
    against = standing.against
    if against is None or against.behind.half is None:
        return "–" if against is None else f"−{100 * against.behind.difference:.2f}"
    return f"−{100 * against.behind.difference:.2f} ± {100 * against.behind.half:.2f}"
