"""The run table: filter, sort by any column or metric, keyset paging; and the queue."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

from app.store.database import rows
from app.store.metric import Summary, read_summaries
from app.store.run import ACTIVE, QUEUE_ORDER, STATES, RunRecord, record, tags_of
from app.store.worker import WorkerRecord

DURATION = "coalesce(ended_at, :now) - started_at"
COLUMNS = {
    "number": "number",
    "name": "name",
    "status": "status",
    "family": "family",
    "size": "size",
    "dataset": "dataset",
    "recipe": "recipe",
    "seed": "seed",
    "epochs": "epochs",
    "batch_size": "batch_size",
    "lr": "lr",
    "params": "params",
    "attempt": "attempt",
    "created": "created_at",
    "started": "started_at",
    "ended": "ended_at",
    "duration": DURATION,
}


class QueryError(ValueError):
    """A filter or sort that names what does not exist; ``field`` is the query parameter."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class RunFilter:
    """Which runs: every list is "one of these" (of tags: all of these), empty lists do not filter.

    ``q`` is looked for in ids, names, notes, and in family, size and dataset as they stand in a title.
    """

    status: list[str] = field(default_factory=list)
    family: list[str] = field(default_factory=list)
    size: list[str] = field(default_factory=list)
    dataset: list[str] = field(default_factory=list)
    tag: list[str] = field(default_factory=list)
    q: str = ""


@dataclass(frozen=True)
class RunRow:
    """A run with the summaries of its curves."""

    run: RunRecord
    summary: dict[str, Summary]


@dataclass(frozen=True)
class RunPage:
    """One page of the run table; ``next`` is the cursor of the following one, ``total`` counts all that match."""

    rows: list[RunRow]
    next: str | None
    total: int


def list_runs(
    connection: Connection, where: RunFilter, sort: str, limit: int, after: str | None, now: float
) -> RunPage:
    """Runs that match, sorted by a column of COLUMNS or by the best value of a metric ("-test/acc": largest first).

    Runs without a value come last in either direction. Raises QueryError.
    """
    descending, key = sort.startswith("-"), sort.lstrip("-")
    conditions, values = _conditions(where)
    values["now"] = now
    if key in COLUMNS:
        value, join = COLUMNS[key], ""
    elif "/" in key:
        value, join = "s.best", " LEFT JOIN metric_series s ON s.run = run.id AND s.name = :metric"
        values["metric"] = key
    else:
        raise QueryError(
            "sort", f"cannot sort by '{key[:40]}'; columns: {', '.join(COLUMNS)}, or a metric such as test/acc"
        )
    total = connection.execute(text(f"SELECT count(*) FROM run WHERE {' AND '.join(conditions)}"), values).scalar_one()
    if after:
        conditions.append(_keyset(value, descending, after, values))
    direction = "DESC" if descending else "ASC"
    found = rows(
        connection.execute(
            text(
                f"SELECT run.*, {value} AS sort_value FROM run{join} WHERE {' AND '.join(conditions)}"
                f" ORDER BY ({value}) IS NULL, {value} {direction}, number DESC LIMIT :limit"
            ),
            values | {"limit": limit + 1},
        )
    )
    more = len(found) > limit
    found = found[:limit]
    cursor = _cursor(found[-1]["sort_value"], found[-1]["number"]) if more else None
    return RunPage(_with_summaries(connection, found), cursor, int(total))


def _conditions(where: RunFilter) -> tuple[list[str], dict[str, Any]]:
    for status in where.status:
        if status not in STATES:
            raise QueryError("status", f"no status '{status[:40]}'; statuses: {', '.join(STATES)}")
    conditions = ["deleted_at IS NULL"]
    values: dict[str, Any] = {}
    for column in ("status", "family", "size", "dataset"):
        wanted = getattr(where, column)
        if wanted:
            names = {f"{column}{i}": value for i, value in enumerate(wanted)}
            conditions.append(f"run.{column} IN ({', '.join(f':{name}' for name in names)})")
            values |= names
    for i, tag in enumerate(where.tag):
        conditions.append(f"EXISTS (SELECT 1 FROM run_tag t WHERE t.run = run.id AND t.tag = :tag{i})")
        values[f"tag{i}"] = tag
    if where.q:
        escaped = where.q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        values["q"] = f"%{escaped}%"
        searched = ("run.id", "run.name", "run.notes", "run.family || ' ' || run.size || ' ' || run.dataset")
        conditions.append("(" + " OR ".join(f"{column} LIKE :q ESCAPE '\\'" for column in searched) + ")")
    return conditions, values


def _keyset(value: str, descending: bool, after: str, values: dict[str, Any]) -> str:
    wrong = "not a cursor of this list; take it from 'next' of the page before"
    try:
        last, number = json.loads(base64.urlsafe_b64decode(after.encode()))
    except (ValueError, TypeError, RecursionError) as error:
        raise QueryError("after", wrong) from error
    if not _storable(last) or type(number) is not int or not _storable(number):
        raise QueryError("after", wrong)
    values |= {"last": last, "last_number": number}
    if last is None:
        return f"(({value}) IS NULL AND number < :last_number)"
    beyond = "<" if descending else ">"
    return f"(({value}) IS NULL OR {value} {beyond} :last OR ({value} = :last AND number < :last_number))"


def _storable(value: Any) -> bool:
    match value:
        case None:
            return True
        case int() | float():
            return abs(value) < 2**63
        case str():
            return value == value.encode("utf-8", "replace").decode()
    return False


def _cursor(value: Any, number: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([value, number]).encode()).decode()


def _with_summaries(connection: Connection, found: list[dict[str, Any]]) -> list[RunRow]:
    ids = [row["id"] for row in found]
    summaries = read_summaries(connection, ids)
    tags = tags_of(connection, ids)
    return [RunRow(record(row, tags.get(row["id"], [])), summaries[row["id"]]) for row in found]


def runs_by_id(connection: Connection, ids: list[str]) -> list[RunRow]:
    """These runs in this order; ids that do not exist or lie in the trash are left out."""
    names = {f"r{i}": run for i, run in enumerate(ids)}
    if not names:
        return []
    places = ", ".join(f":{name}" for name in names)
    found = rows(connection.execute(text(f"SELECT * FROM run WHERE id IN ({places}) AND deleted_at IS NULL"), names))
    found.sort(key=lambda row: ids.index(row["id"]))
    return _with_summaries(connection, found)


def active_runs(connection: Connection) -> list[RunRow]:
    """Runs that a worker holds or that were just lost, oldest first."""
    states = (*ACTIVE, "lost")
    found = rows(
        connection.execute(
            text(f"SELECT * FROM run WHERE status IN {states} AND deleted_at IS NULL ORDER BY started_at, number")
        )
    )
    return _with_summaries(connection, found)


@dataclass(frozen=True)
class Waiting:
    """A queued run, its place (1 is next) and why it waits."""

    run: RunRecord
    position: int
    why: str


def queue(connection: Connection, workers: list[WorkerRecord], limit: int = 50) -> tuple[list[Waiting], int]:
    """The queue in the order in which it will start, and how long it is in all."""
    total = connection.execute(
        text("SELECT count(*) FROM run WHERE status = 'queued' AND deleted_at IS NULL")
    ).scalar_one()
    found = rows(
        connection.execute(
            text(
                f"SELECT * FROM run WHERE status = 'queued' AND deleted_at IS NULL ORDER BY {QUEUE_ORDER} LIMIT :limit"
            ),
            {"limit": limit},
        )
    )
    records = [record(row, []) for row in found]
    return [Waiting(run, i + 1, why_waiting(run, i, workers)) for i, run in enumerate(records)], int(total)


def why_waiting(run: RunRecord, ahead: int, workers: list[WorkerRecord]) -> str:
    """The reason why a queued run with ``ahead`` runs before it has not started."""
    if not workers:
        return "no worker is connected"
    fitting = [worker for worker in workers if run.device_wanted in ("auto", worker.device_kind)]
    if not fitting:
        kinds = ", ".join(sorted({worker.device_kind for worker in workers}))
        return f"asks for {run.device_wanted}, and the workers have {kinds}"
    if sum(worker.free_slots for worker in fitting) > ahead:
        return "starting"
    slots = sum(worker.slots for worker in fitting)
    busy = "the slot is taken" if slots == 1 else f"all {slots} slots are taken"
    return busy if not ahead else f"{busy}, {ahead} ahead"


def position_in_queue(connection: Connection, run: RunRecord) -> int:
    """The place of a queued run, 1 being next."""
    ahead = connection.execute(
        text(
            "SELECT count(*) FROM run WHERE status = 'queued' AND deleted_at IS NULL AND (priority > :priority OR"
            " (priority = :priority AND (queued_at < :queued OR (queued_at = :queued AND number < :number))))"
        ),
        {"priority": run.priority, "queued": run.queued_at, "number": run.number},
    ).scalar_one()
    return int(ahead) + 1


def count_by_status(connection: Connection) -> dict[str, int]:
    """How many runs are in each state."""
    found = connection.execute(text("SELECT status, count(*) FROM run WHERE deleted_at IS NULL GROUP BY status"))
    return {status: int(count) for status, count in found}
