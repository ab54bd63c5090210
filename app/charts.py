"""Which charts there are: of a run, of several runs over one another, of groups of runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app.rendering import COLOURS, colour


@dataclass(frozen=True)
class Series:
    """One curve of a chart. ``id``: its key among the points; ``css``: its colour and dash; ``smooth``: it is noisy."""

    id: str
    label: str
    css: str
    smooth: bool
    href: str = ""


@dataclass(frozen=True)
class Compared:
    """A run or a group among others: its curves by the name under which they are laid over those of the others.

    ``run`` is what its points' keys begin with, ``number`` says its colour; ``mean``: its curves are means already.
    """

    run: str
    title: str
    number: int
    curves: dict[str, str]
    href: str = ""
    mean: bool = False


@dataclass(frozen=True)
class Chart:
    """What one box shows; ``unit`` is percent, power or plain; ``log``: the log-y switch applies to it."""

    key: str
    title: str
    unit: str
    log: bool
    series: list[Series]


_TITLES = {"loss": "loss", "acc": "accuracy", "lr": "learning rate"}
_UNITS = {"acc": "percent", "lr": "power"}


# Shown as a figure: as a curve it would say nothing.
FIGURES_ALONE = frozenset({"system/peak_memory_mb"})


def charts_of_run(names: Iterable[str], number: int) -> list[Chart]:
    """The charts of one run: curves with the same last part share a box; loss, accuracy, learning rate come first."""
    groups: dict[str, list[str]] = {"loss": [], "acc": [], "lr": []}
    for name in names:
        first, last = name.split("/", 1)[0], name.rsplit("/", 1)[-1]
        if first != "test" and name not in FIGURES_ALONE:
            groups.setdefault(last if last in _TITLES else name, []).append(name)
    charts = []
    for key, members in groups.items():
        members.sort(key=lambda name: (name.partition("/")[0] != "train", name))
        charts.append(
            Chart(key, _TITLES.get(key, key), _UNITS.get(key, "plain"), key in ("loss", "lr"), _series(members, number))
        )
    return charts


def _series(names: list[str], number: int) -> list[Series]:
    found = []
    heads: dict[str, int] = {}
    for name in names:
        parts = name.split("/")
        label = " ".join(parts[:-1]) if parts[-1] in _TITLES else parts[-1]
        head = "/".join(parts[1:-1])
        train = parts[0] == "train" and parts[-1] != "lr"
        grey = train and not head
        # The first head has the run's own colour.
        shift = 0 if grey else heads.setdefault(head, len(heads))
        own = f"c{(number - 1 + shift) % COLOURS + 1} d{1 if train else 0}"
        found.append(Series(name, label, "train d0" if grey else own, train))
    return found


def charts_of_comparison(runs: list[Compared]) -> list[Chart]:
    """Charts in which the same curve of several runs, or means of it over groups of runs, lie over one another."""
    names = sorted({name for run in runs for name in run.curves} - FIGURES_ALONE, key=_rank)
    return [
        Chart(
            key=name.replace("/", "-"),
            title=name,
            unit=_UNITS.get(name.rsplit("/", 1)[-1], "plain"),
            log=name.endswith("loss"),
            series=[
                Series(
                    id=f"{run.run}:{run.curves[name]}",
                    label=run.title,
                    css=colour(run.number),
                    smooth=name.startswith("train/") and not run.mean,
                    href=run.href,
                )
                for run in runs
                if name in run.curves
            ],
        )
        for name in names
    ]


def _rank(name: str) -> tuple[int, int, str]:
    order = {"val/acc": 0, "val/loss": 1, "train/loss": 2, "train/acc": 3}
    return order.get(name, 4), 0 if name.endswith("acc") else 1, name
