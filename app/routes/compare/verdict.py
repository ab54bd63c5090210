"""What a comparison says in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.analysis.groups import Standing
from app.analysis.statistics import least_permutation_p
from app.contract.datasets import DATASETS
from app.web.run_summary import RunSummary

# How many more of what has one seed; and of how many a button is offered.
FIRST_SEEDS = 2
MOST_SEEDS = 50


@dataclass(frozen=True)
class Verdict:
    """A sentence about the two best runs, and what stands behind it.

    ``more``: with so many more seeds of each of ``variants`` (their runs by comma) it would say more.
    """

    sentence: str
    behind: str
    more: int = 0
    variants: tuple[str, ...] = ()


def verdict(shown: list[RunSummary]) -> Verdict | None:
    """How far the best run is ahead of the next one, if both were tested on the same images."""
    tested = sorted((each for each in shown if each.test_acc is not None), key=lambda each: -(each.test_acc or 0))
    if len(tested) < 2:
        return None
    first, second = tested[0], tested[1]
    if first.run.config.dataset != second.run.config.dataset or first.run.config.targets != second.run.config.targets:
        return None
    high, low = first.test_acc or 0.0, second.test_acc or 0.0
    images = DATASETS[first.run.config.dataset].test if first.run.config.dataset in DATASETS else 0
    chance = 196 * math.sqrt((high * (1 - high) + low * (1 - low)) / images) if images else 0.0
    points = 100 * (high - low)
    names = (first.name, second.name)
    if points == 0:
        sentence = f"{names[0]} and {names[1]} are equally good on the test images."
    elif points <= chance:
        sentence = f"{names[0]} and {names[1]} cannot be told apart by test/acc: {points:.2f} points between them."
    else:
        sentence = f"{names[0]} is ahead of {names[1]} by {points:.2f} points of test/acc."
    behind = f"One run each; {images:,} test images alone leave ± {chance:.2f} points (95 %)."
    if first.run.params and second.run.params and first.run.params != second.run.params:
        behind += f" It has {first.run.params / second.run.params:.2g} times the parameters"
        behind += (
            f" and took {first.seconds / second.seconds:.2g} times as long."
            # One that goes on from another has made but a part of its steps.
            if first.seconds and second.seconds and not first.run.parent_step and not second.run.parent_step
            else "."
        )
    return Verdict(sentence, behind)


def verdict_of_groups(found: Sequence[Standing], figure: str) -> Verdict | None:
    """Whether the best group is really better than the next one, if all were tried on the same images.

    ``figure`` names a share of right answers, whose means ``found`` holds.
    """
    known = sorted(
        (each for each in found if each.mean is not None), key=lambda each: -(each.mean.mean if each.mean else 0)
    )
    tasks = {(f.run.config.dataset, *f.run.config.targets) for each in known for f in each.group.runs}
    if len(known) < 2 or len(tasks) > 1:
        return None
    first, second = known[0], known[1]
    against = second.against
    if against is None:
        return None
    names, apart = (first.group.title, second.group.title), against.behind
    points = f"{100 * apart.difference:.2f}"
    seeds = _seeds(len(first.values), len(second.values))
    if apart.half is None:
        sentence = f"{names[0]} is ahead of {names[1]} by {points} points of {figure}."
        behind = f"{seeds}: only several seeds of both say whether another seed would agree."
        return Verdict(sentence, behind, FIRST_SEEDS, _members(first, second))
    interval = f"{points} ± {100 * apart.half:.2f} points of {figure}"
    p = against.p if against.p is not None else 1.0
    if apart.certain and p < 0.05:
        sentence = f"{names[0]} is better than {names[1]} by {interval}, {seeds}."
        more = None
    else:
        sentence = f"{names[0]} and {names[1]} cannot be told apart: {interval} between them, {seeds}"
        more = against.more_seeds and against.more_seeds - min(len(first.values), len(second.values))
        sentence += f"; about {more} more seed{'s' if more != 1 else ''} each would decide." if more else "."
    permuted = f"permutation test {_p(apart.permutation)}"
    least = least_permutation_p(len(first.values), len(second.values))
    if apart.permutation is not None and apart.permutation <= least * (1 + 1e-9) and least >= 0.05:
        permuted += ", the least that so few seeds can give"
    chance = [f"Welch's t-test {_p(apart.welch)}", permuted]
    if len(known) > 2:
        chance.insert(1, f"{_p(p)} corrected for {len(known) - 1} comparisons (Holm)")
    behind = f"{'; '.join(chance)}. Intervals are of 95 %."
    if more is None or not 0 < more <= MOST_SEEDS:
        return Verdict(sentence, behind)
    return Verdict(sentence, behind, more, _members(first, second))


def _members(*found: Standing) -> tuple[str, ...]:
    """Their runs; none while some still train, which may decide it by themselves, nor where they are
    trained elsewhere."""
    if any(standing.group.live or standing.group.runs[0].run.logged for standing in found):
        return ()
    return tuple(",".join(facts.run.id for facts in standing.group.runs) for standing in found)


def _seeds(one: int, other: int) -> str:
    if one == other:
        return f"{one} seeds each" if one > 1 else "one seed each"
    return f"{one} and {other} seeds"


def _p(value: float | None) -> str:
    if value is None:
        return "p unknown"
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
