"""Compares what was acknowledged with what is there: nothing lost, nothing double, nothing hanging.

The checker sees only a history and what was read from the database. It shares no code with Runyard.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.history import Curves, History, Points
from tests.chaos.observed import Observed, ObservedRun

FINAL = ("succeeded", "failed", "cancelled")
MEASURED = ("system/", "train/lr")
"""Curves whose points depend on the time at which they were taken."""


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
    for event in history.of("swept"):
        runs = [run for run in observed.runs.values() if run.sweep == event["sweep"]]
        known |= {run.id for run in runs}
        if len(runs) != len(event["references"]):
            kind = "lost" if len(runs) < len(event["references"]) else "double"
            yield Finding(kind, f"sweep {event['sweep']} has {len(runs)} of {len(event['references'])} runs")
        for run, reference in zip(sorted(runs, key=lambda run: run.number), event["references"], strict=False):
            yield from _trained(observed, run.id, references[reference], False)
    for event in history.of("logged"):
        known.add(event["run"])
        yield from _logged(observed, event["run"], event["curves"])
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


def _places(steps: list[int]) -> str:
    return f"step {steps[0]}" if len(steps) == 1 else f"{len(steps)} steps from {min(steps)} to {max(steps)}"


def _bits(value: float) -> bytes:
    # All that are not a number are one: the payload of a NaN says nothing.
    return struct.pack("<d", value if value == value else float("nan"))
