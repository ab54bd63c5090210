"""What the files of runs take in the artifact store, by what was recorded when they were written.

Histograms and texts are in the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text


@dataclass(frozen=True)
class DiskUse:
    """Bytes. ``unknown``: checkpoints of earlier versions of Runyard, whose sizes were not recorded.

    ``files``: those that scripts logged. ``histograms_and_texts``: compressed, without the database's own overhead.
    """

    checkpoints: int
    predictions: int
    exports: int
    unknown: int
    files: int = 0
    histograms_and_texts: int = 0

    @property
    def total(self) -> int:
        """All bytes that are known."""
        return self.checkpoints + self.predictions + self.exports + self.files + self.histograms_and_texts


# A checkpoint to resume from may be one that is kept for forks too. Of an exported file, only the newest is there.
_QUERY = """
WITH written AS (
  SELECT run, path, bytes FROM kept_checkpoint WHERE {of_run}
  UNION SELECT id, json_extract(checkpoint, '$.path'), CAST(json_extract(checkpoint, '$.bytes') AS BIGINT)
    FROM run WHERE checkpoint <> '' AND {of_id}
  UNION SELECT id, json_extract(best_checkpoint, '$.path'), CAST(json_extract(best_checkpoint, '$.bytes') AS BIGINT)
    FROM run WHERE best_checkpoint <> '' AND {of_id}
), file AS (SELECT run, path, coalesce(max(bytes), 0) AS bytes FROM written GROUP BY run, path)
SELECT (SELECT coalesce(sum(bytes), 0) FROM file) AS checkpoints,
  (SELECT count(*) FROM file WHERE bytes = 0) AS unknown,
  (SELECT coalesce(sum(bytes), 0) FROM prediction_file WHERE {of_run}) AS predictions,
  (SELECT coalesce(sum(bytes), 0) FROM run_file WHERE {of_run}) AS files,
  (SELECT coalesce(sum(length(content)), 0) FROM step_record WHERE {of_run}) AS records
"""
_EXPORTS = """
SELECT run, json_extract(file.value, '$.name') AS name, json_extract(file.value, '$.bytes') AS bytes
FROM model_job, json_each(model_job.result, '$.files') AS file
WHERE kind = 'export' AND status = 'succeeded' AND {of_run} ORDER BY ended_at
"""


def disk_use(connection: Connection, run: str = "") -> DiskUse:
    """What the files of a run take, or those of all runs, the deleted ones until they are removed for good."""
    guards = {"of_run": "run = :run", "of_id": "id = :run"} if run else {"of_run": "1 = 1", "of_id": "1 = 1"}
    values: dict[str, Any] = {"run": run} if run else {}
    row = connection.execute(text(_QUERY.format(**guards)), values).one()
    exported = connection.execute(text(_EXPORTS.format(**guards)), values)
    exports = {(each.run, each.name): int(each.bytes) for each in exported}
    return DiskUse(
        int(row.checkpoints),
        int(row.predictions),
        sum(exports.values()),
        int(row.unknown),
        int(row.files),
        int(row.records),
    )
