"""Changes to many runs in one transaction: stop and restore queued runs, trash and tag runs of the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, bindparam, text

from app.contract.spec import RunConfig
from app.store.database import rows
from app.store.lease import ENDS_AT_ONCE, STOPPED_HERE
from app.store.queue import spread_ranks
from app.store.run import TERMINAL, Origin, insert_run, tags_of
from app.store.trash import delete_run

AT_ONCE = 1000
"""How many values one statement takes."""
MOST_TAGS = 20
REASON = "stopped while it waited"


@dataclass(frozen=True)
class Which:
    """The runs that are meant: by their ids, those of a sweep, or all that wait."""

    runs: list[str] = field(default_factory=list)
    sweep: str | None = None
    queued: bool = False

    def conditions(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What is true of them, in as many parts as a statement can hold."""
        if self.queued:
            yield "status = 'queued'", {}
        if self.sweep is not None:
            yield "sweep = :sweep", {"sweep": self.sweep}
        for start in range(0, len(self.runs), AT_ONCE):
            yield "id IN :runs", {"runs": self.runs[start : start + AT_ONCE]}


@dataclass(frozen=True)
class Cancelled:
    """What a stop of many has done: ``cancelled`` had never started and can be brought back, ``stopping`` had.

    ``held`` are those of ``stopping`` that a worker is to be told of. ``at`` names those that can be brought back.
    """

    cancelled: list[str]
    stopping: list[str]
    held: list[str]
    at: float


def cancel_runs(connection: Connection, which: Which, commit: int, now: float, grace_seconds: float) -> Cancelled:
    """Stop runs: those that wait end at once, those that a worker holds are asked to; what has ended stays as it is."""
    waited: list[Any] = []
    held: list[str] = []
    for condition, values in which.conditions():
        at = values | {"now": now, "commit": commit, "deadline": now + grace_seconds, "reason": REASON}
        waited += connection.execute(_statement(_END, condition), at).all()
        held += [str(row.id) for row in connection.execute(_statement(_ASK, condition), at)]
    waited.sort(key=lambda row: row.number)
    fresh = [str(row.id) for row in waited if not row.attempt]
    return Cancelled(fresh, [str(row.id) for row in waited if row.attempt] + held, held, now)


_END = (
    f"UPDATE run SET status = 'cancelled', reason = CASE origin WHEN '' THEN :reason ELSE '{STOPPED_HERE}' END,"
    " ended_at = :now, status_commit = :commit, lease_until = NULL, deadline = NULL"
    f" WHERE {ENDS_AT_ONCE} AND deleted_at IS NULL AND {{}}"
    " RETURNING id, number, attempt"
)
_ASK = (
    "UPDATE run SET status = 'cancelling', reason = 'stop was asked for', deadline = :deadline,"
    " status_commit = :commit WHERE status IN ('starting', 'running', 'finishing') AND origin = ''"
    " AND deleted_at IS NULL AND {}"
    " RETURNING id"
)


def _statement(pattern: str, condition: str) -> Any:
    statement = text(pattern.format(condition))
    return statement.bindparams(bindparam("runs", expanding=True)) if ":runs" in condition else statement


def missing(connection: Connection, runs: list[str]) -> str | None:
    """The first of these ids that is no run's, or that of one in the trash."""
    there: set[str] = set()
    for start in range(0, len(runs), AT_ONCE):
        there |= set(connection.execute(_THERE, {"runs": runs[start : start + AT_ONCE]}).scalars())
    return next((run for run in runs if run not in there), None)


_THERE = text("SELECT id FROM run WHERE id IN :runs AND deleted_at IS NULL").bindparams(
    bindparam("runs", expanding=True)
)


def restorable(connection: Connection, at: float) -> list[str]:
    """The runs that were cancelled at this moment, before they had ever started."""
    return [str(run) for run in connection.execute(_RESTORABLE, {"at": at}).scalars()]


_RESTORABLE = text(
    # The status is an expression here, so that SQLite looks the moment up in the index of ends.
    "SELECT id FROM run WHERE ended_at = :at AND status || '' = 'cancelled' AND attempt = 0 AND deleted_at IS NULL"
    " ORDER BY number"
)


def restore_queued(connection: Connection, runs: list[str], now: float) -> list[tuple[str, str]] | str:
    """Queue runs again that were cancelled before they had started: (the cancelled one, the new one) of each.

    Each new run stands in the old place of the queue; the cancelled one goes to the trash. Where one of them is none
    of these, nothing is done, and its id is the answer.
    """
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(runs), AT_ONCE):
        for row in rows(connection.execute(_CANCELLED, {"runs": runs[start : start + AT_ONCE]})):
            found[row["id"]] = row
    wrong = next((run for run in runs if run not in found), None)
    if wrong is not None:
        return wrong
    ranks: dict[str, float] = {}
    for priority in {row["priority"] for row in found.values()}:
        # A new number would change the order of equal ranks.
        ranks |= spread_ranks(connection, priority, now)
    tags = {run: given for part in _parts(runs) for run, given in tags_of(connection, part).items()}
    made = []
    for row in sorted(found.values(), key=lambda row: row["number"]):
        config = RunConfig.model_validate_json(row["config"]).model_copy(update={"tags": tags.get(row["id"], [])})
        origin = Origin(
            parent=row["parent"],
            relation=row["relation"],
            parent_step=row["parent_step"],
            checkpoint=row["checkpoint"],
            sweep=row["sweep"],
            sweep_values=from_json(row["sweep_values"]),
            rank=ranks.get(row["id"], row["rank"]),
        )
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
    return (list(runs[start : start + AT_ONCE]) for start in range(0, len(runs), AT_ONCE))


def trash_runs(connection: Connection, runs: Sequence[str], commit: int, now: float) -> list[str]:
    """Put those that have ended into the trash; returns which."""
    found: list[str] = []
    for part in _parts(runs):
        found += connection.execute(_TRASH, {"runs": part, "now": now, "commit": commit}).scalars()
    return found


_TRASH = text(
    f"UPDATE run SET deleted_at = :now, status_commit = :commit WHERE id IN :runs AND status IN {TERMINAL}"
    " AND deleted_at IS NULL RETURNING id"
).bindparams(bindparam("runs", expanding=True))


def take_out(connection: Connection, runs: Sequence[str], commit: int) -> list[str]:
    """Take runs out of the trash; returns which were there."""
    found: list[str] = []
    for part in _parts(runs):
        found += connection.execute(_TAKE_OUT, {"runs": part, "commit": commit}).scalars()
    return found


_TAKE_OUT = text(
    "UPDATE run SET deleted_at = NULL, status_commit = :commit WHERE id IN :runs AND deleted_at IS NOT NULL"
    " RETURNING id"
).bindparams(bindparam("runs", expanding=True))


def tag_runs(connection: Connection, runs: Sequence[str], tag: str, commit: int) -> list[str]:
    """Give runs a tag; returns those that had it not. A run with MOST_TAGS keeps these."""
    changed: list[str] = []
    for part in _parts(runs):
        for run, config in connection.execute(_WITHOUT, {"runs": part, "tag": tag}).all():
            said = from_json(config)
            if len(said.get("tags", ())) >= MOST_TAGS:
                continue
            said["tags"] = [*said.get("tags", ()), tag]
            connection.execute(_ADD_TAG, {"run": run, "tag": tag})
            connection.execute(_CONFIG, {"run": run, "config": to_json(said).decode(), "commit": commit})
            changed.append(run)
    return changed


def untag_runs(connection: Connection, runs: Sequence[str], tag: str, commit: int) -> list[str]:
    """Take a tag from runs; returns those that had it."""
    changed: list[str] = []
    for part in _parts(runs):
        for run, config in connection.execute(_WITH, {"runs": part, "tag": tag}).all():
            said = from_json(config)
            said["tags"] = [each for each in said.get("tags", ()) if each != tag]
            connection.execute(_REMOVE_TAG, {"run": run, "tag": tag})
            connection.execute(_CONFIG, {"run": run, "config": to_json(said).decode(), "commit": commit})
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
