"""Where compared runs or groups that share a parent diverge: the last step that their curves have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.analysis.groups import Group
from app.web.formatting import color
from app.web.run_summary import RunSummary, steps_per_epoch


@dataclass(frozen=True)
class Split:
    """``step`` is the last that a run or group shares with another; ``sentence`` names the other.

    ``owner``: the run ID or group key whose curve gives the position of ``step`` on a time axis.
    """

    owner: str
    step: int
    css: str
    label: str
    sentence: str


def run_splits(summaries: Sequence[RunSummary]) -> list[Split]:
    """Return a split for each run that continues a listed run or shares its parent with one."""
    by_id = {summary.run.id: summary for summary in summaries}
    forked = [summary for summary in summaries if summary.run.parent and summary.run.parent_step is not None]
    splits = []
    for summary in forked:
        parent = by_id.get(summary.run.parent)
        siblings = [other for other in forked if other is not summary and other.run.parent == summary.run.parent]
        if parent is None and not siblings:
            continue
        step = int(summary.run.parent_step)
        if parent is not None:
            sentence = f"#{summary.number} forks from #{parent.number} at step {step:,}"
        else:
            names = " and ".join(f"#{sibling.number}" for sibling in siblings[:3])
            sentence = f"#{summary.number} continues from the same run as {names}, from step {step:,}"
        per_epoch = steps_per_epoch(summary.run)
        sentence += _epoch_suffix(step, per_epoch)
        label = f"#{summary.number} forks at step {step:,}"
        splits.append(Split(summary.run.id, step, color(summary.number), label, sentence))
    return splits


def group_splits(groups: Sequence[Group]) -> list[Split]:
    """Return a split for each group whose runs all continue runs of another group or share their parents with one."""
    group_of_run = {summary.run.id: group for group in groups for summary in group.runs}
    forked = {
        group.key: {summary.run.parent for summary in group.runs}
        for group in groups
        if all(summary.run.parent and summary.run.parent_step is not None for summary in group.runs)
    }
    splits = []
    for group in groups:
        parents = forked.get(group.key)
        if parents is None:
            continue
        origins = {group_of_run[parent].key: group_of_run[parent] for parent in parents if parent in group_of_run}
        siblings = [other for other in groups if other is not group and forked.get(other.key, set()) & parents]
        steps = sorted({int(summary.run.parent_step) for summary in group.runs})
        per_epoch = steps_per_epoch(group.runs[0].run)
        where = f"at step {steps[0]:,}" if len(steps) == 1 else f"at steps {steps[0]:,} to {steps[-1]:,}"
        if len(origins) == 1 and parents <= set(group_of_run) and group.key not in origins:
            (origin,) = origins.values()
            sentence = f"{group.title} forks from {origin.title} {where}"
        elif not origins and siblings:
            names = " and ".join(sibling.title for sibling in siblings[:3])
            sentence = f"{group.title} continues from the same runs as {names}, {where.replace('at ', 'from ', 1)}"
        else:
            continue
        if len(steps) == 1:
            sentence += _epoch_suffix(steps[0], per_epoch)
        label = f"{group.title} forks at step {steps[0]:,}"
        splits.append(Split(group.key, steps[0], color(group.number), label, sentence))
    return splits


def _epoch_suffix(step: int, per_epoch: float | None) -> str:
    return f" (epoch {step / per_epoch:g})" if per_epoch and step % per_epoch == 0 else ""
