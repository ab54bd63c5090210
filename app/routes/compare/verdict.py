"""The verdict of a comparison in one sentence: which run or group is best, and whether that is significant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.analysis.groups import Standing, differing_settings
from app.analysis.statistics import smallest_permutation_p
from app.contract.datasets import DATASETS
from app.web.formatting import upper_first
from app.web.run_summary import RunSummary

# Seeds to add where a variant has only one, and the most that a button offers to launch.
FIRST_SEEDS = 2
MOST_SEEDS = 50
# A caution names up to this many differing settings; of more, one fewer.
MOST_NAMED = 5


@dataclass(frozen=True)
class Verdict:
    """A sentence about the two best runs or groups, and in ``behind`` the evidence for it.

    ``more``: seeds to add to each of ``variants`` (comma-separated run IDs) for a clearer result. ``caution``: in which
    settings the two differ, if in several, so that no single one of them explains the result.
    """

    sentence: str
    behind: str
    more: int = 0
    variants: tuple[str, ...] = ()
    caution: str = ""

    @property
    def text(self) -> str:
        """The sentence with the caution."""
        return f"{self.sentence} {self.caution}".rstrip()


def run_verdict(summaries: list[RunSummary]) -> Verdict | None:
    """Return how far the best run is ahead of the next, if both were tested on the same images."""
    tested = sorted(
        (summary for summary in summaries if summary.test_acc is not None), key=lambda summary: -(summary.test_acc or 0)
    )
    if len(tested) < 2:
        return None
    first, second = tested[0], tested[1]
    if first.run.config.dataset != second.run.config.dataset or first.run.config.targets != second.run.config.targets:
        return None
    high, low = first.test_acc or 0.0, second.test_acc or 0.0
    images = DATASETS[first.run.config.dataset].test if first.run.config.dataset in DATASETS else 0
    chance = 196 * math.sqrt((high * (1 - high) + low * (1 - low)) / images) if images else 0.0
    points = 100 * (high - low)
    titles = (first.name, second.name)
    if points == 0:
        sentence = f"{titles[0]} and {titles[1]} have the same test/acc."
    elif points <= chance:
        sentence = f"{titles[0]} and {titles[1]} do not differ significantly in test/acc (difference: {points:.2f} pp)."
    else:
        sentence = f"{titles[0]} leads {titles[1]} by {points:.2f} pp in test/acc."
    behind = f"One run each. Sampling error on {images:,} test images alone: ±{chance:.2f} pp (95%)."
    if first.run.params and second.run.params and first.run.params != second.run.params:
        behind += f" {titles[0]} has {first.run.params / second.run.params:.2g}× the parameters"
        behind += (
            f" and took {first.seconds / second.seconds:.2g}× as long."
            # A run that continues another has trained only a part of its steps.
            if first.seconds and second.seconds and not first.run.parent_step and not second.run.parent_step
            else "."
        )
    return Verdict(sentence, behind, caution=_caution([first], [second]))


def group_verdict(standings: Sequence[Standing], metric: str) -> Verdict | None:
    """Return whether the best group is significantly better than the next, if all were tested on the same images.

    ``metric``: name of the accuracy that ``standings`` are about.
    """
    known = sorted(
        (standing for standing in standings if standing.mean is not None),
        key=lambda standing: -(standing.mean.mean if standing.mean else 0),
    )
    tasks = {
        (summary.run.config.dataset, *summary.run.config.targets)
        for standing in known
        for summary in standing.group.runs
    }
    if len(known) < 2 or len(tasks) > 1:
        return None
    first, second = known[0], known[1]
    to_best = second.to_best
    if to_best is None:
        return None
    titles, gap = (first.group.title, second.group.title), to_best.gap
    points = f"{100 * gap.difference:.2f}"
    seeds = _seeds(len(first.values), len(second.values))
    caution = _caution(first.group.runs, second.group.runs)
    if gap.half is None:
        sentence = f"{titles[0]} leads {titles[1]} by {points} pp in {metric}."
        behind = f"{upper_first(seeds)}. Run more seeds of both to see whether the difference holds."
        return Verdict(sentence, behind, FIRST_SEEDS, _run_ids(first, second), caution)
    interval = f"{points} ± {100 * gap.half:.2f} pp"
    p = to_best.p if to_best.p is not None else 1.0
    if gap.certain and p < 0.05:
        sentence = f"{titles[0]} is better than {titles[1]} by {interval} in {metric} ({seeds})."
        more = None
    else:
        sentence = (
            f"{titles[0]} and {titles[1]} do not differ significantly in {metric} (difference: {interval}, {seeds})."
        )
        more = to_best.seeds_to_decide and to_best.seeds_to_decide - min(len(first.values), len(second.values))
        sentence += (
            f" About {more} more seed{'s' if more != 1 else ''} per configuration should be enough to decide."
            if more
            else ""
        )
    permuted = f"permutation test {_p(gap.permutation)}"
    smallest = smallest_permutation_p(len(first.values), len(second.values))
    if gap.permutation is not None and gap.permutation <= smallest * (1 + 1e-9) and smallest >= 0.05:
        permuted += " (the smallest possible with this many seeds)"
    chance = [f"Welch's t-test {_p(gap.welch)}", permuted]
    if len(known) > 2:
        chance.insert(1, f"{_p(p)} corrected for {len(known) - 1} comparisons (Holm)")
    behind = f"{'; '.join(chance)}. Intervals: 95% CI."
    if more is None or not 0 < more <= MOST_SEEDS:
        return Verdict(sentence, behind, caution=caution)
    return Verdict(sentence, behind, more, _run_ids(first, second), caution)


def _caution(first: Sequence[RunSummary], second: Sequence[RunSummary]) -> str:
    names = [name.replace("_", " ") for name in differing_settings(first, second)]
    if len(names) < 2:
        return ""
    named = names if len(names) <= MOST_NAMED else [*names[: MOST_NAMED - 1], f"{len(names) - MOST_NAMED + 1} more"]
    single = len(first) == len(second) == 1
    besides = " besides the seed" if single and first[0].run.config.seed != second[0].run.config.seed else ""
    return f"The two differ in {len(names)} settings{besides}: {', '.join(named[:-1])} and {named[-1]}."


def _run_ids(*standings: Standing) -> tuple[str, ...]:
    """Return the run IDs of each group; nothing while runs are still training, or if they are trained elsewhere."""
    if any(standing.group.live or standing.group.runs[0].run.logged for standing in standings):
        return ()
    return tuple(",".join(summary.run.id for summary in standing.group.runs) for standing in standings)


def _seeds(one: int, other: int) -> str:
    if one == other:
        return f"{one} seeds each" if one > 1 else "one seed each"
    return f"{one} and {other} seeds"


def _p(value: float | None) -> str:
    if value is None:
        return "p unknown"
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"
