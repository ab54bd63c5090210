"""What can be removed of runs: their checkpoints, predictions and logs, and all of a run that was deleted long ago.

Nothing is removed of a run that has not ended, that a name points to or could be moved back to, that another run
continues from, whose job has not ended, or that could be put back into the queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, bindparam, text

from app.contract.retention import Kind, RunKind
from app.store.model_job import UNFINISHED
from app.store.queue import RESTORED_SECONDS
from app.store.removal import Doomed, add_removals, is_doomed
from app.store.run import TERMINAL
from app.store.trash import NOT_NAMED, purge_runs

RECENT_SECONDS: Final = 3600.0
"""Nothing is removed of a run that has ended more recently: jobs on it may be about to begin."""
CHUNK: Final = 1000
"""How many runs a query asks for at once."""

# An alias can be moved back to the run that it pointed to before.
_UNPROTECTED = f"""
run.deleted_at IS NULL AND run.status IN {TERMINAL} AND run.ended_at < :recent AND {NOT_NAMED}
AND NOT (run.status = 'cancelled' AND run.attempt = 0 AND run.ended_at > :restorable)
AND NOT EXISTS (SELECT 1 FROM run AS child WHERE child.parent = run.id AND child.parent_step IS NOT NULL)
AND NOT EXISTS (SELECT 1 FROM model_job WHERE model_job.run = run.id AND model_job.status IN {UNFINISHED})
AND NOT EXISTS (
  SELECT 1 FROM alias_move JOIN alias ON alias.name = alias_move.alias
  WHERE alias_move.before_number = run.number
  AND alias_move.id = (SELECT max(id) FROM alias_move AS newer WHERE newer.alias = alias.name)
)
"""
_TITLE = "run.id, run.number, run.name, run.family, run.size, run.dataset, run.ended_at, run.deleted_at"


@dataclass(frozen=True)
class Removable:
    """What can be removed of a run. ``since``: when its age began, in seconds since 1970; ``files``: bytes by path.

    ``bytes`` are 0 for checkpoints of earlier versions of Runyard, whose sizes were not recorded. ``other_bytes``: of
    what is in the database, or in the folder of a deleted run besides ``files``.
    """

    kind: Kind
    run: str
    number: int | None
    title: str
    since: float
    files: tuple[tuple[str, int], ...] = ()
    other_bytes: int = 0

    @property
    def bytes(self) -> int:
        """All that it takes."""
        return self.other_bytes + sum(size for _, size in self.files)


def find_removable(
    connection: Connection, kind: RunKind, before: float, now: float, runs: Sequence[str] | None = None
) -> list[Removable]:
    """What of this kind is older than ``before``, the oldest first; of all runs, or of these."""
    found = _FIND[kind](connection, _Range(before, now, runs))
    return sorted(found, key=lambda each: (each.since, each.number or 0))


def find_deleted(connection: Connection, before: float, runs: Sequence[str] | None = None) -> list[Removable]:
    """Runs that were deleted before ``before`` and that no name points to, the oldest first."""
    where = f"run.deleted_at < :before AND {NOT_NAMED}"
    found = _select(connection, f"SELECT {_TITLE} FROM run WHERE {where}{{}}", _Range(before, before, runs))
    sizes = _sizes_of_folders(connection, [row.id for row in found])
    deleted = [
        Removable("trash", row.id, row.number, _title(row), row.deleted_at, ((row.id, sizes.get(row.id, 0)),))
        for row in found
    ]
    return sorted(deleted, key=lambda each: (each.since, each.number or 0))


def remove(connection: Connection, item: Removable, before: float, commit: int, now: float) -> Removable | None:
    """Take from a run what of ``item`` can still be removed; None if nothing can.

    Its files are deleted later, after the transaction.
    """
    if item.kind == "trash":
        fresh = find_deleted(connection, before, [item.run])
    elif item.kind == "spools":
        fresh = [] if is_live(connection, item.run) or is_doomed(connection, item.files[0][0]) else [item]
    else:
        fresh = find_removable(connection, item.kind, before, now, [item.run])
    if not fresh:
        return None
    known = dict(fresh[0].files)
    files = tuple((path, size or known[path]) for path, size in item.files if path in known)
    if item.files and not files:
        return None
    add_removals(connection, (Doomed(path, item.kind, item.run, size) for path, size in files), now)
    _forget(connection, item.kind, item.run, [path for path, _ in files], before, commit, now)
    return Removable(item.kind, item.run, item.number, item.title, item.since, files, fresh[0].other_bytes)


def is_live(connection: Connection, run: str) -> bool:
    """Whether there is such a run, and it has not ended."""
    status = connection.execute(text("SELECT status FROM run WHERE id = :run"), {"run": run}).scalar()
    return status is not None and status not in TERMINAL


def is_about_to_change(connection: Connection, run: str) -> bool:
    """Whether a job on this run has not ended, which may read or write its files."""
    statement = text(f"SELECT 1 FROM model_job WHERE run = :run AND status IN {UNFINISHED} LIMIT 1")
    return connection.execute(statement, {"run": run}).scalar() is not None


def is_written_again(connection: Connection, path: str) -> bool:
    """Whether a run has kept predictions under this path since they were removed."""
    return (
        connection.execute(text("SELECT 1 FROM prediction_file WHERE path = :path"), {"path": path}).scalar()
        is not None
    )


def titles(connection: Connection, runs: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Number and title of those of these runs that exist."""
    statement = text(f"SELECT {_TITLE} FROM run WHERE id IN :runs").bindparams(bindparam("runs", expanding=True))
    wanted, found = [*runs], {}
    for first in range(0, len(wanted), CHUNK):
        for row in connection.execute(statement, {"runs": wanted[first : first + CHUNK]}):
            found[str(row.id)] = int(row.number), _title(row)
    return found


def _forget(
    connection: Connection, kind: Kind, run: str, paths: list[str], before: float, commit: int, now: float
) -> None:
    """Remove from the database what says that a run has these files."""
    values: dict[str, Any] = {"run": run, "paths": paths}
    match kind:
        case "trash":
            purge_runs(connection, before, run)
        case "predictions":
            _execute(connection, "DELETE FROM prediction_file WHERE run = :run AND path IN :paths", values)
        case "logs":
            connection.execute(text("DELETE FROM run_log WHERE run = :run"), values)
        case "checkpoints" | "best_checkpoints":
            _execute(connection, "DELETE FROM kept_checkpoint WHERE run = :run AND path IN :paths", values)
            for column in ("checkpoint", "best_checkpoint"):
                where = f"id = :run AND {column} <> '' AND json_extract({column}, '$.path') IN :paths"
                _execute(connection, f"UPDATE run SET {column} = '' WHERE {where}", values)
    if kind in _FIND:
        removed = connection.execute(text("SELECT removed FROM run WHERE id = :run"), values).scalar_one()
        connection.execute(
            text("UPDATE run SET removed = :removed, status_commit = :commit WHERE id = :run"),
            {"run": run, "removed": to_json(from_json(removed) | {kind: now}).decode(), "commit": commit},
        )


def _execute(connection: Connection, statement: str, values: dict[str, Any]) -> None:
    connection.execute(text(statement).bindparams(bindparam("paths", expanding=True)), values)


# Kinds ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Range:
    before: float
    now: float
    runs: Sequence[str] | None


def _select(connection: Connection, query: str, among: _Range) -> list[Any]:
    """Rows of a query with a place, {}, for the condition that they are of the runs asked for."""
    values: dict[str, Any] = {
        "before": among.before,
        "recent": among.now - RECENT_SECONDS,
        "restorable": among.now - RESTORED_SECONDS,
    }
    if among.runs is None:
        return list(connection.execute(text(query.format("")), values))
    statement = text(query.format(" AND run.id IN :runs")).bindparams(bindparam("runs", expanding=True))
    return list(connection.execute(statement, values | {"runs": list(among.runs)}))


def _find_checkpoints(connection: Connection, among: _Range, best: bool) -> Iterable[Removable]:
    where = f"run.ended_at < :before AND {_UNPROTECTED}{{}}"
    saved: dict[str, dict[str, int]] = {}
    query = (
        "SELECT kept.run, kept.path, kept.bytes FROM kept_checkpoint AS kept JOIN run ON run.id = kept.run"
        f" WHERE {where}"
    )
    for row in _select(connection, query, among):
        saved.setdefault(row.run, {})[row.path] = row.bytes
    query = (
        f"SELECT {_TITLE}, run.checkpoint, run.best_checkpoint, run.removed FROM run WHERE {where}"
        " AND (run.checkpoint <> '' OR run.best_checkpoint <> ''"
        " OR EXISTS (SELECT 1 FROM kept_checkpoint WHERE kept_checkpoint.run = run.id))"
    )
    for row in _select(connection, query, among):
        last, chosen = _file(row.checkpoint), _file(row.best_checkpoint)
        # A run that never had a best checkpoint has no other weights than its last ones.
        spared = chosen or ({} if "best_checkpoints" in from_json(row.removed) else last)
        files = saved.get(row.id, {}) | last
        files = spared if best else {path: size for path, size in files.items() if path not in spared}
        # A fork's best checkpoint may be its parent's, and what a run started from says where it began.
        own = {
            path: size
            for path, size in files.items()
            if path.startswith(f"{row.id}/") and not path.startswith(f"{row.id}/0/")
        }
        if own:
            kind: Kind = "best_checkpoints" if best else "checkpoints"
            yield Removable(kind, row.id, row.number, _title(row), row.ended_at, tuple(sorted(own.items())))


def _file(checkpoint: str) -> dict[str, int]:
    if not checkpoint:
        return {}
    known = from_json(checkpoint)
    return {known["path"]: int(known.get("bytes") or 0)}


def _find_predictions(connection: Connection, among: _Range) -> Iterable[Removable]:
    query = (
        f"SELECT {_TITLE}, file.path, file.bytes, file.created_at FROM prediction_file AS file"
        f" JOIN run ON run.id = file.run WHERE run.ended_at < :before AND {_UNPROTECTED}{{}}"
    )
    by_run: dict[str, list[Any]] = {}
    for row in _select(connection, query, among):
        by_run.setdefault(row.id, []).append(row)
    for run, files in by_run.items():
        first = files[0]
        since = max(first.ended_at, *(file.created_at for file in files))
        if since < among.before:
            paths = tuple(sorted((file.path, int(file.bytes)) for file in files))
            yield Removable("predictions", run, first.number, _title(first), since, paths)


def _find_logs(connection: Connection, among: _Range) -> Iterable[Removable]:
    query = (
        f"SELECT {_TITLE}, (SELECT sum(length(text)) FROM run_log WHERE run_log.run = run.id) AS characters FROM run"
        f" WHERE run.ended_at < :before AND {_UNPROTECTED}{{}}"
        " AND EXISTS (SELECT 1 FROM run_log WHERE run_log.run = run.id)"
    )
    for row in _select(connection, query, among):
        yield Removable("logs", row.id, row.number, _title(row), row.ended_at, other_bytes=int(row.characters))


_FIND: Final[dict[str, Any]] = {
    "checkpoints": lambda connection, among: _find_checkpoints(connection, among, best=False),
    "best_checkpoints": lambda connection, among: _find_checkpoints(connection, among, best=True),
    "predictions": _find_predictions,
    "logs": _find_logs,
}


def _title(row: Any) -> str:
    return row.name or (f"{row.family} {row.size} · {row.dataset}" if row.dataset else str(row.family))


# Folders of deleted runs ---------------------------------------------------------------------------------------------

_FILES_OF_DELETED = """
SELECT run, path, bytes FROM kept_checkpoint WHERE run IN :runs
UNION SELECT id, json_extract(checkpoint, '$.path'), CAST(json_extract(checkpoint, '$.bytes') AS BIGINT)
  FROM run WHERE checkpoint <> '' AND id IN :runs
UNION SELECT id, json_extract(best_checkpoint, '$.path'), CAST(json_extract(best_checkpoint, '$.bytes') AS BIGINT)
  FROM run WHERE best_checkpoint <> '' AND id IN :runs
UNION SELECT run, path, bytes FROM prediction_file WHERE run IN :runs
UNION SELECT run, 'files/' || key, bytes FROM run_file WHERE run IN :runs
UNION SELECT run, 'exports/' || json_extract(file.value, '$.name'), CAST(json_extract(file.value, '$.bytes') AS BIGINT)
  FROM model_job, json_each(model_job.result, '$.files') AS file
  WHERE kind = 'export' AND status = 'succeeded' AND run IN :runs
"""


def _sizes_of_folders(connection: Connection, runs: Sequence[str]) -> dict[str, int]:
    """What was recorded of the files of these runs, each once."""
    statement = text(_FILES_OF_DELETED).bindparams(bindparam("runs", expanding=True))
    files: dict[tuple[str, str], int] = {}
    for first in range(0, len(runs), CHUNK):
        for run, path, size in connection.execute(statement, {"runs": list(runs[first : first + CHUNK])}):
            files[run, path] = max(files.get((run, path), 0), int(size or 0))
    sizes: dict[str, int] = {}
    for (run, _), size in files.items():
        sizes[run] = sizes.get(run, 0) + size
    return sizes
