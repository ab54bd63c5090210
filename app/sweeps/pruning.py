"""Early stopping of bad runs in a sweep: compares validation results with the other runs at the same epoch.

How long a script trains is unknown: its runs are compared after the same number of values that they have logged.

median: stops a run whose best value so far is worse than the median of the others at that epoch. asha: epochs 1, 3, 9,
… (multiplied by ETA) are rungs; a run continues past a rung if it is among the best third of the runs that reached it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.contract.metric_names import is_accuracy
from app.contract.sweep import Direction, SweepSpec
from app.store.curve import Curve
from app.store.sweep import PRUNED

ETA = 3
MOST_VALUES = 10_000
"""A script is judged by as many of its first values: it may log millions, which would be read again each second."""


@dataclass(frozen=True)
class TrainingCurve:
    """A run's metric after each epoch, out of ``epochs``; ``live`` while it trains.

    ``epochs`` is None for a script, of which each value that it logs counts as an epoch.
    """

    run: str
    values: Sequence[float]
    epochs: int | None
    live: bool
    metric: str = ""

    def best(self, epoch: int, direction: Direction) -> float:
        """The best value up to an epoch (counted from 1); non-finite values count as the worst possible."""
        worst = -math.inf if direction == "maximize" else math.inf
        pick = max if direction == "maximize" else min
        return pick((value for value in self.values[:epoch] if math.isfinite(value)), default=worst)

    def at(self, epoch: int, direction: Direction) -> float:
        """The value at an epoch."""
        value = self.values[epoch - 1]
        return value if math.isfinite(value) else (-math.inf if direction == "maximize" else math.inf)


Passed = set[tuple[str, int]]
"""Pairs of a run and a rung at which it was judged."""


def runs_to_prune(
    spec: SweepSpec, direction: Direction, curves: Sequence[TrainingCurve], passed: Passed
) -> dict[str, str]:
    """The runs to stop, with the reason for each.

    ``passed``: the rungs at which each run was judged; updated here, since a run is judged only once per rung.
    """
    reasons = {}
    for curve in curves:
        epoch = len(curve.values)
        if curve.live and spec.prune_after_epochs <= epoch and (curve.epochs is None or epoch < curve.epochs):
            judge = _by_median if spec.pruning == "median" else _by_rungs
            reason = judge(spec, direction, curve, epoch, curves, passed)
            if reason:
                reasons[curve.run] = f"{PRUNED} {reason}"
    return reasons


def _by_median(
    spec: SweepSpec,
    direction: Direction,
    curve: TrainingCurve,
    epoch: int,
    curves: Sequence[TrainingCurve],
    _: Passed,
) -> str:
    others = [other.at(epoch, direction) for other in curves if other.run != curve.run and len(other.values) >= epoch]
    if len(others) < spec.prune_after_runs:
        return ""
    own, median = curve.best(epoch, direction), statistics.median(others)
    if not _worse(own, median, direction):
        return ""
    beyond = "below" if direction == "maximize" else "above"
    metric = curve.metric or spec.metric
    runs = f"{len(others)} other run{'' if len(others) == 1 else 's'}"
    comparison = f"{beyond} the median ({format_value(metric, median)}) of {runs}"
    return f"{_when(curve, epoch)}: {_stands(metric, own, comparison)}"


def _by_rungs(
    spec: SweepSpec,
    direction: Direction,
    curve: TrainingCurve,
    epoch: int,
    curves: Sequence[TrainingCurve],
    passed: Passed,
) -> str:
    for rung in rungs(spec.prune_after_epochs, epoch):
        if (curve.run, rung) in passed:
            continue
        passed.add((curve.run, rung))
        reached = [other.best(rung, direction) for other in curves if len(other.values) >= rung]
        if len(reached) < max(ETA, spec.prune_after_runs):
            continue
        reached.sort(reverse=direction == "maximize")
        last = reached[max(1, len(reached) // ETA) - 1]
        own = curve.best(rung, direction)
        if _worse(own, last, direction):
            metric = curve.metric or spec.metric
            comparison = f"not in the best third of {len(reached)} runs (cutoff: {format_value(metric, last)})"
            return f"{_when(curve, rung)}: {_stands(metric, own, comparison)}"
    return ""


def rungs(first: int, epoch: int) -> list[int]:
    """The epochs up to this one at which ASHA judges: the first, then multiplied by ETA each time."""
    epochs = []
    while first <= epoch:
        epochs.append(first)
        first *= ETA
    return epochs


def logged_values(curve: Curve) -> list[float]:
    """The first values that a script has logged, at most MOST_VALUES.

    Of several at one step, the last one counts: another attempt logs its steps again. Without steps, all count.
    """
    steps, values = curve.steps, curve.values
    if steps[0] != steps[-1]:
        values = values[np.append(steps[1:] != steps[:-1], True)]
    return [float(value) for value in values[:MOST_VALUES]]


def _when(curve: TrainingCurve, epoch: int) -> str:
    if curve.epochs is not None:
        return f"at epoch {epoch}"
    return f"after {epoch:,} value{'' if epoch == 1 else 's'}"


def _worse(own: float, other: float, direction: Direction) -> bool:
    return own < other if direction == "maximize" else own > other


def _stands(metric: str, own: float, comparison: str) -> str:
    if not math.isfinite(own):
        return f"{metric} was never finite"
    return f"{metric} {format_value(metric, own)} is {comparison}"


def format_value(metric: str, value: float) -> str:
    """Format a value for the reason of a pruned run."""
    if not math.isfinite(value):
        return "not finite"
    return f"{100 * value:.1f}%" if is_accuracy(metric) else f"{value:.4g}"


def by_dataset(curves: Mapping[str, TrainingCurve], datasets: Mapping[str, str]) -> list[list[TrainingCurve]]:
    """Group curves by dataset: accuracies on different datasets are not comparable."""
    groups: dict[str, list[TrainingCurve]] = {}
    for run, curve in curves.items():
        groups.setdefault(datasets[run], []).append(curve)
    return list(groups.values())
