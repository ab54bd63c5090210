"""Turns: people whose runs wait with the same priority start one each, then one each again.

Of two people, the one whose last start is longer ago goes first; within what one person launched, the rank decides. All
of this is read when a run starts, so nothing has to be put in order when runs are launched, moved or cancelled
(docs/decisions/0059-a-fair-queue.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sqlalchemy import BigInteger, Connection, text
from sqlmodel import Field, SQLModel

from app.contract.settings import Settings
from app.store.database import rows
from app.store.user import any_user

WAITS = "status = 'queued' AND deleted_at IS NULL"
"""Condition for runs in the queue."""
QUEUE_ORDER = "priority DESC, rank, number"
"""The order of the runs of one person, or of all while nobody takes turns."""
FITS = (
    "NOT EXISTS (SELECT 1 FROM queue_state WHERE paused_at IS NOT NULL OR held <> '')"
    " AND NOT EXISTS (SELECT 1 FROM worker WHERE id = :worker AND disk_state = 'full')"
    " AND (:commands = 1 OR origin <> 'command') AND device_wanted IN (:any, :kind, :one)"
    " AND (worker_wanted = '' OR substr(:worker, 1, length(worker_wanted)) = worker_wanted)"
)
"""Condition for runs that may start on a claim's device; none may while the queue is paused."""


class QueueTurn(SQLModel, table=True):
    """When a run of a person last started, as a number that grows with each start of a run of that priority."""

    __tablename__ = "queue_turn"

    priority: int = Field(primary_key=True, sa_type=BigInteger)
    person: str = Field(primary_key=True)
    turn: int = Field(sa_type=BigInteger)


@dataclass(frozen=True)
class QueueRules:
    """``fair``: people take turns; ``most_running``: how many runs of a person are active at once, 0 for any number.

    Both count only once somebody was added.
    """

    fair: bool = False
    most_running: int = 0

    @classmethod
    def of(cls, settings: Settings) -> QueueRules:
        """The rules that the settings ask for."""
        return cls(settings.fair_queue, settings.most_running)


PLAIN = QueueRules()
"""Everyone's runs start in the order in which they were launched."""


# Starting ------------------------------------------------------------------------------------------------------------


NEXT = f"SELECT id FROM run WHERE {WAITS} AND {FITS}{{}} ORDER BY {QUEUE_ORDER} LIMIT 1"
"""Selects the run that starts next, by the values of FITS; {} is for a further condition on ``created_by``."""
# From one person to the next along the index, then the first run of each that fits.
NEXT_IN_TURN = (
    f"WITH RECURSIVE person(created_by) AS (SELECT min(created_by) FROM run WHERE {WAITS} UNION ALL"
    f" SELECT (SELECT min(created_by) FROM run WHERE {WAITS} AND created_by > person.created_by) FROM person"
    " WHERE person.created_by IS NOT NULL), first(id) AS ("
    f"SELECT (SELECT id FROM run WHERE {WAITS} AND created_by = person.created_by AND {FITS}"
    f" ORDER BY {QUEUE_ORDER} LIMIT 1) FROM person WHERE created_by IS NOT NULL{{}})"
    " SELECT run.id FROM first JOIN run ON run.id = first.id"
    " LEFT JOIN queue_turn ON queue_turn.priority = run.priority AND queue_turn.person = run.created_by"
    " ORDER BY run.priority DESC, coalesce(queue_turn.turn, 0), run.rank, run.created_by LIMIT 1"
)
"""Selects the run that starts next while people take turns."""


def take_turn(connection: Connection, priority: int, person: str) -> None:
    """Note that a run of a person has started: among those of its priority, the person is last in turn now."""
    connection.execute(_TAKE, {"priority": priority, "person": person})


_TAKE = text(
    "INSERT INTO queue_turn (priority, person, turn) SELECT :priority, :person, coalesce(max(turn), 0) + 1"
    " FROM queue_turn WHERE priority = :priority"
    " ON CONFLICT (priority, person) DO UPDATE SET turn = excluded.turn"
)


# The order -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """The queued runs of one person with one priority: ``count`` runs, the first of which has this ``rank``."""

    priority: int
    person: str
    count: int = 0
    turn: int = 0
    rank: float = 0.0

    @property
    def place(self) -> tuple[int, float, str]:
        """Where the line stands among those of its priority."""
        return (self.turn, self.rank, self.person)


@dataclass(frozen=True)
class Turns:
    """The lines of all people, those of the highest priority first, and of one priority in turn."""

    lines: list[Line]
    _groups: list[list[Line]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.lines.sort(key=lambda line: (-line.priority, line.place))
        groups = [list(group) for _, group in groupby(self.lines, key=lambda line: line.priority)]
        object.__setattr__(self, "_groups", groups)

    @property
    def total(self) -> int:
        """Number of queued runs."""
        return sum(line.count for line in self.lines)

    def count_ahead(self, priority: int, person: str, own: int) -> int:
        """How many runs start before a person's run that has ``own`` of the person's runs of its priority before it."""
        ahead = own
        mine = next((each for each in self.lines if (each.priority, each.person) == (priority, person)), None)
        place = (mine or Line(priority, person)).place
        for line in self.lines:
            if line.priority > priority:
                ahead += line.count
            elif line.priority == priority and line.person != person:
                ahead += min(line.count, own + (line.place < place))
        return ahead

    def ends(self, priority: int, person: str, ahead: int) -> tuple[bool, bool]:
        """Whether a run with ``ahead`` runs before it is the first and the last of its person's queued runs."""
        mine = [line.priority for line in self.lines if line.person == person]
        count = next(line.count for line in self.lines if (line.priority, line.person) == (priority, person))
        first, last = (self.count_ahead(priority, person, own) for own in (0, count - 1))
        return (priority == mine[0] and ahead == first, priority == mine[-1] and ahead == last)

    def slice(self, first: int, count: int) -> list[tuple[Line, int]]:
        """Which runs start at ``first`` and after, at most ``count``: of each its line, and its place in that line."""
        found: list[tuple[Line, int]] = []
        for group in self._groups:
            total = sum(line.count for line in group)
            if first >= total:
                first -= total
                continue
            for each in _in_turn(group, first):
                if len(found) == count:
                    return found
                found.append(each)
            first = 0
        return found


def _in_turn(lines: list[Line], first: int) -> Iterator[tuple[Line, int]]:
    """The runs of lines of one priority, from the run at ``first``, which is one of theirs, on."""
    low, high = 0, max(line.count for line in lines)
    # The last round of which no more than ``first`` runs are in the rounds before it.
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _before_round(lines, middle) <= first else (low, middle)
    skipped = first - _before_round(lines, low)
    while lines := [line for line in lines if line.count > low]:
        for line in lines[skipped:]:
            yield line, low
        low, skipped = low + 1, 0


def _before_round(lines: list[Line], number: int) -> int:
    return sum(min(line.count, number) for line in lines)


def read_turns(connection: Connection, rules: QueueRules) -> Turns | None:
    """The lines of all people who take turns; None while runs start in the order of their ranks.

    That is so unless the rules want turns, somebody was added, and runs of several people wait.
    """
    if not rules.fair or not any_user(connection):
        return None
    first, last = connection.execute(_ENDS).one()
    if first == last:
        return None
    lines = connection.execute(_LINES)
    return Turns([Line(row.level, row.person, int(row.waiting), int(row.turn), row.rank) for row in lines])


_ENDS = text(f"SELECT (SELECT min(created_by) FROM run WHERE {WAITS}), (SELECT max(created_by) FROM run WHERE {WAITS})")
# From one person and priority to the next along the index; only the count visits every run.
_LINES = text(
    f"WITH RECURSIVE who(person) AS (SELECT min(created_by) FROM run WHERE {WAITS} UNION ALL"
    f" SELECT (SELECT min(created_by) FROM run WHERE {WAITS} AND created_by > who.person) FROM who"
    " WHERE who.person IS NOT NULL),"
    " line(person, level) AS ("
    f"SELECT person, (SELECT max(priority) FROM run WHERE {WAITS} AND created_by = who.person) FROM who"
    " WHERE person IS NOT NULL UNION ALL"
    f" SELECT person, (SELECT max(priority) FROM run WHERE {WAITS} AND created_by = line.person"
    " AND priority < line.level) FROM line WHERE level IS NOT NULL)"
    " SELECT line.person, line.level,"
    f" (SELECT count(*) FROM run WHERE {WAITS} AND created_by = line.person AND priority = line.level) AS waiting,"
    f" (SELECT min(rank) FROM run WHERE {WAITS} AND created_by = line.person AND priority = line.level) AS rank,"
    " coalesce((SELECT turn FROM queue_turn WHERE person = line.person AND priority = line.level), 0) AS turn"
    " FROM line WHERE level IS NOT NULL"
)


def read_slice(connection: Connection, turns: Turns, first: int, count: int, columns: str) -> list[dict[str, Any]]:
    """The runs that start at ``first`` and after, at most ``count``, in the order of their starts.

    ``columns`` must include those of QUEUE_ORDER and ``created_by``.
    """
    order = turns.slice(first, count)
    wanted: dict[tuple[int, str], list[int]] = {}
    for line, own in order:
        wanted.setdefault((line.priority, line.person), []).append(own)
    parts = [(*key, len(owns), owns[0]) for key, owns in wanted.items()]
    found: dict[tuple[int, str], list[dict[str, Any]]] = {key: [] for key in wanted}
    for start in range(0, len(parts), MOST_PARTS):
        for row in _read_parts(connection, parts[start : start + MOST_PARTS], columns):
            found[row["priority"], row["created_by"]].append(row)
    remaining = {key: iter(sorted(runs, key=lambda row: (row["rank"], row["number"]))) for key, runs in found.items()}
    return [next(remaining[line.priority, line.person]) for line, _ in order]


MOST_PARTS = 100


def _read_parts(connection: Connection, parts: list[tuple[int, str, int, int]], columns: str) -> list[dict[str, Any]]:
    """Read parts of lines, each a priority, a person, a number of runs and how many to skip."""
    selects: list[str] = []
    values: dict[str, Any] = {}
    for i, part in enumerate(parts):
        selects.append(
            f"SELECT * FROM (SELECT {columns} FROM run WHERE {WAITS} AND created_by = :person{i}"
            f" AND priority = :priority{i} ORDER BY rank, number LIMIT :limit{i} OFFSET :offset{i}) AS part{i}"
        )
        values |= zip((f"priority{i}", f"person{i}", f"limit{i}", f"offset{i}"), part, strict=True)
    return rows(connection.execute(text(" UNION ALL ".join(selects)), values))
