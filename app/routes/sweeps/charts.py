"""A sweep's charts, drawn by the server: its metric against each field, and the best value so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from app.charts.svg import SIZE, Tick, ticks, y_label
from app.contract.metric_names import is_accuracy
from app.contract.sweep import Direction, SweepSpec
from app.contract.sweep_label import describe_values
from app.store.sweep import SweepRun
from app.web.formatting import metric_value

# More labels than this would overlap on an axis.
MOST_LABELS = 12
# With more runs than this, dots have no links and titles: the chart is sent again each second while runs train.
MOST_LINKED = 300
EDGE = 6.0
"""Free margin on either side in percent of the width, so that no dot lies on an axis."""


@dataclass(frozen=True)
class Dot:
    """A run in a chart: position in percent, label and page; both are blank if there are too many runs."""

    x: str
    y: str
    label: str
    href: str
    best: bool


@dataclass(frozen=True)
class Scatter:
    """The metric against one field; ``share`` is the field's importance, None while unknown."""

    field: str
    dots: list[Dot]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    log: bool
    share: float | None


@dataclass(frozen=True)
class BestSoFar:
    """The best value after each ended run: a line in coordinates of 0..1000, and a dot for each run."""

    points: str
    dots: list[Dot]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    runs: int


@dataclass(frozen=True)
class _Height:
    """The metric's axis, shared by all charts of a sweep."""

    low: float
    high: float
    unit: str

    def at(self, value: float) -> float:
        """Return the distance from the top in percent; outliers are clamped to the edge."""
        return 100 * (1 - (min(self.high, max(self.low, value)) - self.low) / (self.high - self.low))

    @property
    def ticks(self) -> list[Tick]:
        return [Tick(f"{self.at(v):.2f}%", y_label(v, self.unit)) for v in ticks(self.low, self.high, 5)]


def _height(metric: str, values: Sequence[float]) -> _Height:
    unit = "percent" if is_accuracy(metric) else "plain"
    low, high = min(values), max(values)
    if unit == "plain" and len(values) > 4:
        # A single outlier would squeeze all other runs into a line.
        ordered = sorted(values)
        middle = ordered[len(ordered) // 4], ordered[3 * len(ordered) // 4]
        high = min(high, middle[1] + 3 * (middle[1] - middle[0] or abs(middle[1]) or 1.0))
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    top = high + room
    return _Height(low - room, min(top, 1.0) if unit == "percent" and high <= 1 < top and high < 1 else top, unit)


def scatters(
    fields: Sequence[str], spec: SweepSpec, runs: Sequence[SweepRun], best: SweepRun | None, shares: dict[str, float]
) -> list[Scatter]:
    """Draw a chart for each field that has more than one value among the runs with a metric value."""
    measured = [run for run in runs if run.value is not None and math.isfinite(run.value)]
    if not measured:
        return []
    height = _height(spec.metric, [run.value for run in measured if run.value is not None])
    charts = []
    for name in fields:
        with_field = [run for run in measured if name in run.values]
        if len({repr(run.values[name]) for run in with_field}) > 1:
            charts.append(_scatter(name, spec, with_field, best, height, shares.get(name)))
    return charts


def _scatter(
    name: str, spec: SweepSpec, runs: list[SweepRun], best: SweepRun | None, height: _Height, share: float | None
) -> Scatter:
    values = [run.values[name] for run in runs]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        log = _is_log(name, spec, values)
        places, x_ticks = _numbers([float(value) for value in values], log)
    else:
        log = False
        places, x_ticks = _labels(values)
    linked = len(runs) <= MOST_LINKED
    dots = [_dot(run, place, height, spec.metric, best, linked) for run, place in zip(runs, places, strict=True)]
    return Scatter(name, sorted(dots, key=lambda dot: dot.best), x_ticks, height.ticks, log, share)


def _is_log(name: str, spec: SweepSpec, values: Sequence[float]) -> bool:
    """Tell whether the field was sampled logarithmically, or spans a factor of twenty as learning rates do."""
    chosen = spec.space.get(name)
    if chosen is not None and hasattr(chosen, "log"):
        return bool(chosen.log)
    return min(values) > 0 and max(values) >= 20 * min(values)


def _numbers(values: list[float], log: bool) -> tuple[list[float], list[Tick]]:
    place = math.log10 if log else float
    low, high = place(min(values)), place(max(values))

    def across(value: float) -> float:
        return EDGE + (100 - 2 * EDGE) * (place(value) - low) / (high - low)

    different = sorted(set(values))
    if len(different) <= 5:
        at = different
    elif log:
        at = [10.0**power for power in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]
        at = at if len(at) > 1 else [different[0], different[-1]]
    else:
        at = ticks(min(values), max(values), 4)
    return [across(value) for value in values], [Tick(f"{across(value):.2f}%", _short(value)) for value in at]


def _short(value: float) -> str:
    return y_label(value, "plain")


def _labels(values: Sequence[Any]) -> tuple[list[float], list[Tick]]:
    names = list(dict.fromkeys(_label(value) for value in values))
    width = 100 / len(names)
    middles = {name: width * (i + 0.5) for i, name in enumerate(names)}
    ticked = names if len(names) <= MOST_LABELS else []
    return [middles[_label(value)] for value in values], [Tick(f"{middles[name]:.2f}%", name) for name in ticked]


def _label(value: Any) -> str:
    return describe_values({"family": value})


def _dot(run: SweepRun, x: float, height: _Height, metric: str, best: SweepRun | None, linked: bool) -> Dot:
    value = run.value if run.value is not None else math.nan
    is_best = best is not None and run.id == best.id
    label, href = "", ""
    if linked or is_best:
        label, href = f"#{run.number}: {metric_value(metric, value)}, {describe_values(run.values)}", f"/runs/{run.id}"
    return Dot(f"{x:.2f}%", f"{height.at(value):.2f}%", label, href, is_best)


def best_so_far(
    spec: SweepSpec, direction: Direction, runs: Sequence[SweepRun], best: SweepRun | None
) -> BestSoFar | None:
    """Draw the best value after each ended run, in the order of their ends; None for fewer than two runs."""
    ended = [run for run in runs if run.ended and run.ended_at is not None and run.value is not None]
    ended.sort(key=lambda run: (run.ended_at or 0.0, run.number))
    if len(ended) < 2:
        return None
    values = [run.value for run in ended if run.value is not None]
    height = _height(spec.metric, values)
    pick = max if direction == "maximize" else min
    reached, line, dots = values[0], [], []
    for i, (run, value) in enumerate(zip(ended, values, strict=True)):
        reached = pick(reached, value)
        across = i / (len(ended) - 1)
        line.append((SIZE * across, SIZE / 100 * height.at(reached)))
        dots.append(_dot(run, 100 * across, height, spec.metric, best, len(ended) <= MOST_LINKED))
    steps = [line[0]]
    for (_, before), (x, y) in pairwise(line):
        steps += [(x, before), (x, y)]
    at = [n for n in ticks(1.0, float(len(ended)), 5) if n == round(n) and n >= 1]
    x_ticks = [Tick(f"{100 * (n - 1) / (len(ended) - 1):.2f}%", f"{n:g}") for n in at]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in steps)
    return BestSoFar(points, sorted(dots, key=lambda dot: dot.best), x_ticks, height.ticks, len(ended))
