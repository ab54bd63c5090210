"""Bulk changes in one transaction: stop and restore queued runs, delete and tag runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, bindparam, text

from app.contract.spec import RunConfig
from app.store.command import copy_command
from app.store.database import rows
from app.store.lease import ENDS_AT_ONCE, STOPPED_HERE
from app.store.queue import spread_ranks
from app.store.run import COMMAND, OWNED, TERMINAL, Origin, insert_run, tags_of
from app.store.trash import NOT_NAMED, delete_run

BATCH = 1000
"""Maximum number of values in one statement."""
MAX_TAGS = 20
REASON = "cancelled while queued"


@dataclass(frozen=True)
class RunSelection:
    """Selects runs by id, by sweep, or all queued ones."""

    runs: list[str] = field(default_factory=list)
    sweep: str | None = None
    queued: bool = False

    def conditions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """SQL conditions that match the runs, split into statements of at most BATCH values."""
        if self.queued:
            yield "status = 'queued'", {}
        if self.sweep is not None:
            yield "sweep = :sweep", {"sweep": self.sweep}
        for start in range(0, len(self.runs), BATCH):
            yield "id IN :runs", {"runs": self.runs[start : start + BATCH]}


@dataclass(frozen=True)
class Cancelled:
    """The result of cancelling many runs, by id.

    ``cancelled``: runs that had never started, and can be restored. ``stopping``: runs that had started, some of which
    wait in the queue for another attempt. ``held``: those of ``stopping`` that a worker holds and has to stop. ``at``:
    the end of the cancelled runs, by which `restorable` finds them.
    """

    cancelled: list[str]
    stopping: list[str]
    held: list[str]
    at: float


def cancel_runs(
    connection: Connection, which: RunSelection, commit: int, now: float, grace_seconds: float
) -> Cancelled:
    """Stop runs: queued ones end immediately, workers are asked to stop theirs, ended ones are left unchanged."""
    waited: list[Any] = []
    owned: list[str] = []
    for condition, values in which.conditions():
        at = values | {"now": now, "commit": commit, "deadline": now + grace_seconds, "reason": REASON}
        waited += connection.execute(_statement(_END, condition), at).all()
        owned += [str(row.id) for row in connection.execute(_statement(_ASK, condition), at)]
    waited.sort(key=lambda row: row.number)
    fresh = [str(row.id) for row in waited if not row.attempt]
    return Cancelled(fresh, [str(row.id) for row in waited if row.attempt] + owned, owned, now)


_END = (
    f"UPDATE run SET status = 'cancelled', reason = CASE WHEN {OWNED} THEN :reason ELSE '{STOPPED_HERE}' END,"
    " ended_at = :now, status_commit = :commit, lease_until = NULL, deadline = NULL"
    f" WHERE {ENDS_AT_ONCE} AND deleted_at IS NULL AND {{}}"
    " RETURNING id, number, attempt"
)
_ASK = (
    "UPDATE run SET status = 'cancelling', reason = 'stop requested', deadline = :deadline,"
    " status_commit = :commit WHERE status IN ('starting', 'running', 'finishing')"
    f" AND {OWNED} AND deleted_at IS NULL AND {{}}"
    " RETURNING id"
)


def _statement(pattern: str, condition: str) -> Any:
    statement = text(pattern.format(condition))
    return statement.bindparams(bindparam("runs", expanding=True)) if ":runs" in condition else statement


def missing(connection: Connection, runs: list[str]) -> str | None:
    """The first of these ids that does not exist or is in the trash."""
    existing: set[str] = set()
    for start in range(0, len(runs), BATCH):
        existing |= set(connection.execute(_THERE, {"runs": runs[start : start + BATCH]}).scalars())
    return next((run for run in runs if run not in existing), None)


_THERE = text("SELECT id FROM run WHERE id IN :runs AND deleted_at IS NULL").bindparams(
    bindparam("runs", expanding=True)
)


def restorable(connection: Connection, at: float) -> list[str]:
    """Runs that were cancelled at this timestamp before they had ever started."""
    return [str(run) for run in connection.execute(_RESTORABLE, {"at": at}).scalars()]


_RESTORABLE = text(
    # The status is an expression here, so that SQLite looks the timestamp up in the index of ended_at.
    "SELECT id FROM run WHERE ended_at = :at AND status || '' = 'cancelled' AND attempt = 0 AND deleted_at IS NULL"
    " ORDER BY number"
)


def restore_queued(connection: Connection, runs: list[str], now: float) -> list[tuple[str, str]] | str:
    """Queue runs again that were cancelled before they started; returns (cancelled run, new run) for each.

    Each new run takes the old place in the queue; the cancelled one goes to the trash. If any run cannot be restored,
    nothing changes and its id is returned.
    """
    by_id: dict[str, dict[str, Any]] = {}
    for start in range(0, len(runs), BATCH):
        for row in rows(connection.execute(_CANCELLED, {"runs": runs[start : start + BATCH]})):
            by_id[row["id"]] = row
    wrong = next((run for run in runs if run not in by_id), None)
    if wrong is not None:
        return wrong
    ranks: dict[str, float] = {}
    for priority in {row["priority"] for row in by_id.values()}:
        # A new number would change the order of equal ranks.
        ranks |= spread_ranks(connection, priority, now)
    tags = {run: given for part in _parts(runs) for run, given in tags_of(connection, part).items()}
    made = []
    for row in sorted(by_id.values(), key=lambda row: row["number"]):
        origin = Origin(
            parent=row["parent"],
            relation=row["relation"],
            parent_step=row["parent_step"],
            checkpoint=row["checkpoint"],
            sweep=row["sweep"],
            sweep_values=from_json(row["sweep_values"]),
            rank=ranks.get(row["id"], row["rank"]),
            author={"created_by": row["created_by"]},
        )
        if row["origin"] == COMMAND:
            new = copy_command(connection, row["id"], origin, now, tags=tags.get(row["id"], []))
        else:
            config = RunConfig.model_validate_json(row["config"]).model_copy(update={"tags": tags.get(row["id"], [])})
            new = insert_run(connection, config, from_json(row["asked"]), row["params"], now, None, origin)
        made.append((row["id"], new))
        commit = connection.execute(text("SELECT value FROM commit_counter")).scalar_one()
        delete_run(connection, row["id"], commit, now)
    return made


_CANCELLED = text(
    "SELECT * FROM run WHERE id IN :runs AND status = 'cancelled' AND attempt = 0 AND deleted_at IS NULL"
).bindparams(bindparam("runs", expanding=True))


# Trash and tags ------------------------------------------------------------------------------------------------------


def _parts(runs: Sequence[str]) -> Iterator[list[str]]:
    return (list(runs[start : start + BATCH]) for start in range(0, len(runs), BATCH))


def trash_runs(connection: Connection, runs: Sequence[str], commit: int, now: float) -> list[str]:
    """Move ended runs to the trash, without those that a name points to; returns the affected ids."""
    trashed: list[str] = []
    for part in _parts(runs):
        trashed += connection.execute(_TRASH, {"runs": part, "now": now, "commit": commit}).scalars()
    return trashed


_TRASH = text(
    f"UPDATE run SET deleted_at = :now, status_commit = :commit WHERE id IN :runs AND status IN {TERMINAL}"
    f" AND deleted_at IS NULL AND {NOT_NAMED} RETURNING id"
).bindparams(bindparam("runs", expanding=True))


def untrash_runs(connection: Connection, runs: Sequence[str], commit: int) -> list[str]:
    """Restore runs from the trash; returns the affected ids."""
    restored: list[str] = []
    for part in _parts(runs):
        restored += connection.execute(_TAKE_OUT, {"runs": part, "commit": commit}).scalars()
    return restored


_TAKE_OUT = text(
    "UPDATE run SET deleted_at = NULL, status_commit = :commit WHERE id IN :runs AND deleted_at IS NOT NULL"
    " RETURNING id"
).bindparams(bindparam("runs", expanding=True))


def tag_runs(connection: Connection, runs: Sequence[str], tag: str, commit: int) -> list[str]:
    """Add a tag to runs; returns the affected ids. Runs that already have MAX_TAGS tags are skipped."""
    changed: list[str] = []
    for part in _parts(runs):
        for run, config in connection.execute(_WITHOUT, {"runs": part, "tag": tag}).all():
            parsed = from_json(config)
            if len(parsed.get("tags", ())) >= MAX_TAGS:
                continue
            parsed["tags"] = [*parsed.get("tags", ()), tag]
            connection.execute(_ADD_TAG, {"run": run, "tag": tag})
            connection.execute(_CONFIG, {"run": run, "config": to_json(parsed).decode(), "commit": commit})
            changed.append(run)
    return changed


def untag_runs(connection: Connection, runs: Sequence[str], tag: str, commit: int) -> list[str]:
    """Remove a tag from runs; returns the affected ids."""
    changed: list[str] = []
    for part in _parts(runs):
        for run, config in connection.execute(_WITH, {"runs": part, "tag": tag}).all():
            parsed = from_json(config)
            parsed["tags"] = [present for present in parsed.get("tags", ()) if present != tag]
            connection.execute(_REMOVE_TAG, {"run": run, "tag": tag})
            connection.execute(_CONFIG, {"run": run, "config": to_json(parsed).decode(), "commit": commit})
            changed.append(run)
    return changed


_HAS = "EXISTS (SELECT 1 FROM run_tag t WHERE t.run = run.id AND t.tag = :tag)"
_WITH, _WITHOUT = (
    text(f"SELECT id, config FROM run WHERE id IN :runs AND deleted_at IS NULL AND {which}").bindparams(
        bindparam("runs", expanding=True)
    )
    for which in (_HAS, f"NOT {_HAS}")
)
_ADD_TAG = text("INSERT INTO run_tag (run, tag) VALUES (:run, :tag)")
_REMOVE_TAG = text("DELETE FROM run_tag WHERE run = :run AND tag = :tag")
_CONFIG = text("UPDATE run SET config = :config, status_commit = :commit WHERE id = :run")
