"""Limits per person: how many of their runs are active, and how many wait, at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, text

from app.contract.errors import Conflict
from app.store.author import AUTHOR, MOST_QUEUED
from app.store.user import any_limit, any_user

ACTIVE: Final = "status IN ('starting', 'running', 'finishing', 'cancelling') AND origin IN ('', 'command')"
"""Condition for runs that a worker trains or executes; scripts elsewhere take no slot."""


@dataclass(frozen=True)
class RunningLimit:
    """How many runs of a person are active, and how many may be."""

    active: int
    most: int

    @property
    def full(self) -> bool:
        """Whether none of their runs may start now."""
        return self.active >= self.most

    def why_not(self, person: str, ahead: int = 0) -> str:
        """Why a run waits that has ``ahead`` of the person's runs before it; blank if this is not the reason."""
        if self.active + ahead < self.most:
            return ""
        return f"{person} may have {self.most:,} run{'' if self.most == 1 else 's'} active at once"


def limits_of(connection: Connection, most_running: int) -> Mapping[str, RunningLimit]:
    """Everyone whose active runs are limited, with what they have; ``most_running``: the default, 0 for any number."""
    if not any_limit(connection) and not (most_running and any_user(connection)):
        return {}
    found = connection.execute(_LIMITS, {"most": most_running})
    return {row.name: RunningLimit(int(row.active), int(row.most)) for row in found}


# People who were removed have the default; runs without a person have no limit.
_LIMITS = text(
    f"WITH active(person, count) AS (SELECT created_by, count(*) FROM run WHERE {ACTIVE} GROUP BY created_by),"
    " person(name, most) AS (SELECT name, coalesce(most_running, :most) FROM user_account WHERE removed_at IS NULL"
    " UNION ALL SELECT person, :most FROM active WHERE person <> ''"
    "  AND person NOT IN (SELECT name FROM user_account WHERE removed_at IS NULL))"
    " SELECT person.name, person.most, coalesce(active.count, 0) AS active FROM person"
    " LEFT JOIN active ON active.person = person.name WHERE person.most > 0"
)


# Queued runs ---------------------------------------------------------------------------------------------------------


@dataclass
class Room:
    """How many runs of a person may wait, 0 for any number, and how many do; ``taken``: of these, in this request."""

    most: int
    queued: int
    taken: int = 0

    @property
    def left(self) -> float:
        """How many more may be queued."""
        return self.most - self.queued - self.taken if self.most else math.inf


_rooms: WeakKeyDictionary[Any, dict[str, Room]] = WeakKeyDictionary()
"""By transaction and person: counted once, since a sweep queues thousands of runs in one."""


def take_room(connection: Connection, person: str) -> None:
    """Count a run that a request is about to queue for a person. Raises Conflict if that is one too many."""
    if not AUTHOR.get() or not person:
        return
    rooms = _rooms.setdefault(connection.get_transaction(), {})
    if person not in rooms:
        rooms[person] = read_room(connection, person, MOST_QUEUED.get())
    room = rooms[person]
    if room.left < 1:
        raise Conflict(
            f"{person} may have at most {room.most:,} run{'' if room.most == 1 else 's'} queued at once, and"
            f" {room.queued:,} {'is' if room.queued == 1 else 'are'} queued; nothing was launched"
        )
    room.taken += 1


def read_room(connection: Connection, person: str, most_queued: int) -> Room:
    """How many runs a person may have queued and has; ``most_queued``: the default, 0 for any number."""
    own = connection.execute(_OWN, {"person": person}).scalar()
    most = most_queued if own is None else int(own)
    return Room(most, int(connection.execute(_COUNT, {"person": person}).scalar_one()) if most else 0)


_OWN = text("SELECT most_queued FROM user_account WHERE name = :person AND removed_at IS NULL")


_COUNT = text("SELECT count(*) FROM run WHERE status = 'queued' AND deleted_at IS NULL AND created_by = :person")
