"""Which runs of a sweep are hopeless: judged by each epoch's validation against the others at the same epoch.

median: a run whose best value so far is worse than the median of what the others had at that epoch. asha: epochs 1, 3,
9, … (times ETA) are rungs, and a run goes beyond one if it is among the best third of those that have come there.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.contract.sweep import Direction, SweepSpec
from app.store.sweep import PRUNED

ETA = 3


@dataclass(frozen=True)
class Course:
    """How a run has come along: the metric after each epoch, of how many ``epochs``; ``live`` while it trains."""

    run: str
    values: Sequence[float]
    epochs: int
    live: bool
    metric: str = ""

    def best(self, epoch: int, direction: Direction) -> float:
        """Its best value up to an epoch (from 1 on); what is not finite is the worst there is."""
        worst = -math.inf if direction == "maximize" else math.inf
        pick = max if direction == "maximize" else min
        return pick((value for value in self.values[:epoch] if math.isfinite(value)), default=worst)

    def at(self, epoch: int, direction: Direction) -> float:
        """Its value at an epoch."""
        value = self.values[epoch - 1]
        return value if math.isfinite(value) else (-math.inf if direction == "maximize" else math.inf)


Passed = set[tuple[str, int]]
"""Runs and the rungs at which they were judged."""


def hopeless(spec: SweepSpec, direction: Direction, courses: Sequence[Course], passed: Passed) -> dict[str, str]:
    """The runs to stop, each with its reason.

    ``passed`` holds the rungs at which a run was judged before, and is added to: it is judged once at each.
    """
    found = {}
    for course in courses:
        epoch = len(course.values)
        if course.live and spec.prune_after_epochs <= epoch < course.epochs:
            judge = _by_median if spec.pruning == "median" else _by_rungs
            reason = judge(spec, direction, course, epoch, courses, passed)
            if reason:
                found[course.run] = f"{PRUNED} at epoch {reason}"
    return found


def _by_median(
    spec: SweepSpec,
    direction: Direction,
    course: Course,
    epoch: int,
    courses: Sequence[Course],
    _: Passed,
) -> str:
    there = [each.at(epoch, direction) for each in courses if each.run != course.run and len(each.values) >= epoch]
    if len(there) < spec.prune_after_runs:
        return ""
    own, median = course.best(epoch, direction), statistics.median(there)
    if not _worse(own, median, direction):
        return ""
    beyond = "below" if direction == "maximize" else "above"
    metric = course.metric or spec.metric
    return (
        f"{epoch}: {metric} {written(metric, own)} is {beyond} the median {written(metric, median)}"
        f" of {len(there)} runs there"
    )


def _by_rungs(
    spec: SweepSpec,
    direction: Direction,
    course: Course,
    epoch: int,
    courses: Sequence[Course],
    passed: Passed,
) -> str:
    for rung in rungs(spec.prune_after_epochs, epoch):
        if (course.run, rung) in passed:
            continue
        passed.add((course.run, rung))
        there = [each.best(rung, direction) for each in courses if len(each.values) >= rung]
        if len(there) < max(ETA, spec.prune_after_runs):
            continue
        there.sort(reverse=direction == "maximize")
        last = there[max(1, len(there) // ETA) - 1]
        own = course.best(rung, direction)
        if _worse(own, last, direction):
            metric = course.metric or spec.metric
            return (
                f"{rung}: {metric} {written(metric, own)} is not among the best third of {len(there)} runs there,"
                f" which begins at {written(metric, last)}"
            )
    return ""


def rungs(first: int, epoch: int) -> list[int]:
    """The epochs up to this one at which ASHA judges: the first, and each ETA times as late."""
    found = []
    while first <= epoch:
        found.append(first)
        first *= ETA
    return found


def _worse(own: float, other: float, direction: Direction) -> bool:
    return own < other if direction == "maximize" else own > other


def written(metric: str, value: float) -> str:
    """A value as a sentence about pruning says it."""
    if not math.isfinite(value):
        return "(never finite)"
    return f"{100 * value:.1f} %" if metric.rsplit("/", 1)[-1] == "acc" else f"{value:.4g}"


def by_dataset(courses: Mapping[str, Course], datasets: Mapping[str, str]) -> list[list[Course]]:
    """Courses that can be compared with one another: an accuracy says nothing about that on another dataset."""
    found: dict[str, list[Course]] = {}
    for run, course in courses.items():
        found.setdefault(datasets[run], []).append(course)
    return list(found.values())
