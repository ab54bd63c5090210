"""The queue: the order in which runs start, pausing, and the reason why a run waits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, text
from sqlmodel import Field, SQLModel

from app.contract.errors import QueryError
from app.store.database import rows
from app.store.edit import edit
from app.store.lease import QUEUE_ORDER
from app.store.page_cursor import read_cursor, write_cursor
from app.store.run import COMMAND, RunRecord, record
from app.store.worker import WorkerRecord

Move = Literal["first", "last", "up", "down"]

PAUSED = "the queue is paused"
# Ranks are times in seconds; a float has about 4 million values between one second and the next.
APART = 1e-3
# For this long a cancelled run keeps its place when ranks are spread, so that it can be restored to it.
RESTORED_SECONDS = 86_400.0


class QueueState(SQLModel, table=True):
    """One row: when the queue was paused, in seconds since 1970, UTC; NULL while it is not."""

    __tablename__ = "queue_state"

    id: int = Field(primary_key=True)
    paused_at: float | None = None


@dataclass(frozen=True)
class Waiting:
    """A queued run, its position (1 is next) and why it waits."""

    run: RunRecord
    position: int
    why: str


@dataclass(frozen=True)
class QueuePage:
    """Consecutive queued runs, the position of the first, and the cursor of the next page."""

    runs: list[RunRecord]
    first: int
    next: str | None
    total: int
    paused_at: float | None


@dataclass(frozen=True)
class Place:
    """A queued run's place: the columns by which the queue is ordered."""

    run: str
    priority: int
    rank: float
    number: int


# Reading -------------------------------------------------------------------------------------------------------------

_WAITS = "status = 'queued' AND deleted_at IS NULL"
# Two range scans of the index, each from its start: runs of the same priority, then runs of the other priorities.
_BEHIND = (
    f"{_WAITS} AND priority = :priority AND (rank, number) > (:rank, :number)",
    f"{_WAITS} AND priority < :priority",
)
_AHEAD = (
    f"{_WAITS} AND priority = :priority AND (rank, number) < (:rank, :number)",
    f"{_WAITS} AND priority > :priority",
)
_BACKWARDS = "priority, rank DESC, number DESC"


def queue(connection: Connection, workers: list[WorkerRecord], limit: int = 50) -> tuple[list[Waiting], int]:
    """The queue in starting order, and its total length."""
    page = read_queue(connection, limit)
    paused = page.paused_at is not None
    return [Waiting(run, i + 1, why_waiting(run, i, workers, paused)) for i, run in enumerate(page.runs)], page.total


def read_queue(connection: Connection, limit: int, after: str | None = None) -> QueuePage:
    """A page of the queue in starting order. Raises QueryError."""
    behind = _read_after(after) if after else None
    if behind is None:
        page = _rows(connection, _WAITS, {}, limit + 1)
    else:
        page = []
        for condition in _BEHIND:
            if len(page) <= limit:
                page += _rows(connection, condition, behind.__dict__, limit + 1 - len(page))
    records = [record(row, []) for row in page[:limit]]
    following = _write_after(page[limit - 1]) if len(page) > limit else None
    first = 1 if behind is None or not page else 1 + _count_ahead(connection, _place(page[0]))
    return QueuePage(records, first, following, count_queued(connection), paused_at(connection))


def _rows(connection: Connection, condition: str, values: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    statement = text(f"SELECT * FROM run WHERE {condition} ORDER BY {QUEUE_ORDER} LIMIT :limit")
    return rows(connection.execute(statement, values | {"limit": limit}))


def _place(row: Any) -> Place:
    return Place(row["id"], row["priority"], row["rank"], row["number"])


def _write_after(row: dict[str, Any]) -> str:
    return write_cursor(f"{row['priority']} {row['rank']!r}", row["number"])


def _read_after(after: str) -> Place:
    cursor = read_cursor(after)
    try:
        priority, rank = str(cursor.value).split()
        place = Place("", int(priority), float(rank), cursor.number)
    except ValueError as error:
        raise QueryError("after", "invalid cursor; use the 'next' value of the previous page") from error
    if abs(place.priority) >= 2**63 or not math.isfinite(place.rank):
        raise QueryError("after", "invalid cursor; use the 'next' value of the previous page")
    return place


def find_place(connection: Connection, run: str) -> Place | None:
    """The place of a queued run; None if it is not queued."""
    statement = text(f"SELECT id, priority, rank, number FROM run WHERE id = :run AND {_WAITS}")
    row = connection.execute(statement, {"run": run}).mappings().one_or_none()
    return None if row is None else _place(row)


def _count_ahead(connection: Connection, place: Place) -> int:
    counts = (
        connection.execute(text(f"SELECT count(*) FROM run WHERE {condition}"), place.__dict__).scalar_one()
        for condition in _AHEAD
    )
    return sum(int(count) for count in counts)


def position_of(connection: Connection, place: Place) -> int:
    """The position of a place in the queue; 1 is next."""
    return 1 + _count_ahead(connection, place)


def positions_in_queue(connection: Connection, runs: list[str]) -> dict[str, int]:
    """Positions of those of these runs that are queued; 1 is next."""
    if len(runs) == 1:
        place = find_place(connection, runs[0])
        return {} if place is None else {runs[0]: position_of(connection, place)}
    return {run: int(place) for run, place in connection.execute(_FIND_PLACES, {"runs": runs})} if runs else {}


_FIND_PLACES = text(
    f"WITH waiting AS (SELECT id, row_number() OVER (ORDER BY {QUEUE_ORDER}) AS place FROM run"
    f" WHERE {_WAITS}) SELECT id, place FROM waiting WHERE id IN :runs"
).bindparams(bindparam("runs", expanding=True))


def count_queued(connection: Connection) -> int:
    """Number of queued runs."""
    return int(connection.execute(_COUNT_QUEUED).scalar_one())


_COUNT_QUEUED = text(f"SELECT count(*) FROM run WHERE {_WAITS}")


def paused_at(connection: Connection) -> float | None:
    """When the queue was paused; None while it is not."""
    timestamp = connection.execute(_PAUSED_AT).scalar()
    return None if timestamp is None else float(timestamp)


_PAUSED_AT = text("SELECT paused_at FROM queue_state WHERE paused_at IS NOT NULL")


def why_waiting(run: RunRecord, ahead: int, workers: list[WorkerRecord], paused: bool = False) -> str:
    """Why a queued run with ``ahead`` runs before it has not started."""
    if not workers:
        return "no worker is connected"
    fitting = [worker for worker in workers if worker.takes(run.device_wanted, run.worker_wanted, run.executed)]
    if not fitting:
        return _unmet_request(run.device_wanted, run.worker_wanted, workers, run.executed)
    if paused:
        return PAUSED
    if sum(worker.free_slots for worker in fitting) > ahead:
        return "starting"
    slots = sum(worker.slots for worker in fitting)
    busy = "the only slot is busy" if slots == 1 else f"all {slots} slots are busy"
    return busy if not ahead else f"{busy}; {ahead:,} run{'s' if ahead != 1 else ''} ahead in the queue"


def _unmet_request(device: str, name: str, workers: list[WorkerRecord], executes: bool = False) -> str:
    """What a run needs that no connected worker has, and what there is instead."""
    if not any(worker.compatible for worker in workers):
        return "no connected worker understands this server; install the same version of Runyard on them"
    workers = [worker for worker in workers if worker.compatible]
    if executes and any(worker.takes(device, name) for worker in workers):
        return "needs a worker with the key in the server's data folder; commands start on no other"
    named = [worker for worker in workers if worker.id.startswith(name)]
    if not named:
        available = ", ".join(sorted({worker.host for worker in workers}))
        return f"needs worker {name.rstrip('-')}; connected workers: {available}"
    available = ", ".join(sorted({worker.device for worker in named}))
    owner = f"worker {name.rstrip('-')} has" if name else "connected workers have"
    return f"needs {device}; {owner} {available}"


def claimable(connection: Connection, workers: Callable[[], list[WorkerRecord]]) -> int:
    """Number of claims that could be granted now; ``workers`` is called only if runs are queued."""
    queued = connection.execute(_ASKED_FOR).all()
    if not queued or paused_at(connection) is not None:
        return 0
    total = 0
    for worker in workers():
        fitting = sum(count for device, name, command, count in queued if worker.takes(device, name, bool(command)))
        total += min(worker.free_slots, fitting)
    return total


_ASKED_FOR = text(
    f"SELECT device_wanted, worker_wanted, CASE WHEN origin = '{COMMAND}' THEN 1 ELSE 0 END, count(*) FROM run"
    f" WHERE {_WAITS} GROUP BY 1, 2, 3"
)


# Changing ------------------------------------------------------------------------------------------------------------


def pause(connection: Connection, now: float) -> None:
    """Pause the queue. No more runs start; active runs continue."""
    connection.execute(text("UPDATE queue_state SET paused_at = coalesce(paused_at, :now)"), {"now": now})


def resume(connection: Connection) -> None:
    """Resume the queue."""
    connection.execute(text("UPDATE queue_state SET paused_at = NULL"))


def move(connection: Connection, run: Place, to: Move, commit: int, now: float) -> Place:
    """Move a queued run first, last, or one place up or down; returns its new place.

    The run keeps its priority if the new place allows it; otherwise it takes its new neighbor's.
    """
    match to:
        case "first":
            return _put(connection, run, None, _edge(connection, run, QUEUE_ORDER), commit, now)
        case "last":
            return _put(connection, run, _edge(connection, run, _BACKWARDS), None, commit, now)
        case "up":
            other = _neighbor(connection, run, False, run.run)
            return run if other is None else move_beside(connection, run, other, True, commit, now)
        case "down":
            other = _neighbor(connection, run, True, run.run)
            return run if other is None else move_beside(connection, run, other, False, commit, now)


def move_beside(connection: Connection, run: Place, other: Place, before: bool, commit: int, now: float) -> Place:
    """Move a queued run right before or after another; returns its new place."""
    if run.run == other.run:
        return run
    beyond = _neighbor(connection, other, not before, run.run)
    ahead, behind = (beyond, other) if before else (other, beyond)
    return _put(connection, run, ahead, behind, commit, now)


def set_priority(connection: Connection, run: str, priority: int, commit: int) -> None:
    """Change a run's priority; its rank decides its place among runs of that priority."""
    edit(connection, run, {"priority": priority}, commit)


def _edge(connection: Connection, run: Place, order: str) -> Place | None:
    statement = f"SELECT id, priority, rank, number FROM run WHERE {_WAITS} AND id != :run ORDER BY {order} LIMIT 1"
    row = connection.execute(text(statement), {"run": run.run}).mappings().one_or_none()
    return None if row is None else _place(row)


def _neighbor(connection: Connection, place: Place, forward: bool, without: str) -> Place | None:
    """The run right after or before ``place``, ignoring ``without``."""
    order = QUEUE_ORDER if forward else _BACKWARDS
    for condition in _BEHIND if forward else _AHEAD:
        statement = (
            f"SELECT id, priority, rank, number FROM run WHERE {condition} AND id != :without ORDER BY {order} LIMIT 1"
        )
        row = connection.execute(text(statement), place.__dict__ | {"without": without}).mappings().one_or_none()
        if row is not None:
            return _place(row)
    return None


def _put(
    connection: Connection, run: Place, before: Place | None, behind: Place | None, commit: int, now: float
) -> Place:
    priority = run.priority
    if before is not None:
        priority = min(priority, before.priority)
    if behind is not None:
        priority = max(priority, behind.priority)
    if priority != run.priority:
        set_priority(connection, run.run, priority, commit)
    low, high = (place.rank if place and place.priority == priority else None for place in (before, behind))
    rank = _between(low, high, run.rank, now)
    if rank is None:
        ranks = spread_ranks(connection, priority, now)
        low, high = (ranks.get(place.run) if place else None for place in (before, behind))
        rank = _between(low, high, run.rank, now)
    connection.execute(text("UPDATE run SET rank = :rank WHERE id = :run"), {"rank": rank, "run": run.run})
    return Place(run.run, priority, run.rank if rank is None else rank, run.number)


def _between(low: float | None, high: float | None, own: float, now: float) -> float | None:
    """A rank between two others; None if no float is left between them."""
    if low is None and high is None:
        return own
    if high is None:
        # Ranks are times, so runs that are queued later follow it.
        return now if low is None or now > low else low + APART
    if low is None:
        return high - 1.0
    middle = low + (high - low) / 2
    return middle if low < middle < high else None


def spread_ranks(connection: Connection, priority: int, now: float) -> dict[str, float]:
    """Spread the ranks of a priority's runs evenly, in the same order; returns them.

    Includes runs that were cancelled while queued, so that they can be restored to their places.
    """
    queued = connection.execute(_OF_PRIORITY, {"priority": priority, "since": now - RESTORED_SECONDS}).all()
    if not queued:
        return {}
    first, last = queued[0].rank, queued[-1].rank
    spacing = (last - first) / max(1, len(queued) - 1)
    if spacing < APART:
        spacing = 1.0
        first = last - spacing * (len(queued) - 1)
    ranks = {str(row.id): first + spacing * i for i, row in enumerate(queued)}
    connection.execute(_SET_RANK, [{"run": run, "rank": rank} for run, rank in ranks.items()])
    return ranks


_OF_PRIORITY = text(
    f"SELECT id, rank FROM run WHERE priority = :priority AND (({_WAITS})"
    " OR (status = 'cancelled' AND attempt = 0 AND deleted_at IS NULL AND ended_at > :since)) ORDER BY rank, number"
)
_SET_RANK = text("UPDATE run SET rank = :rank WHERE id = :run")
