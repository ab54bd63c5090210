"""Runs of a comparison that go on from one another: from which step on their curves are their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.facts import Facts, steps_per_epoch
from app.rendering import colour


@dataclass(frozen=True)
class Split:
    """``step`` is the last that a run shares with another; ``sentence`` says with which."""

    run: str
    step: int
    per_epoch: float | None
    css: str
    label: str
    sentence: str


def splits_of(shown: Sequence[Facts]) -> list[Split]:
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
        if per_epoch and step % per_epoch == 0:
            sentence += f" (epoch {step / per_epoch:g})"
        label = f"#{facts.number} splits at step {step:,}"
        found.append(Split(facts.run.id, step, per_epoch, colour(facts.number), label, sentence))
    return found
