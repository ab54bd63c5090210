"""Which charts a page shows and what each contains: for a run, with overlays, and for comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from app.contract.datasets import DATASETS
from app.contract.metric_names import ACCURACIES, ROBUST, additional_metrics
from app.contract.spec import RunConfig
from app.contract.system_metrics import GPU_NAMES, GRADIENT_NORM, HOST_NAMES, IMAGES_PER_SECOND
from app.web.formatting import COLORS, color


@dataclass(frozen=True)
class Series:
    """A curve of a chart. ``id``: its key among the points; ``css``: its color and dash; ``smooth``: it is noisy.

    ``against``: the ID of the baseline curve that its difference is computed from.
    """

    id: str
    label: str
    css: str
    smooth: bool
    href: str = ""
    against: str = ""


@dataclass(frozen=True)
class Compared:
    """A run or group in a shared chart: its metric names by the chart name under which they are overlaid.

    ``run``: prefix of its points' keys; ``number``: determines its color.
    """

    run: str
    title: str
    number: int
    curves: dict[str, str]
    href: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart box. ``unit``: percent, power or plain; ``log``: whether the log-y switch applies.

    ``group``: its heading on a run page.
    """

    key: str
    title: str
    unit: str
    log: bool
    series: list[Series]
    group: str = ""

    @property
    def ceiling(self) -> float:
        """The largest value that is possible in percent."""
        return 1.0 if self.unit == "percent" else 100.0 if self.title.endswith(", %") else math.inf

    @property
    def crowded(self) -> bool:
        """Whether it has so many curves that the legend scrolls and only smoothed curves are shown."""
        return len(self.series) > CROWD


_TITLES = {
    "loss": "loss",
    "acc": "accuracy",
    "macro_acc": "macro accuracy",
    "f1": "F1",
    "top5": "top-5 accuracy",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
}
_UNITS = dict.fromkeys(ACCURACIES, "percent") | {"lr": "power"}
_WORDS = {"cpu": "CPU", "gpu": "GPU", "percent": "%", "mb per second": "MB/s", "watts": "W", "celsius": "°C"}
_LOG = ("loss", "lr", "grad_norm")

LEARNING, OPTIMIZATION, THROUGHPUT, SYSTEM = "Training and validation", "Optimization", "Throughput", "System"

CROWD = 12
"""A chart with more curves than this is crowded."""

# Shown only as a number: it has no useful curve.
WITHOUT_CHART = frozenset({"system/peak_memory_mb"})


def expected_names(config: RunConfig, device: str) -> list[str]:
    """Return the metrics that a run will report, so that their charts have a place from the start and nothing moves."""
    heads = [""] if len(config.targets) == 1 else [f"{target}/" for target in config.targets]
    names = [f"{stage}/loss" for stage in ("train", "val")]
    names += [f"{stage}/{head}acc" for stage in ("train", "val") for head in heads]
    names += [f"{stage}/{head}loss" for stage in ("train", "val") for head in heads if head]
    if (dataset := DATASETS.get(config.dataset)) is not None:
        targets = {target.name: target for target in dataset.targets}
        for head, name in zip(heads, config.targets, strict=True):
            more = additional_metrics(dataset, targets[name]) if name in targets else []
            names += [f"val/{head}{metric}" for metric in more]
    names += ["train/lr", GRADIENT_NORM, IMAGES_PER_SECOND, *HOST_NAMES]
    names += GPU_NAMES if device.startswith("cuda") else []
    return names


def charts_of_run(names: Iterable[str], number: int) -> list[Chart]:
    """Return the charts of a run by group: always loss, accuracy and learning rate, then each head, then the rest.

    Training and validation of the same metric share a chart. With several heads, each has its own chart, and the
    validation accuracies of all heads also share one.
    """
    charts_by_key: dict[tuple[str, str], list[str]] = {
        (LEARNING, "loss"): [],
        (LEARNING, "acc"): [],
        (OPTIMIZATION, "lr"): [],
    }
    for name in sorted(set(names) - WITHOUT_CHART, key=_system_order):
        for chart_key in _chart_keys(name):
            charts_by_key.setdefault(chart_key, []).append(name)
    order = {group: place for place, group in enumerate([LEARNING])}
    for group, _ in charts_by_key:
        order.setdefault(group, len(order) if group not in _LAST else 1000 + _LAST.index(group))
    charts = []
    for (group, key), members in sorted(charts_by_key.items(), key=lambda chart_key: order[chart_key[0][0]]):
        members.sort(key=lambda name: (name.partition("/")[0] != "train", name))
        last = key.rsplit("/", 1)[-1]
        charts.append(
            Chart(
                key,
                _TITLES.get(last) or (_system_title(key) if key.startswith("system/") else key.removeprefix("/")),
                _UNITS.get(last, "plain"),
                last in _LOG,
                _series(members, number),
                group,
            )
        )
    return charts


_LAST = (OPTIMIZATION, THROUGHPUT, SYSTEM)


def _system_title(name: str) -> str:
    """Return the title of a system metric with its unit: "GPU memory, %"."""
    if name == IMAGES_PER_SECOND:
        return "images/s"
    title = name.removeprefix("system/").replace("_", " ")
    for unit in ("percent", "mb per second", "watts", "celsius"):
        if title.endswith(f" {unit}"):
            title = f"{title.removesuffix(unit).strip()}, {_WORDS[unit]}"
    first, _, rest = title.partition(" ")
    return f"{_WORDS.get(first.rstrip(','), first.rstrip(','))}{',' if first.endswith(',') else ''} {rest}".strip()


def _system_order(name: str) -> tuple[int, str]:
    """Sort key: images per second, then GPU, CPU, memory and disk as the worker lists them, then unknown metrics."""
    known = [*HOST_NAMES, *GPU_NAMES]
    return (known.index(name) if name in known else -1 if name == IMAGES_PER_SECOND else len(known)), name


def _chart_keys(name: str) -> list[tuple[str, str]]:
    """Return the charts of a metric as (group, key); none for test and robustness, which have one point."""
    parts = name.split("/")
    stage, last = parts[0], parts[-1]
    if stage in ("test", ROBUST):
        return []
    if name == IMAGES_PER_SECOND:
        return [(THROUGHPUT, name)]
    if stage == "system":
        return [(SYSTEM, name)]
    if stage not in ("train", "val"):
        # A script may log a plain "loss" next to train/loss: it gets a separate chart.
        return [(stage, name) if len(parts) > 1 else ("Other metrics", f"/{name}")]
    if last in ("lr", "grad_norm"):
        return [(OPTIMIZATION, last)]
    if len(parts) == 2:
        return [(LEARNING, last if last in _TITLES else name)]
    own_chart = ("/".join(parts[1:-1]), "/".join(parts[1:]))
    return [own_chart, (LEARNING, last)] if last == "acc" and stage == "val" else [own_chart]


def _series(names: list[str], number: int) -> list[Series]:
    result = []
    heads: dict[str, int] = {}
    multiple_heads = len({name.split("/")[1] for name in names if name.count("/") > 1}) > 1
    for name in names:
        parts = name.split("/")
        label = parts[0] if parts[0] in ("train", "val") else _system_title(name) if parts[0] == "system" else parts[-1]
        head = "/".join(parts[1:-1])
        label = f"{label} {head}" if multiple_heads and head else label
        train = parts[0] == "train" and parts[-1] != "lr"
        # The first head has the color of the run.
        color_offset = heads.setdefault(head, len(heads)) if multiple_heads and head else 0
        own_css = f"c{(number - 1 + color_offset) % COLORS + 1} d0"
        both = train and any(other.startswith("val/") for other in names)
        result.append(Series(name, label, "train d0" if both else own_css, train))
    return result


def with_overlays(charts: list[Chart], others: Sequence[Compared], baseline: str = "") -> list[Chart]:
    """Add the curves of other runs, or of means, to the charts of a run, matched by metric name."""
    result = []
    for chart in charts:
        curves = [
            replace(series, against=f"{other.run}:{other.curves[series.id]}")
            if (other := next((overlay for overlay in others if overlay.run == baseline), None))
            and series.id in other.curves
            else series
            for series in chart.series
        ]
        for other in others:
            for series in chart.series:
                if series.id not in other.curves:
                    continue
                label = other.title if len(chart.series) == 1 else f"{other.title}, {series.label}"
                # If its color equals that of the run, use another dash pattern.
                css = color(other.number)
                css = css.replace("d0", "d2") if css in {own.css for own in chart.series} else css
                curves.append(
                    Series(
                        f"{other.run}:{other.curves[series.id]}",
                        label,
                        css,
                        series.smooth,
                        other.href,
                    )
                )
        result.append(replace(chart, series=curves))
    return result


def charts_of_comparison(runs: list[Compared]) -> list[Chart]:
    """Return charts that overlay the same metric of several runs, or its means over groups."""
    names = sorted({name for run in runs for name in run.curves} - WITHOUT_CHART, key=_chart_order)
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


def _chart_order(name: str) -> tuple[int, int, str]:
    order = {"val/acc": 0, "val/loss": 1, "train/loss": 2, "train/acc": 3}
    return order.get(name, 4), 0 if name.endswith("acc") else 1, name
