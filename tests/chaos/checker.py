"""Compares what was acknowledged with what is there: nothing lost, nothing double, nothing hanging.

The checker sees only a history and what was read from the database. It shares no code with Runyard.
"""

from __future__ import annotations

import re
import statistics
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.history import Curves, History, Points
from tests.chaos.observed import Observed, ObservedRun

FINAL = ("succeeded", "failed", "cancelled")
MEASURED = ("system/", "train/lr")
"""Curves whose points depend on the time at which they were taken."""
ACCURACY = "val/acc"
"""The curve by which sweeps prune."""
_PRUNED = re.compile(rf"pruned at epoch (\d+): {ACCURACY} .+ is below the median \(.+\) of (\d+) other runs?")


@dataclass(frozen=True)
class Finding:
    """Something wrong. ``kind``: lost, double, wrong, hanging, failed, unanswered or damaged."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


def check(history: History, observed: Observed) -> list[Finding]:
    """Everything that contradicts the history, after all faults were over for as long as runs may take to end."""
    return list(_check(history, observed))


def _check(history: History, observed: Observed) -> Iterator[Finding]:
    references: dict[str, Curves] = {each["name"]: each["curves"] for each in history.of("reference")}
    stopped = {each["run"] for each in history.of("stopped")}
    fired = sum(each["fired"] for each in history.of("fault"))
    known: set[str] = set()
    for event in history.of("unanswered"):
        yield Finding("unanswered", event["request"])
    for event in history.of("launched"):
        known.add(event["run"])
        yield from _trained(observed, event["run"], references[event["reference"]], event["run"] in stopped)
    for event in history.of("continued"):
        known.add(event["run"])
        yield from _continued(observed, event["run"], event["parent"], references[event["reference"]])
    for event in history.of("unsure"):
        children = [run.id for run in observed.runs.values() if run.parent == event["parent"]]
        known |= set(children)
        if len(children) > 1:
            yield Finding("double", f"{len(children)} runs continue run {event['parent']} after one request")
        for child in children:
            yield from _continued(observed, child, event["parent"], references[event["reference"]])
    sweeps: set[str] = set()
    for event in history.of("swept"):
        sweeps.add(event["sweep"])
        runs = sorted((run for run in observed.runs.values() if run.sweep == event["sweep"]), key=_number)
        known |= {run.id for run in runs}
        yield from _swept(observed, event["sweep"], runs, [references[name] for name in event["references"]])
        for place, (run, reference) in enumerate(zip(runs, event["references"], strict=False)):
            prunes = event["prunes"] and run.status == "cancelled"
            if prunes:
                yield from _pruned(run, place, [references[name] for name in event["references"]])
            yield from _trained(observed, run.id, references[reference], prunes)
    for sweep in observed.sweeps.keys() - sweeps:
        yield Finding("double", f"sweep {sweep} was acknowledged to nobody")
    for event in history.of("logged"):
        known.add(event["run"])
        yield from _logged(observed, event["run"], event["curves"])
    for event in history.of("commanded"):
        known.add(event["run"])
        noted = {each["attempt"]: each["points"] for each in history.of("noted") if each["run"] == event["run"]}
        yield from _commanded(observed, event["run"], event["curves"], noted)
    for run in observed.runs.values():
        if run.id not in known:
            yield Finding("double", f"run {run.id} ({run.status}) was acknowledged to nobody")
        if run.status not in FINAL:
            yield Finding("hanging", f"run {run.id} is still {run.status}")
        if run.fence > run.attempt:
            yield Finding("double", f"run {run.id} was granted {run.fence} times for {run.attempt} attempts")
        if run.attempt > 1 + fired:
            yield Finding("double", f"run {run.id} had {run.attempt} attempts, with {fired} faults in all")
        for name, points in run.curves.items():
            yield from _doubled(run, name, points)
    for sentence in observed.damage:
        yield Finding("damaged", sentence)


def _trained(observed: Observed, run: str, reference: Curves, stopped: bool) -> Iterator[Finding]:
    """A run succeeds with the curves of its reference; one that was stopped may have only their beginnings."""
    found = observed.runs.get(run)
    if found is None:
        yield Finding("lost", f"run {run} was launched, and is not there")
    elif found.status == "failed":
        yield Finding("failed", f"run {run}: {found.reason}")
    elif found.status == "cancelled" and not stopped:
        yield Finding("wrong", f"run {run} was cancelled by nobody ({found.reason})")
    elif found.status in FINAL:
        whole = found.status == "succeeded"
        for name, expected in reference.items():
            if not name.startswith(MEASURED):
                yield from _compared(found, name, expected, whole)
        for name in found.curves.keys() - reference.keys():
            if not name.startswith(MEASURED):
                yield Finding("wrong", f"run {run} has a curve {name}, which its reference has not")


def _continued(observed: Observed, run: str, parent: str, reference: Curves) -> Iterator[Finding]:
    """A run that goes on where another one ended has the curves of one that trained all of it."""
    found = observed.runs.get(run)
    if found is not None and found.parent != parent:
        yield Finding("wrong", f"run {run} continues {found.parent}, not run {parent}")
    # Step 0 is where a run ends that is stopped before its first step.
    if found is not None and found.parent_step is None:
        yield Finding("wrong", f"run {run} began from the start, not where run {parent} ended")
    yield from _trained(observed, run, reference, False)


def _swept(observed: Observed, sweep: str, runs: list[ObservedRun], references: list[Curves]) -> Iterator[Finding]:
    """A sweep has all of its runs, and is finished as soon as these have ended."""
    if len(runs) != len(references):
        kind = "lost" if len(runs) < len(references) else "double"
        yield Finding(kind, f"sweep {sweep} has {len(runs)} of {len(references)} runs")
    status = observed.sweeps.get(sweep, "missing")
    if status != "finished":
        kind = "lost" if status == "missing" else "hanging" if status == "running" else "wrong"
        yield Finding(kind, f"sweep {sweep} is {status}, not finished")


def _pruned(run: ObservedRun, place: int, references: Sequence[Curves]) -> Iterator[Finding]:
    """A run is pruned only if it is worse than the median of all others, at the epoch that its reason names."""
    found = _PRUNED.fullmatch(run.reason)
    if found is None:
        yield Finding("wrong", f"run {run.id} of a sweep was cancelled by nobody ({run.reason})")
        return
    epoch, others = int(found[1]), int(found[2])
    accuracies = [[value for _, value in curves[ACCURACY]] for curves in references]
    own = accuracies.pop(place)
    if others != len(accuracies):
        yield Finding("wrong", f"run {run.id} was pruned after a comparison with {others} of {len(accuracies)} runs")
    elif not 0 < epoch <= len(run.curves.get(ACCURACY, [])):
        yield Finding("wrong", f"run {run.id} was pruned at epoch {epoch}, which it has not reached")
    elif max(own[:epoch]) >= statistics.median(each[epoch - 1] for each in accuracies):
        yield Finding("wrong", f"run {run.id} was pruned at epoch {epoch}, although it is as good as the others")


def _logged(observed: Observed, run: str, curves: Curves) -> Iterator[Finding]:
    """A run of a script has exactly the points that the script logged."""
    found = observed.runs.get(run)
    if found is None:
        yield Finding("lost", f"run {run} was logged, and is not there")
        return
    if found.status in ("failed", "cancelled"):
        yield Finding("failed", f"run {run} of a script: {found.reason}")
    for name, expected in curves.items():
        yield from _compared(found, name, expected, True)


def _commanded(observed: Observed, run: str, curves: Curves, noted: dict[int, int]) -> Iterator[Finding]:
    """Each attempt of a command has the beginnings of its curves, and all that it noted; the last one has all."""
    found = observed.runs.get(run)
    if found is None:
        yield Finding("lost", f"command {run} was launched, and is not there")
        return
    if found.status in ("failed", "cancelled"):
        yield Finding("failed", f"command {run}: {found.reason}")
    names = set()
    for attempt in range(1, found.attempt + 1):
        for name, expected in curves.items():
            curve = f"attempt {attempt}/{name}"
            names.add(curve)
            yield from _compared(found, curve, expected, found.status == "succeeded" and attempt == found.attempt)
            kept = len({step for step, _ in found.curves.get(curve, [])})
            if kept < noted.get(attempt, 0):
                yield Finding("lost", f"{noted[attempt] - kept} points of {curve} of run {run}, which were on its disk")
    for name in sorted(found.curves.keys() - names):
        yield Finding("wrong", f"run {run} has a curve {name}, which none of its attempts logged")
    for attempt in sorted(noted):
        if attempt > found.attempt:
            yield Finding("wrong", f"attempt {attempt} of run {run} was started, but is not counted")


def _compared(run: ObservedRun, name: str, expected: Points, whole: bool) -> Iterator[Finding]:
    """Bit for bit, the points of a curve, of which the last ones may be missing if it is not ``whole``."""
    points = run.curves.get(name, [])
    there = {step for step, _ in points}
    end = max(there, default=None)
    missing = [step for step, _ in expected if step not in there and (whole or (end is not None and step < end))]
    if missing:
        yield Finding("lost", f"{_places(missing)} of {name} of run {run.id}")
    wanted = {step: _bits(value) for step, value in expected}
    if unknown := [step for step, _ in points if step not in wanted]:
        yield Finding("wrong", f"{_places(unknown)} of {name} of run {run.id} is not in its reference")
    if other := [step for step, value in points if step in wanted and wanted[step] != _bits(value)]:
        yield Finding("wrong", f"{_places(other)} of {name} of run {run.id} has another value")


def _doubled(run: ObservedRun, name: str, points: Points) -> Iterator[Finding]:
    """No step occurs twice: neither Runyard nor the scripts of this suite report two points of one step."""
    if doubled := sorted(step for step, times in Counter(step for step, _ in points).items() if times > 1):
        yield Finding("double", f"{_places(doubled)} of {name} of run {run.id}")


def _number(run: ObservedRun) -> int:
    return run.number


def _places(steps: list[int]) -> str:
    return f"step {steps[0]}" if len(steps) == 1 else f"{len(steps)} steps from {min(steps)} to {max(steps)}"


def _bits(value: float) -> bytes:
    # All that are not a number are one: the payload of a NaN says nothing.
    return struct.pack("<d", value if value == value else float("nan"))
