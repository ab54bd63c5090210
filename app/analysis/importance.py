"""How much each swept field matters: the share of the metric's variance that the field alone explains.

A one-way analysis of variance for each field, with the correction for the number of groups (epsilon squared): 1 where
the field alone decides, 0 where what it explains is no more than chance would. Many different numbers that were drawn
are put into as many groups as the root of their count first. The page says so. It needs no model, and no library in the
server.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

METHOD = "share of the variance that the field alone explains (one-way analysis of variance, epsilon squared)"
FEWEST_RUNS = 5


def importances(
    points: Sequence[tuple[Mapping[str, Any], float]], fields: Sequence[str], drawn: bool
) -> dict[str, float]:
    """Field -> 0 to 1, the largest first; empty as long as there are too few ``points`` (values, figure).

    ``drawn``: the values are no grid. A point is then to be a whole configuration, since the seeds of one share all of
    its values, and any one of them would seem to explain what they have in common.
    """
    points = [(values, figure) for values, figure in points if math.isfinite(figure)]
    if len(points) < FEWEST_RUNS:
        return {}
    found = {}
    for field in fields:
        having = [(values[field], figure) for values, figure in points if field in values]
        share = _share(_grouped([value for value, _ in having], drawn), [figure for _, figure in having])
        if share is not None:
            found[field] = share
    return dict(sorted(found.items(), key=lambda each: -each[1]))


def _grouped(values: Sequence[Any], drawn: bool) -> list[str]:
    """The group of each value: itself, or of many different numbers that were drawn the stretch in which it lies."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    different = sorted(set(numbers))
    groups = max(2, round(math.sqrt(len(values))))
    if not drawn or len(numbers) < len(values) or len(different) <= groups:
        return [repr(value) for value in values]
    # Groups of about as many values each, by rank: the same for a number and its logarithm.
    ranks = {value: i for i, value in enumerate(different)}
    return [str(ranks[value] * groups // len(different)) for value in values]


def _share(groups: Sequence[str], figures: Sequence[float]) -> float | None:
    """Epsilon squared; None where it cannot be told: one group only, or no more figures than groups."""
    names = set(groups)
    if len(names) < 2 or len(figures) <= len(names):
        return None
    mean = sum(figures) / len(figures)
    total = sum((figure - mean) ** 2 for figure in figures)
    if total == 0:
        return 0.0
    within = 0.0
    for name in names:
        members = [figure for group, figure in zip(groups, figures, strict=True) if group == name]
        own = sum(members) / len(members)
        within += sum((figure - own) ** 2 for figure in members)
    by_chance = (len(names) - 1) * within / (len(figures) - len(names))
    return min(1.0, max(0.0, (total - within - by_chance) / total))
