"""What every variant has reached on every dataset: test accuracy over the seeds of its best configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, text

from app.analysis.statistics import Mean, mean_of
from app.contract.datasets import DATASETS


@dataclass(frozen=True)
class Leader:
    """The runs of a family and size on a dataset: of its best configuration the mean over its runs, and how many
    others there are. ``recipe`` and ``epochs`` are that configuration's."""

    mean: Mean
    runs: list[str]
    recipe: str
    epochs: int
    configurations: int


# One configuration is what is equal but for its seed and where it trained.
_APART = ("seed", "device", "worker", "keep_checkpoints", "find_batch", "name", "tags", "notes", "priority", "preset")
_PATHS = ", ".join(f"'$.{name}'" for name in _APART)
_QUERY = text(
    "SELECT run.family, run.size, run.dataset, run.id, run.recipe, run.epochs, run.seed, s.last AS acc,"
    f" json_remove(run.config, {_PATHS}) AS variant"
    " FROM metric_series s CROSS JOIN run WHERE s.name = 'test/acc' AND s.last IS NOT NULL"
    " AND run.number = s.run_number AND run.status = 'succeeded' AND run.deleted_at IS NULL ORDER BY run.number"
)
# The label that a dataset is known for: an accuracy of another one says something else.
_TARGETS = {name: f'"targets":["{facts.targets[0].name}"]' for name, facts in DATASETS.items()}


def read_leaders(connection: Connection) -> dict[tuple[str, str, str], Leader]:
    """By family, size and dataset; of succeeded runs outside the trash that learned the dataset's first target alone.

    The best configuration is the one whose interval ends highest at its lower end; one run alone only counts where no
    configuration has two. Of each seed the newest run counts: the same training twice says nothing more than once.
    """
    cells: dict[tuple[str, str, str], dict[str, dict[int, tuple[str, float, str, int]]]] = {}
    for row in connection.execute(_QUERY):
        target = _TARGETS.get(row.dataset)
        if target is None or target not in row.variant:
            continue
        variants = cells.setdefault((row.family, row.size, row.dataset), {})
        variants.setdefault(row.variant, {})[row.seed] = (row.id, row.acc, row.recipe, row.epochs)
    return {place: _best(list(each.values()) for each in variants.values()) for place, variants in cells.items()}


def _best(variants: Iterable[list[tuple[str, float, str, int]]]) -> Leader:
    found = [(mean_of([acc for _, acc, _, _ in runs]), runs) for runs in variants]
    several = [each for each in found if each[0].n > 1]
    mean, runs = max(several or found, key=lambda each: each[0].mean - (each[0].half or 0))
    return Leader(mean, [run for run, *_ in runs], runs[0][2], runs[0][3], len(found))
