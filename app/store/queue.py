"""The queue: the order in which runs start, whether it is paused, and why a run waits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, text
from sqlmodel import Field, SQLModel

from app.contract.errors import QueryError
from app.store.cursor import read_cursor, write_cursor
from app.store.database import rows
from app.store.edit import edit
from app.store.lease import QUEUE_ORDER
from app.store.run import RunRecord, record
from app.store.worker import WorkerRecord

Where = Literal["first", "last", "up", "down"]

PAUSED = "the queue is paused"
# Ranks are times in seconds, of which a float has some 4 million between one second and the next.
APART = 1e-3
# A cancelled run keeps its place among those that are numbered anew for so long, so that it can be brought back to it.
RESTORED_SECONDS = 86_400.0


class QueueState(SQLModel, table=True):
    """One row: since when the queue is paused, in seconds since 1970, UTC; NULL while it is not."""

    __tablename__ = "queue_state"

    id: int = Field(primary_key=True)
    paused_at: float | None = None


@dataclass(frozen=True)
class Waiting:
    """A queued run, its place (1 is next) and why it waits."""

    run: RunRecord
    position: int
    why: str


@dataclass(frozen=True)
class QueuePage:
    """Queued runs that follow each other, the place of the first of them, and the cursor of the following page."""

    runs: list[RunRecord]
    first: int
    next: str | None
    total: int
    paused_at: float | None


@dataclass(frozen=True)
class Place:
    """Where a queued run stands: what the queue is ordered by."""

    run: str
    priority: int
    rank: float
    number: int


# Reading -------------------------------------------------------------------------------------------------------------

_WAITS = "status = 'queued' AND deleted_at IS NULL"
# Two steps along the index, each from where it begins: those of the same priority, then those of the others.
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
    """The queue in the order in which it will start, and how long it is in all."""
    page = read_queue(connection, limit)
    paused = page.paused_at is not None
    return [Waiting(run, i + 1, why_waiting(run, i, workers, paused)) for i, run in enumerate(page.runs)], page.total


def read_queue(connection: Connection, limit: int, after: str | None = None) -> QueuePage:
    """A page of the queue, in the order in which it will start. Raises QueryError."""
    behind = _read_after(after) if after else None
    if behind is None:
        found = _rows(connection, _WAITS, {}, limit + 1)
    else:
        found = []
        for condition in _BEHIND:
            if len(found) <= limit:
                found += _rows(connection, condition, behind.__dict__, limit + 1 - len(found))
    records = [record(row, []) for row in found[:limit]]
    following = _write_after(found[limit - 1]) if len(found) > limit else None
    first = 1 if behind is None or not found else 1 + _count_ahead(connection, _place(found[0]))
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
        raise QueryError("after", "not a cursor of the queue; take it from 'next' of the page before") from error
    if abs(place.priority) >= 2**63 or not math.isfinite(place.rank):
        raise QueryError("after", "not a cursor of the queue; take it from 'next' of the page before")
    return place


def find_place(connection: Connection, run: str) -> Place | None:
    """Where a run stands; None where it does not wait."""
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
    """The place in the queue as a number; 1 is next."""
    return 1 + _count_ahead(connection, place)


def positions_in_queue(connection: Connection, runs: list[str]) -> dict[str, int]:
    """The places of those of these runs that are queued, 1 being next."""
    if len(runs) == 1:
        place = find_place(connection, runs[0])
        return {} if place is None else {runs[0]: position_of(connection, place)}
    return {run: int(place) for run, place in connection.execute(_FIND_PLACES, {"runs": runs})} if runs else {}


_FIND_PLACES = text(
    f"WITH waiting AS (SELECT id, row_number() OVER (ORDER BY {QUEUE_ORDER}) AS place FROM run"
    f" WHERE {_WAITS}) SELECT id, place FROM waiting WHERE id IN :runs"
).bindparams(bindparam("runs", expanding=True))


def count_queued(connection: Connection) -> int:
    """How many runs wait."""
    return int(connection.execute(_COUNT_QUEUED).scalar_one())


_COUNT_QUEUED = text(f"SELECT count(*) FROM run WHERE {_WAITS}")


def paused_at(connection: Connection) -> float | None:
    """Since when the queue is paused; None while it is not."""
    found = connection.execute(_PAUSED_AT).scalar()
    return None if found is None else float(found)


_PAUSED_AT = text("SELECT paused_at FROM queue_state WHERE paused_at IS NOT NULL")


def why_waiting(run: RunRecord, ahead: int, workers: list[WorkerRecord], paused: bool = False) -> str:
    """The reason why a queued run with ``ahead`` runs before it has not started."""
    if not workers:
        return "no worker is connected"
    fitting = [worker for worker in workers if worker.takes(run.device_wanted, run.worker_wanted)]
    if not fitting:
        return _nobody(run.device_wanted, run.worker_wanted, workers)
    if paused:
        return PAUSED
    if sum(worker.free_slots for worker in fitting) > ahead:
        return "starting"
    slots = sum(worker.slots for worker in fitting)
    busy = "the slot is taken" if slots == 1 else f"all {slots} slots are taken"
    return busy if not ahead else f"{busy}, {ahead} ahead"


def _nobody(device: str, name: str, workers: list[WorkerRecord]) -> str:
    """What a run asks for that no connected worker has, and what there is."""
    named = [worker for worker in workers if worker.id.startswith(name)]
    if not named:
        there = ", ".join(sorted({worker.host for worker in workers}))
        return f"asks for worker {name}, and the connected ones are on {there}"
    there = ", ".join(sorted({worker.device for worker in named}))
    who = f"worker {name} has" if name else "the workers have"
    return f"asks for {device}, and {who} {there}"


def claimable(connection: Connection, workers: Callable[[], list[WorkerRecord]]) -> int:
    """How many claims could be granted now; ``workers`` is asked only where something waits."""
    queued = connection.execute(_ASKED_FOR).all()
    if not queued or paused_at(connection) is not None:
        return 0
    found = 0
    for worker in workers():
        fitting = sum(count for device, name, count in queued if worker.takes(device, name))
        found += min(worker.free_slots, fitting)
    return found


_ASKED_FOR = text(f"SELECT device_wanted, worker_wanted, count(*) FROM run WHERE {_WAITS} GROUP BY 1, 2")


# Changing ------------------------------------------------------------------------------------------------------------


def pause(connection: Connection, now: float) -> None:
    """Start no further run until the queue is resumed; those that train go on."""
    connection.execute(text("UPDATE queue_state SET paused_at = coalesce(paused_at, :now)"), {"now": now})


def resume(connection: Connection) -> None:
    """Let runs start again."""
    connection.execute(text("UPDATE queue_state SET paused_at = NULL"))


def move(connection: Connection, run: Place, to: Where, commit: int, now: float) -> Place:
    """Put a queued run first or last, or one place up or down; where it stands now is returned.

    A run keeps its priority where that place allows it, else it takes that of its new neighbor.
    """
    match to:
        case "first":
            return _put(connection, run, None, _edge(connection, run, QUEUE_ORDER), commit, now)
        case "last":
            return _put(connection, run, _edge(connection, run, _BACKWARDS), None, commit, now)
        case "up":
            other = _neighbour(connection, run, False, run.run)
            return run if other is None else move_beside(connection, run, other, True, commit, now)
        case "down":
            other = _neighbour(connection, run, True, run.run)
            return run if other is None else move_beside(connection, run, other, False, commit, now)


def move_beside(connection: Connection, run: Place, other: Place, before: bool, commit: int, now: float) -> Place:
    """Put a queued run right before or after another; where it stands now is returned."""
    if run.run == other.run:
        return run
    beyond = _neighbour(connection, other, not before, run.run)
    ahead, behind = (beyond, other) if before else (other, beyond)
    return _put(connection, run, ahead, behind, commit, now)


def set_priority(connection: Connection, run: str, priority: int, commit: int) -> None:
    """Give a run another priority; among those that have it, its place is by its rank."""
    edit(connection, run, {"priority": priority}, commit)


def _edge(connection: Connection, run: Place, order: str) -> Place | None:
    statement = f"SELECT id, priority, rank, number FROM run WHERE {_WAITS} AND id != :run ORDER BY {order} LIMIT 1"
    row = connection.execute(text(statement), {"run": run.run}).mappings().one_or_none()
    return None if row is None else _place(row)


def _neighbour(connection: Connection, place: Place, forward: bool, without: str) -> Place | None:
    """The run right behind or before ``place``, as if ``without`` did not wait."""
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
    low, high = (each.rank if each and each.priority == priority else None for each in (before, behind))
    rank = _between(low, high, run.rank, now)
    if rank is None:
        ranks = spread_ranks(connection, priority, now)
        low, high = (ranks.get(each.run) if each else None for each in (before, behind))
        rank = _between(low, high, run.rank, now)
    connection.execute(text("UPDATE run SET rank = :rank WHERE id = :run"), {"rank": rank, "run": run.run})
    return Place(run.run, priority, run.rank if rank is None else rank, run.number)


def _between(low: float | None, high: float | None, own: float, now: float) -> float | None:
    """A rank between two; None where no number is left between them."""
    if low is None and high is None:
        return own
    if high is None:
        # Whoever comes later stands behind it, as ranks are times.
        return now if low is None or now > low else low + APART
    if low is None:
        return high - 1.0
    middle = low + (high - low) / 2
    return middle if low < middle < high else None


def spread_ranks(connection: Connection, priority: int, now: float) -> dict[str, float]:
    """Give every run of a priority a rank of its own, evenly apart and in the same order; returns them.

    Those that were cancelled while they waited are among them, so that they can be brought back to their places.
    """
    found = connection.execute(_OF_PRIORITY, {"priority": priority, "since": now - RESTORED_SECONDS}).all()
    if not found:
        return {}
    first, last = found[0].rank, found[-1].rank
    apart = (last - first) / max(1, len(found) - 1)
    if apart < APART:
        apart = 1.0
        first = last - apart * (len(found) - 1)
    ranks = {str(row.id): first + apart * i for i, row in enumerate(found)}
    connection.execute(_SET_RANK, [{"run": run, "rank": rank} for run, rank in ranks.items()])
    return ranks


_OF_PRIORITY = text(
    f"SELECT id, rank FROM run WHERE priority = :priority AND (({_WAITS})"
    " OR (status = 'cancelled' AND attempt = 0 AND deleted_at IS NULL AND ended_at > :since)) ORDER BY rank, number"
)
_SET_RANK = text("UPDATE run SET rank = :rank WHERE id = :run")
