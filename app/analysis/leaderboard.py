"""Leaderboard: test accuracy of every variant on every dataset, over the seeds of its best configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, text

from app.analysis.statistics import Mean, mean_of
from app.contract.datasets import DATASETS


@dataclass(frozen=True)
class LeaderboardEntry:
    """The best configuration of a family and size on a dataset: mean, runs, recipe and epochs.

    ``configurations``: the number of configurations that were tried.
    """

    mean: Mean
    runs: list[str]
    recipe: str
    epochs: int
    configurations: int


# Runs of one configuration may differ in these settings: the seed and where they were trained.
IGNORED = (
    *("seed", "device", "worker", "keep_checkpoints", "keep_predictions", "robustness", "find_batch"),
    *("name", "tags", "notes", "priority", "preset"),
)
_PATHS = ", ".join(f"'$.{name}'" for name in IGNORED)
_QUERY = text(
    "SELECT run.family, run.size, run.dataset, run.id, run.recipe, run.epochs, run.seed, s.last AS acc,"
    f" json_remove(run.config, {_PATHS}) AS variant"
    " FROM metric_series s CROSS JOIN run WHERE s.name = 'test/acc' AND s.last IS NOT NULL"
    " AND run.number = s.run_number AND run.status = 'succeeded' AND run.deleted_at IS NULL ORDER BY run.number"
)


def read_leaderboard(connection: Connection) -> dict[tuple[str, str, str], LeaderboardEntry]:
    """Return the leaderboard by family, size and dataset, from succeeded runs on the dataset's first target only.

    Of the user's own datasets, only runs on the version in use count.

    The best configuration is the one with the highest lower bound; a single run counts only if no configuration has
    two. Only the newest run of each seed counts, because a repeated seed adds no information.
    """
    cells: dict[tuple[str, str, str], dict[str, dict[int, tuple[str, float, str, int]]]] = {}
    comparable: dict[str, tuple[str, str] | None] = {}
    for row in connection.execute(_QUERY):
        if row.dataset not in comparable:
            dataset = DATASETS.get(row.dataset)
            # An accuracy on another target or another version of the images cannot be compared.
            comparable[row.dataset] = (
                (f'"dataset":"{dataset.key}"', f'"targets":["{dataset.targets[0].name}"]') if dataset else None
            )
        needed = comparable[row.dataset]
        if needed is None or not all(part in row.variant for part in needed):
            continue
        variants = cells.setdefault((row.family, row.size, row.dataset), {})
        variants.setdefault(row.variant, {})[row.seed] = (row.id, row.acc, row.recipe, row.epochs)
    return {
        cell: _best(list(runs_by_seed.values()) for runs_by_seed in variants.values())
        for cell, variants in cells.items()
    }


def _best(variants: Iterable[list[tuple[str, float, str, int]]]) -> LeaderboardEntry:
    results = [(mean_of([acc for _, acc, _, _ in runs]), runs) for runs in variants]
    repeated = [result for result in results if result[0].n > 1]
    mean, runs = max(repeated or results, key=lambda result: result[0].mean - (result[0].half or 0))
    return LeaderboardEntry(mean, [run for run, *_ in runs], runs[0][2], runs[0][3], len(results))
