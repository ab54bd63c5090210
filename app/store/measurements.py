"""Measurements from a user's successful runs, by model size: throughput, peak memory, epoch time, test accuracy."""

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
    """A measured value, None if unknown, and the number of runs behind it."""

    value: float | None = None
    runs: int = 0


@dataclass(frozen=True)
class Measured:
    """Measurements of the successful runs of one size on one dataset.

    ``samples_per_second``: training images per second. ``peak_memory_mb``: megabytes. ``epoch_seconds``: wall time of a
    run divided by its epochs. ``test_acc``: 0 to 1, reached by the run ``best_run``.
    """

    samples_per_second: Figure = Figure()
    peak_memory_mb: Figure = Figure()
    epoch_seconds: Figure = Figure()
    test_acc: Figure = Figure()
    best_run: str | None = None


_ALIKE = "run.device = :device AND run.batch_size = :batch_size AND json_extract(run.config, '$.options') = '{}'"
# SQLite has no median, so values are returned as lists.
_QUERY = f"""
WITH measured AS (SELECT run.family, run.size, run.id, test.best AS acc, {_ALIKE} AS alike, memory.high AS memory,
  json_extract(run.progress, '$.samples_per_second') AS speed, run.trained_seconds / nullif(run.epochs, 0) AS pace,
  row_number() OVER (PARTITION BY run.family, run.size ORDER BY test.best DESC NULLS LAST, run.number) AS place
FROM run
LEFT JOIN metric_series test ON test.run = run.id AND test.name =
  CASE WHEN json_extract(run.config, '$.targets') = :alone THEN 'test/acc' ELSE :among END
LEFT JOIN metric_series memory ON memory.run = run.id AND memory.name = '{PEAK_MEMORY}'
WHERE run.status = 'succeeded' AND run.deleted_at IS NULL AND run.dataset = :dataset AND run.origin = '')
SELECT family, size, max(acc) AS acc, count(acc) AS accs, max(CASE WHEN place = 1 THEN id END) AS best_run,
  json_group_array(CAST(speed AS TEXT)) FILTER (WHERE alike) AS speeds,
  json_group_array(CAST(memory AS TEXT)) FILTER (WHERE alike) AS memories,
  json_group_array(CAST(pace AS TEXT)) FILTER (WHERE alike) AS paces
FROM measured GROUP BY family, size
"""


def measure(
    connection: Connection, dataset: str, target: str, device: str, batch_size: int
) -> dict[tuple[str, str], Measured]:
    """Measure every family and size with successful runs on ``dataset``; successful means succeeded and not deleted.

    Throughput and epoch time are medians and memory is the largest peak of the runs on ``device`` with batches of
    ``batch_size`` images and no changed options; a run's throughput is the last one that its trainer reported. Accuracy
    is the best test accuracy of ``target`` over all runs: ``test/acc`` of runs with this target alone,
    ``test/<target>/acc`` of runs with several targets.
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
    """Devices with successful runs on ``dataset`` and the number of runs, most runs first."""
    result = connection.execute(
        text(
            "SELECT device, count(*) AS runs FROM run WHERE status = 'succeeded' AND deleted_at IS NULL"
            " AND dataset = :dataset AND origin = '' GROUP BY device ORDER BY runs DESC, device"
        ),
        {"dataset": dataset},
    )
    return {row.device: row.runs for row in result}
