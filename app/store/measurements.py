"""What a user's own finished runs say about each size: speed, peak memory, time for an epoch, best test accuracy."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

PEAK_MEMORY = "system/peak_memory_mb"


@dataclass(frozen=True)
class Figure:
    """A measured value and how many runs it comes from; None from none."""

    value: float | None = None
    runs: int = 0


@dataclass(frozen=True)
class Measured:
    """The finished runs of one size on one dataset in figures.

    ``samples_per_second``: training images a second. ``peak_memory_mb``: megabytes. ``epoch_seconds``: from a run's
    start to its end, divided by its epochs. ``test_acc``: 0 to 1, reached by the run ``best_run``.
    """

    samples_per_second: Figure = Figure()
    peak_memory_mb: Figure = Figure()
    epoch_seconds: Figure = Figure()
    test_acc: Figure = Figure()
    best_run: str | None = None


_ALIKE = "run.device = :device AND run.batch_size = :batch_size AND json_extract(run.config, '$.options') = '{}'"
# SQLite has no median: the values of a size come as a list. A bare column beside a lone max() is of that row.
_QUERY = f"""
SELECT run.family, run.size, max(test.best) AS acc, count(test.best) AS accs, run.id AS best_run,
  json_group_array(json_extract(run.progress, '$.samples_per_second')) FILTER (WHERE {_ALIKE}) AS speeds,
  json_group_array(memory.high) FILTER (WHERE {_ALIKE}) AS memories,
  json_group_array(run.trained_seconds / run.epochs) FILTER (WHERE {_ALIKE}) AS paces
FROM run
LEFT JOIN metric_series test ON test.run = run.id AND test.name =
  CASE WHEN json_extract(run.config, '$.targets') = :alone THEN 'test/acc' ELSE :among END
LEFT JOIN metric_series memory ON memory.run = run.id AND memory.name = '{PEAK_MEMORY}'
WHERE run.status = 'succeeded' AND run.deleted_at IS NULL AND run.dataset = :dataset AND run.origin = ''
GROUP BY run.family, run.size
"""


def measure(
    connection: Connection, dataset: str, target: str, device: str, batch_size: int
) -> dict[tuple[str, str], Measured]:
    """Every size, by family and size, that has finished runs on ``dataset``; finished is succeeded and not deleted.

    Speed and time for an epoch are medians, and memory is the largest peak, over the runs on ``device`` with batches of
    ``batch_size`` images and no option of the family changed; a run's own speed is the last that its trainer reported.
    Accuracy is the best over all runs, wherever and however they trained, of the test accuracy of ``target``: of runs
    that have this target alone ``test/acc``, of runs that have others beside it ``test/<target>/acc``.
    """
    values = {
        "dataset": dataset,
        "device": device,
        "batch_size": batch_size,
        "alone": json.dumps([target]),
        "among": f"test/{target}/acc",
    }
    return {
        (row.family, row.size): Measured(
            samples_per_second=_figure(statistics.median, row.speeds),
            peak_memory_mb=_figure(max, row.memories),
            epoch_seconds=_figure(statistics.median, row.paces),
            test_acc=Figure(row.acc, row.accs),
            best_run=row.best_run if row.accs else None,
        )
        for row in connection.execute(text(_QUERY), values)
    }


def _figure(summarized: Callable[[list[float]], Any], listed: str) -> Figure:
    values = [float(value) for value in json.loads(listed) if value is not None]
    return Figure(float(summarized(values)), len(values)) if values else Figure()


def measured_devices(connection: Connection, dataset: str) -> dict[str, int]:
    """The devices that runs on ``dataset`` have finished on, with how many; the one with most runs first."""
    found = connection.execute(
        text(
            "SELECT device, count(*) AS runs FROM run WHERE status = 'succeeded' AND deleted_at IS NULL"
            " AND dataset = :dataset AND origin = '' GROUP BY device ORDER BY runs DESC, device"
        ),
        {"dataset": dataset},
    )
    return {row.device: row.runs for row in found}
