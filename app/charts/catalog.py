"""Which charts there are: of a run, of several runs over one another, of groups of runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from app.contract.spec import RunConfig
from app.contract.system_metrics import GPU_NAMES, GRADIENT_NORM, HOST_NAMES, IMAGES_PER_SECOND
from app.web.formatting import COLORS, color


@dataclass(frozen=True)
class Series:
    """One curve of a chart. ``id``: its key among the points; ``css``: its color and dash; ``smooth``: it is noisy.

    ``against``: the id of the curve of a baseline from which its difference is told.
    """

    id: str
    label: str
    css: str
    smooth: bool
    href: str = ""
    against: str = ""


@dataclass(frozen=True)
class Compared:
    """A run or a group among others: its curves by the name under which they are laid over those of the others.

    ``run`` is what its points' keys begin with, ``number`` says its color.
    """

    run: str
    title: str
    number: int
    curves: dict[str, str]
    href: str = ""


@dataclass(frozen=True)
class Chart:
    """What one box shows; ``unit`` is percent, power or plain; ``log``: the log-y switch applies to it.

    ``group``: under which heading of a run's page it stands.
    """

    key: str
    title: str
    unit: str
    log: bool
    series: list[Series]
    group: str = ""

    @property
    def crowded(self) -> bool:
        """Whether it has so many curves that their legend scrolls, and what is smoothed is shown alone."""
        return len(self.series) > CROWD


_TITLES = {"loss": "loss", "acc": "accuracy", "lr": "learning rate", "grad_norm": "gradient norm"}
_UNITS = {"acc": "percent", "lr": "power"}
_WORDS = {"cpu": "CPU", "gpu": "GPU", "percent": "%", "mb per second": "MB/s", "watts": "W", "celsius": "°C"}
_LOG = ("loss", "lr", "grad_norm")

LEARNING, OPTIMIZATION, THROUGHPUT, SYSTEM = "training and validation", "optimization", "throughput", "system"

CROWD = 12
"""With more curves a chart is crowded."""

# Shown as a figure: as a curve it would say nothing.
FIGURES_ALONE = frozenset({"system/peak_memory_mb"})


def expected_names(config: RunConfig, device: str) -> list[str]:
    """The curves that a run will report: their places are kept free from the start, so that nothing moves later."""
    heads = [""] if len(config.targets) == 1 else [f"{target}/" for target in config.targets]
    names = [f"{stage}/loss" for stage in ("train", "val")]
    names += [f"{stage}/{head}acc" for stage in ("train", "val") for head in heads]
    names += [f"{stage}/{head}loss" for stage in ("train", "val") for head in heads if head]
    names += ["train/lr", GRADIENT_NORM, IMAGES_PER_SECOND, *HOST_NAMES]
    names += GPU_NAMES if device.startswith("cuda") else []
    return names


def charts_of_run(names: Iterable[str], number: int) -> list[Chart]:
    """The charts of one run by groups: loss, accuracy and learning rate always, then those of each head, then the rest.

    The same figure of training and validation share a box; of several heads it has a box for each of them, and one in
    which all of them lie over one another.
    """
    boxes: dict[tuple[str, str], list[str]] = {(LEARNING, "loss"): [], (LEARNING, "acc"): [], (OPTIMIZATION, "lr"): []}
    for name in sorted(set(names) - FIGURES_ALONE, key=_place):
        for box in _boxes_of(name):
            boxes.setdefault(box, []).append(name)
    order = {group: place for place, group in enumerate([LEARNING])}
    for group, _ in boxes:
        order.setdefault(group, len(order) if group not in _LAST else 1000 + _LAST.index(group))
    charts = []
    for (group, key), members in sorted(boxes.items(), key=lambda box: order[box[0][0]]):
        members.sort(key=lambda name: (name.partition("/")[0] != "train", name))
        last = key.rsplit("/", 1)[-1]
        charts.append(
            Chart(
                key,
                _TITLES.get(last) or (_measured(key) if key.startswith("system/") else key.removeprefix("/")),
                _UNITS.get(last, "plain"),
                last in _LOG,
                _series(members, number),
                group,
            )
        )
    return charts


_LAST = (OPTIMIZATION, THROUGHPUT, SYSTEM)


def _measured(name: str) -> str:
    """What the machine says, in words with its unit: "GPU memory, %"."""
    said = name.removeprefix("system/").replace("_", " ")
    for unit in ("percent", "mb per second", "watts", "celsius"):
        if said.endswith(f" {unit}"):
            said = f"{said.removesuffix(unit).strip()}, {_WORDS[unit]}"
    first, _, rest = said.partition(" ")
    return f"{_WORDS.get(first.rstrip(','), first.rstrip(','))}{',' if first.endswith(',') else ''} {rest}".strip()


def _place(name: str) -> tuple[int, str]:
    """Images per second, then GPU, CPU, memory and disk as the worker lists them, then what is not known here."""
    known = [*HOST_NAMES, *GPU_NAMES]
    return (known.index(name) if name in known else -1 if name == IMAGES_PER_SECOND else len(known)), name


def _boxes_of(name: str) -> list[tuple[str, str]]:
    """In which boxes a curve stands, each by its group and key; in none that of the test, which is one point."""
    parts = name.split("/")
    stage, last = parts[0], parts[-1]
    if stage == "test":
        return []
    if name == IMAGES_PER_SECOND:
        return [(THROUGHPUT, name)]
    if stage == "system":
        return [(SYSTEM, name)]
    if stage not in ("train", "val"):
        # A script may log a plain "loss" beside train/loss: its box is another one.
        return [(stage, name) if len(parts) > 1 else ("other", f"/{name}")]
    if last in ("lr", "grad_norm"):
        return [(OPTIMIZATION, last)]
    if len(parts) == 2:
        return [(LEARNING, last if last in _TITLES else name)]
    own = ("/".join(parts[1:-1]), "/".join(parts[1:]))
    return [own, (LEARNING, last)] if last == "acc" and stage == "val" else [own]


def _series(names: list[str], number: int) -> list[Series]:
    found = []
    heads: dict[str, int] = {}
    several = len({name.split("/")[1] for name in names if name.count("/") > 1}) > 1
    for name in names:
        parts = name.split("/")
        label = parts[0] if parts[0] in ("train", "val") else _measured(name) if parts[0] == "system" else parts[-1]
        head = "/".join(parts[1:-1])
        label = f"{label} {head}" if several and head else label
        train = parts[0] == "train" and parts[-1] != "lr"
        # The first head has the run's own color.
        shift = heads.setdefault(head, len(heads)) if several and head else 0
        own = f"c{(number - 1 + shift) % COLORS + 1} d0"
        both = train and any(each.startswith("val/") for each in names)
        found.append(Series(name, label, "train d0" if both else own, train))
    return found


def with_overlays(charts: list[Chart], others: Sequence[Compared], baseline: str = "") -> list[Chart]:
    """The same charts with the curves of other runs, or of means, over those of the run that have the same name."""
    found = []
    for chart in charts:
        series = [
            replace(each, against=f"{other.run}:{other.curves[each.id]}")
            if (other := next((one for one in others if one.run == baseline), None)) and each.id in other.curves
            else each
            for each in chart.series
        ]
        for other in others:
            for each in chart.series:
                if each.id not in other.curves:
                    continue
                label = other.title if len(chart.series) == 1 else f"{other.title}, {each.label}"
                # Where it would have the run's own color it has another dash.
                css = color(other.number)
                css = css.replace("d0", "d2") if css in {one.css for one in chart.series} else css
                series.append(
                    Series(
                        f"{other.run}:{other.curves[each.id]}",
                        label,
                        css,
                        each.smooth,
                        other.href,
                    )
                )
        found.append(replace(chart, series=series))
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
                    css=color(run.number),
                    smooth=name.startswith("train/"),
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
