"""Runs or groups of a comparison that go on from one another: from which step on their curves are their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.analysis.groups import Group
from app.web.formatting import color
from app.web.run_summary import RunSummary, steps_per_epoch


@dataclass(frozen=True)
class Split:
    """``step`` is the last that a run or a group shares with another; ``sentence`` says with which.

    ``owner`` is the run's id or the group's key, whose curve stands at another time there than any other's.
    """

    owner: str
    step: int
    css: str
    label: str
    sentence: str


def splits_of(shown: Sequence[RunSummary]) -> list[Split]:
    """Of each run that was forked, resumed or extended from another of these, or from the same one as another."""
    there = {facts.run.id: facts for facts in shown}
    forked = [facts for facts in shown if facts.run.parent and facts.run.parent_step is not None]
    found = []
    for facts in forked:
        parent = there.get(facts.run.parent)
        siblings = [other for other in forked if other is not facts and other.run.parent == facts.run.parent]
        if parent is None and not siblings:
            continue
        step = int(facts.run.parent_step)
        if parent is not None:
            sentence = f"#{facts.number} splits from #{parent.number} at step {step:,}"
        else:
            names = " and ".join(f"#{each.number}" for each in siblings[:3])
            sentence = f"#{facts.number} goes on from the same run as {names}, from step {step:,}"
        per_epoch = steps_per_epoch(facts.run)
        sentence += _epoch(step, per_epoch)
        label = f"#{facts.number} splits at step {step:,}"
        found.append(Split(facts.run.id, step, color(facts.number), label, sentence))
    return found


def splits_of_groups(groups: Sequence[Group]) -> list[Split]:
    """Of each group whose runs all go on from runs of one other group, or from the same runs as another group's."""
    of_run = {facts.run.id: group for group in groups for facts in group.runs}
    forked = {
        group.key: {facts.run.parent for facts in group.runs}
        for group in groups
        if all(facts.run.parent and facts.run.parent_step is not None for facts in group.runs)
    }
    found = []
    for group in groups:
        parents = forked.get(group.key)
        if parents is None:
            continue
        origins = {of_run[parent].key: of_run[parent] for parent in parents if parent in of_run}
        siblings = [each for each in groups if each is not group and forked.get(each.key, set()) & parents]
        steps = sorted({int(facts.run.parent_step) for facts in group.runs})
        per_epoch = steps_per_epoch(group.runs[0].run)
        where = f"at step {steps[0]:,}" if len(steps) == 1 else f"at steps {steps[0]:,} to {steps[-1]:,}"
        if len(origins) == 1 and parents <= set(of_run) and group.key not in origins:
            (origin,) = origins.values()
            sentence = f"{group.title} splits from {origin.title} {where}"
        elif not origins and siblings:
            names = " and ".join(each.title for each in siblings[:3])
            sentence = f"{group.title} goes on from the same runs as {names}, {where}"
        else:
            continue
        if len(steps) == 1:
            sentence += _epoch(steps[0], per_epoch)
        label = f"{group.title} splits at step {steps[0]:,}"
        found.append(Split(group.key, steps[0], color(group.number), label, sentence))
    return found


def _epoch(step: int, per_epoch: float | None) -> str:
    return f" (epoch {step / per_epoch:g})" if per_epoch and step % per_epoch == 0 else ""
