"""Importance of swept fields: the share of the metric's variance that each field alone explains.

A one-way analysis of variance per field, corrected for the number of groups (epsilon squared): 1 if the field alone
decides, 0 if it explains no more than chance. Sampled values with many distinct numbers are first binned into as many
groups as the square root of their count. The page states the method. It needs no model and no extra library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

METHOD = "share of variance explained by each parameter alone (one-way ANOVA, ε²)"
FEWEST_RUNS = 5


def importances(
    points: Sequence[tuple[Mapping[str, Any], float]], fields: Sequence[str], drawn: bool
) -> dict[str, float]:
    """Return field -> importance (0 to 1), largest first; empty with too few ``points`` (field values, metric).

    ``drawn``: the values were sampled, not a grid. There must then be one point per configuration, not one per seed:
    seeds of a configuration share all sampled values, so each field alone would seem to explain their common result.
    """
    points = [(values, metric) for values, metric in points if math.isfinite(metric)]
    if len(points) < FEWEST_RUNS:
        return {}
    result = {}
    for field in fields:
        pairs = [(values[field], metric) for values, metric in points if field in values]
        share = _epsilon_squared(_group_values([value for value, _ in pairs], drawn), [metric for _, metric in pairs])
        if share is not None:
            result[field] = share
    return dict(sorted(result.items(), key=lambda item: -item[1]))


def _group_values(values: Sequence[Any], drawn: bool) -> list[str]:
    """Return the group of each value: the value itself, or its bin if there are many distinct sampled numbers."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    distinct = sorted(set(numbers))
    groups = max(2, round(math.sqrt(len(values))))
    if not drawn or len(numbers) < len(values) or len(distinct) <= groups:
        return [repr(value) for value in values]
    # Bins of similar size by rank, which are the same for a number and its logarithm.
    ranks = {value: i for i, value in enumerate(distinct)}
    return [str(ranks[value] * groups // len(distinct)) for value in values]


def _epsilon_squared(groups: Sequence[str], metrics: Sequence[float]) -> float | None:
    """Return epsilon squared; None if it is undefined: only one group, or no more values than groups."""
    names = set(groups)
    if len(names) < 2 or len(metrics) <= len(names):
        return None
    mean = sum(metrics) / len(metrics)
    total = sum((metric - mean) ** 2 for metric in metrics)
    if total == 0:
        return 0.0
    within = 0.0
    for name in names:
        members = [metric for group, metric in zip(groups, metrics, strict=True) if group == name]
        mean_of_group = sum(members) / len(members)
        within += sum((metric - mean_of_group) ** 2 for metric in members)
    by_chance = (len(names) - 1) * within / (len(metrics) - len(names))
    return min(1.0, max(0.0, (total - within - by_chance) / total))
