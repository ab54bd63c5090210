"""The queue: the order in which runs start, pausing, and the reason why a run waits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, text
from sqlmodel import Field, SQLModel

from app.contract.errors import QueryError
from app.store.database import rows
from app.store.edit import edit
from app.store.page_cursor import read_cursor, write_cursor
from app.store.person_limit import limits_of
from app.store.run import COMMAND, RunRecord, record
from app.store.turn import PLAIN, QUEUE_ORDER, WAITS, QueueRules, Turns, read_slice, read_turns
from app.store.waiting_reason import why_waiting
from app.store.worker import WorkerRecord

Move = Literal["first", "last", "up", "down"]

PAUSED = "the queue is paused"
# Ranks are times in seconds; a float has about 4 million values between one second and the next.
APART = 1e-3
# For this long a cancelled run keeps its place when ranks are spread, so that it can be restored to it.
RESTORED_SECONDS = 86_400.0


class QueueState(SQLModel, table=True):
    """One row: when a user paused the queue, in seconds since 1970, UTC; NULL while it is not paused.

    ``held``: why Runyard itself starts no run, "" if it does. It never changes what a user has paused.
    """

    __tablename__ = "queue_state"

    id: int = Field(primary_key=True)
    paused_at: float | None = None
    held: str = ""


@dataclass(frozen=True)
class Waiting:
    """A queued run, its position (1 is next) and why it waits."""

    run: RunRecord
    position: int
    why: str


@dataclass(frozen=True)
class QueuePage:
    """Consecutive queued runs, the position of the first, and the cursor of the next page.

    ``held``: why Runyard itself starts no run, "" if it does.
    """

    runs: list[RunRecord]
    first: int
    next: str | None
    total: int
    paused_at: float | None
    held: str = ""
    turns: Turns | None = None

    @property
    def stopped(self) -> str:
        """Why no run starts, whoever stopped the queue; "" if runs start."""
        return PAUSED if self.paused_at is not None else self.held


@dataclass(frozen=True)
class Place:
    """A queued run's place: the columns by which the queue is ordered."""

    run: str
    priority: int
    rank: float
    number: int
    created_by: str = ""


# Reading -------------------------------------------------------------------------------------------------------------

_WAITS = WAITS
_PLACE = "id, priority, rank, number, created_by"
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


def queue(
    connection: Connection, workers: list[WorkerRecord], limit: int = 50, rules: QueueRules = PLAIN
) -> tuple[list[Waiting], int]:
    """The queue in starting order, and its total length."""
    page = read_queue(connection, limit, rules=rules)
    limits = limits_of(connection, rules.most_running)
    own: Counter[str] = Counter()
    waiting = []
    for i, run in enumerate(page.runs):
        running = limits.get(run.created_by)
        held = "" if running is None else running.why_not(run.created_by, own[run.created_by])
        own[run.created_by] += 1
        waiting.append(Waiting(run, i + 1, why_waiting(run, i, workers, page.stopped, held)))
    return waiting, page.total


def read_queue(connection: Connection, limit: int, after: str | None = None, rules: QueueRules = PLAIN) -> QueuePage:
    """A page of the queue in starting order. Raises QueryError."""
    behind = _read_after(after) if after else None
    turns = read_turns(connection, rules)
    if turns is not None:
        return _read_turns_page(connection, turns, limit, behind)
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
    total = count_queued(connection)
    return QueuePage(records, first, following, total, paused_at(connection), held_for(connection))


def _read_turns_page(connection: Connection, turns: Turns, limit: int, behind: Place | None) -> QueuePage:
    first = 0 if behind is None else position_of(connection, behind, turns)
    # A run that has left the queue since then is not counted among those before the page.
    if behind is not None and not _is_there(connection, behind):
        first -= 1
    page = read_slice(connection, turns, first, limit + 1, "*")
    following = _write_after(page[limit - 1]) if len(page) > limit else None
    records = [record(row, []) for row in page[:limit]]
    return QueuePage(records, first + 1, following, turns.total, paused_at(connection), held_for(connection), turns)


def _is_there(connection: Connection, place: Place) -> bool:
    statement = f"SELECT 1 FROM run WHERE {_WAITS} AND number = :number AND (priority, rank) = (:priority, :rank)"
    return connection.execute(text(statement), place.__dict__).one_or_none() is not None


def _rows(connection: Connection, condition: str, values: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    statement = text(f"SELECT * FROM run WHERE {condition} ORDER BY {QUEUE_ORDER} LIMIT :limit")
    return rows(connection.execute(statement, values | {"limit": limit}))


def _place(row: Any) -> Place:
    return Place(row["id"], row["priority"], row["rank"], row["number"], row["created_by"])


def _write_after(row: dict[str, Any]) -> str:
    return write_cursor(f"{row['priority']} {row['rank']!r} {row['created_by']}".rstrip(), row["number"])


def _read_after(after: str) -> Place:
    cursor = read_cursor(after)
    try:
        priority, rank, *person = str(cursor.value).split()
        place = Place("", int(priority), float(rank), cursor.number, *person)
    except (ValueError, TypeError) as error:
        raise QueryError("after", "invalid cursor; use the 'next' value of the previous page") from error
    if abs(place.priority) >= 2**63 or not math.isfinite(place.rank):
        raise QueryError("after", "invalid cursor; use the 'next' value of the previous page")
    return place


def find_place(connection: Connection, run: str) -> Place | None:
    """The place of a queued run; None if it is not queued."""
    statement = text(f"SELECT {_PLACE} FROM run WHERE id = :run AND {_WAITS}")
    row = connection.execute(statement, {"run": run}).mappings().one_or_none()
    return None if row is None else _place(row)


def _count_ahead(connection: Connection, place: Place) -> int:
    counts = (
        connection.execute(text(f"SELECT count(*) FROM run WHERE {condition}"), place.__dict__).scalar_one()
        for condition in _AHEAD
    )
    return sum(int(count) for count in counts)


def position_of(connection: Connection, place: Place, turns: Turns | None = None) -> int:
    """The position of a place in the queue; 1 is next. ``turns``: those of `read_turns`."""
    if turns is None:
        return 1 + _count_ahead(connection, place)
    own = connection.execute(_COUNT_OWN[0], place.__dict__).scalar_one()
    return 1 + turns.count_ahead(place.priority, place.created_by, int(own))


_COUNT_OWN = tuple(text(f"SELECT count(*) FROM run WHERE {where} AND created_by = :created_by") for where in _AHEAD)


def positions_in_queue(connection: Connection, runs: list[str], turns: Turns | None = None) -> dict[str, int]:
    """Positions of those of these runs that are queued; 1 is next. ``turns``: those of `read_turns`."""
    if len(runs) == 1:
        place = find_place(connection, runs[0])
        return {} if place is None else {runs[0]: position_of(connection, place, turns)}
    if not runs:
        return {}
    if turns is None:
        return {row.id: int(row.place) for row in connection.execute(_FIND_PLACES, {"runs": runs})}
    found = connection.execute(_FIND_OWN_PLACES, {"runs": runs})
    return {row.id: 1 + turns.count_ahead(row.priority, row.created_by, row.place - 1) for row in found}


_FIND_PLACES, _FIND_OWN_PLACES = (
    text(
        f"WITH waiting AS (SELECT id, priority, created_by, row_number() OVER ({window}) AS place FROM run"
        f" WHERE {_WAITS}) SELECT id, priority, created_by, place FROM waiting WHERE id IN :runs"
    ).bindparams(bindparam("runs", expanding=True))
    for window in (f"ORDER BY {QUEUE_ORDER}", "PARTITION BY created_by, priority ORDER BY rank, number")
)


def count_own_ahead(connection: Connection, run: RunRecord) -> int:
    """How many queued runs of the same person start before a queued run."""
    place = _place(run.row).__dict__
    counts = (connection.execute(statement, place).scalar_one() for statement in _COUNT_OWN)
    return sum(int(count) for count in counts)


def count_queued(connection: Connection) -> int:
    """Number of queued runs."""
    return int(connection.execute(_COUNT_QUEUED).scalar_one())


_COUNT_QUEUED = text(f"SELECT count(*) FROM run WHERE {_WAITS}")


def paused_at(connection: Connection) -> float | None:
    """When the queue was paused; None while it is not."""
    timestamp = connection.execute(_PAUSED_AT).scalar()
    return None if timestamp is None else float(timestamp)


_PAUSED_AT = text("SELECT paused_at FROM queue_state WHERE paused_at IS NOT NULL")


def held_for(connection: Connection) -> str:
    """Why Runyard itself starts no run; "" if it does."""
    return str(connection.execute(_HELD).scalar() or "")


_HELD = text("SELECT held FROM queue_state WHERE held <> ''")


def stopped_for(connection: Connection) -> str:
    """Why no run starts, whoever stopped the queue; "" if runs start."""
    return PAUSED if paused_at(connection) is not None else held_for(connection)


def claimable(connection: Connection, workers: Callable[[], list[WorkerRecord]], rules: QueueRules = PLAIN) -> int:
    """Number of claims that could be granted now; ``workers`` is called only if runs are queued."""
    queued = connection.execute(_ASKED_FOR).all()
    if not queued or stopped_for(connection):
        return 0
    limits = limits_of(connection, rules.most_running)
    total = 0
    for worker in (each for each in workers() if not each.lacks_space):
        fitting: Counter[str] = Counter()
        for device, name, command, person, count in queued:
            fitting[person] += count if worker.takes(device, name, bool(command)) else 0
        for person, limit in limits.items():
            fitting[person] = min(fitting[person], max(0, limit.most - limit.active))
        total += min(worker.free_slots, fitting.total())
    return total


_ASKED_FOR = text(
    f"SELECT device_wanted, worker_wanted, CASE WHEN origin = '{COMMAND}' THEN 1 ELSE 0 END, created_by, count(*)"
    f" FROM run WHERE {_WAITS} GROUP BY 1, 2, 3, 4"
)


# Changing ------------------------------------------------------------------------------------------------------------


def pause(connection: Connection, now: float) -> None:
    """Pause the queue. No more runs start; active runs continue."""
    connection.execute(text("UPDATE queue_state SET paused_at = coalesce(paused_at, :now)"), {"now": now})


def hold(connection: Connection, reason: str) -> None:
    """Start no run for this reason, whether a user has paused the queue or not; "" starts them again."""
    connection.execute(text("UPDATE queue_state SET held = :held"), {"held": reason})


def resume(connection: Connection) -> None:
    """Resume the queue."""
    connection.execute(text("UPDATE queue_state SET paused_at = NULL"))


def move(connection: Connection, run: Place, to: Move, commit: int, now: float, own: bool = False) -> Place:
    """Move a queued run first, last, or one place up or down; returns its new place.

    The run keeps its priority if the new place allows it; otherwise it takes its new neighbor's. ``own``: among the
    runs of its person, who takes turns with others.
    """
    match to:
        case "first":
            return _put(connection, run, None, _edge(connection, run, QUEUE_ORDER, own), commit, now)
        case "last":
            return _put(connection, run, _edge(connection, run, _BACKWARDS, own), None, commit, now)
        case "up":
            other = _neighbor(connection, run, False, run.run, own)
            return run if other is None else move_beside(connection, run, other, True, commit, now, own)
        case "down":
            other = _neighbor(connection, run, True, run.run, own)
            return run if other is None else move_beside(connection, run, other, False, commit, now, own)


def move_beside(
    connection: Connection, run: Place, other: Place, before: bool, commit: int, now: float, own: bool = False
) -> Place:
    """Move a queued run right before or after another; returns its new place. ``own``: both are of one person."""
    if run.run == other.run:
        return run
    beyond = _neighbor(connection, other, not before, run.run, own)
    ahead, behind = (beyond, other) if before else (other, beyond)
    return _put(connection, run, ahead, behind, commit, now)


def set_priority(connection: Connection, run: str, priority: int, commit: int) -> None:
    """Change a run's priority; its rank decides its place among runs of that priority."""
    edit(connection, run, {"priority": priority}, commit)


_OWN = {False: "", True: " AND created_by = :created_by"}


def _edge(connection: Connection, run: Place, order: str, own: bool) -> Place | None:
    statement = f"SELECT {_PLACE} FROM run WHERE {_WAITS}{_OWN[own]} AND id != :run ORDER BY {order} LIMIT 1"
    row = connection.execute(text(statement), run.__dict__).mappings().one_or_none()
    return None if row is None else _place(row)


def _neighbor(connection: Connection, place: Place, forward: bool, without: str, own: bool) -> Place | None:
    """The run right after or before ``place``, ignoring ``without``; ``own``: of the same person."""
    order = QUEUE_ORDER if forward else _BACKWARDS
    for condition in _BEHIND if forward else _AHEAD:
        statement = f"SELECT {_PLACE} FROM run WHERE {condition}{_OWN[own]} AND id != :without ORDER BY {order} LIMIT 1"
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
    return replace(run, priority=priority, rank=run.rank if rank is None else rank)


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
