"""The order of the run table, and how a page of it is found.

Runs stand in the order of a column, of their duration or of the best value of a metric, equal ones the newest first,
those without a value last in either direction. However many there are, a page is read from where the one before it
ended, along an index of (value, number).
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, CursorResult, text

from app.store.database import rows

COLUMNS = {
    "number": "run.number",
    "name": "run.name",
    "status": "run.status",
    "family": "run.family",
    "size": "run.size",
    "dataset": "run.dataset",
    "recipe": "run.recipe",
    "seed": "run.seed",
    "epochs": "run.epochs",
    "batch_size": "run.batch_size",
    "lr": "run.lr",
    "params": "run.params",
    "attempt": "run.attempt",
    "created": "run.created_at",
    "started": "run.started_at",
    "ended": "run.ended_at",
    "duration": "coalesce(run.ended_at, :now) - run.started_at",
}
# The condition of the indexes.
THERE = "run.deleted_at IS NULL"
NULLABLE = ("params", "started", "ended")

Values = dict[str, Any]


class QueryError(ValueError):
    """A filter or sort that names what does not exist; ``field`` is the query parameter."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Source:
    """Runs that have a value, as an index holds them: the tables, their value, and what is true where they have one."""

    tables: str
    value: str
    known: str
    number: str = "run.number"


@dataclass(frozen=True)
class Order:
    """What the table is sorted by. ``value`` and ``join`` give every run its value or NULL, the sources together all
    runs that have one; ``missing`` is true of those that have none, and "" where each run has one."""

    value: str
    join: str
    sources: tuple[Source, ...]
    missing: str
    descending: bool
    values: Values

    @property
    def direction(self) -> str:
        return "DESC" if self.descending else "ASC"

    @property
    def beyond(self) -> str:
        """What a later value is, compared with an earlier one."""
        return "<" if self.descending else ">"


@dataclass(frozen=True)
class Place:
    """A run in the order: its value there and its number."""

    run: str
    number: int
    value: Any


@dataclass(frozen=True)
class Cursor:
    """Behind which run a page begins."""

    value: Any
    number: int


def read_order(sort: str, now: float) -> Order:
    """The order that a key of COLUMNS or a metric names, "-" before it for the largest first. Raises QueryError."""
    descending, key = sort.startswith("-"), sort.lstrip("-")
    if key == "duration":
        # Of runs that have ended it is a column; the others, whose duration grows, are few.
        ended = Source("run", "run.trained_seconds", f"run.trained_seconds IS NOT NULL AND {THERE}")
        going = Source(
            "run", ":now - run.started_at", f"run.ended_at IS NULL AND run.started_at IS NOT NULL AND {THERE}"
        )
        return Order(COLUMNS[key], "", (ended, going), "run.started_at IS NULL", descending, {"now": now})
    if key in COLUMNS:
        value = COLUMNS[key]
        missing = f"{value} IS NULL" if key in NULLABLE else ""
        return Order(value, "", (Source("run", value, f"{value} IS NOT NULL AND {THERE}"),), missing, descending, {})
    if "/" not in key:
        raise QueryError(
            "sort", f"cannot sort by '{key[:40]}'; columns: {', '.join(COLUMNS)}, or a metric such as test/acc"
        )
    # CROSS JOIN: SQLite reads the metric's index first, whatever is asked of the runs.
    source = Source(
        "metric_series s CROSS JOIN run",
        "s.best",
        "s.name = :metric AND s.best IS NOT NULL AND run.number = s.run_number",
        "s.run_number",
    )
    missing = (
        "NOT EXISTS (SELECT 1 FROM metric_series s WHERE s.run = run.id AND s.name = :metric AND s.best IS NOT NULL)"
    )
    join = " LEFT JOIN metric_series s ON s.run = run.id AND s.name = :metric"
    return Order("s.best", join, (source,), missing, descending, {"metric": key})


# Cursors -------------------------------------------------------------------------------------------------------------


def write_cursor(value: Any, number: int) -> str:
    """The cursor of the page behind a run with this value and number."""
    return base64.urlsafe_b64encode(json.dumps([value, number]).encode()).decode()


def read_cursor(after: str) -> Cursor:
    """Inverse of write_cursor. Raises QueryError."""
    wrong = "not a cursor of this list; take it from 'next' of the page before"
    try:
        value, number = json.loads(base64.urlsafe_b64decode(after.encode()))
    except (ValueError, TypeError, RecursionError) as error:
        raise QueryError("after", wrong) from error
    if not _storable(value) or type(number) is not int or not _storable(number):
        raise QueryError("after", wrong)
    return Cursor(value, number)


def _storable(value: Any) -> bool:
    match value:
        case None:
            return True
        case int() | float():
            return abs(value) < 2**63
        case str():
            return value == value.encode("utf-8", "replace").decode()
    return False


# Pages ---------------------------------------------------------------------------------------------------------------


class TooFarApart(Exception):
    """Those that match lie so far apart in the order that they are better looked for in another way."""


def walk(
    connection: Connection,
    order: Order,
    matching: str,
    values: Values,
    limit: int,
    after: Cursor | None,
    steps: int | None = None,
) -> list[Place]:
    """The first ``limit`` runs behind ``after`` of which ``matching`` is true, found along the order's index.

    Raises TooFarApart after ``steps`` runs that have a value.
    """
    values = values | order.values
    found: list[Place] = []
    if after is None or after.value is not None:
        for source in order.sources:
            found += _from_source(connection, order, source, matching, values, limit, after, steps)
        if len(order.sources) > 1:
            found.sort(key=lambda place: -place.number)
            found.sort(key=lambda place: place.value, reverse=order.descending)
            found = found[:limit]
    if order.missing and len(found) < limit:
        behind = "" if after is None or after.value is not None else " AND run.number < :last_number"
        statement = (
            f"SELECT run.id, run.number, NULL AS value FROM run WHERE {order.missing} AND {matching}{behind}"
            " ORDER BY run.number DESC LIMIT :limit"
        )
        last = {"last_number": after.number} if after else {}
        found += _places(connection, statement, values | last | {"limit": limit - len(found)})
    return found


def _from_source(
    connection: Connection,
    order: Order,
    source: Source,
    matching: str,
    values: Values,
    limit: int,
    after: Cursor | None,
    steps: int | None,
) -> list[Place]:
    value, values = source.value, values | {"limit": limit}
    select = f"SELECT run.id, run.number, {value} AS value FROM {source.tables} WHERE {source.known} AND {matching}"
    newest = f" ORDER BY {source.number} DESC LIMIT :limit"
    parts, rest = [], ""
    if after is not None:
        values |= {"last": after.value, "last_number": after.number}
        parts.append(f"{select} AND {value} = :last AND {source.number} < :last_number{newest}")
        rest = f" AND {value} {order.beyond} :last"
    # Thousands of runs may have the value with which the page ends: of those only the newest are read.
    ahead = (
        f"SELECT {value} AS value, {matching} AS matches FROM {source.tables} WHERE {source.known}{rest}"
        f" ORDER BY {value} {order.direction}{'' if steps is None else ' LIMIT :steps'}"
    )
    edge = _edge(connection.execute(text(ahead), values | {"steps": steps}), limit, steps)
    if edge is None:
        parts.append(select + rest)
    else:
        values |= {"edge": edge}
        before = ">" if order.descending else "<"
        parts.append(f"{select}{rest} AND {value} {before} :edge")
        parts.append(f"{select} AND {value} = :edge{newest}")
    whole = " UNION ALL ".join(f"SELECT * FROM ({part}) AS part{i}" for i, part in enumerate(parts))
    return _places(connection, f"{whole} ORDER BY value {order.direction}, number DESC LIMIT :limit", values)


def _edge(ahead: CursorResult[Any], limit: int, steps: int | None) -> Any:
    """The value of the last of ``limit`` runs that match, None where there are fewer. Raises TooFarApart."""
    seen = found = 0
    with ahead:
        for row in ahead:
            seen += 1
            found += bool(row.matches)
            if found == limit:
                return row.value
    if seen == steps:
        raise TooFarApart
    return None


def sort_all(
    connection: Connection, order: Order, matching: str, values: Values, limit: int, after: Cursor | None
) -> tuple[list[Place], int | None]:
    """The same by sorting all that match; and how many there are, which is not known where nothing is behind after."""
    values = values | order.values | {"limit": limit}
    behind = ""
    if after is not None:
        values |= {"last": after.value, "last_number": after.number}
        behind = " WHERE value IS NULL AND number < :last_number"
        if after.value is not None:
            behind = f" WHERE value IS NULL OR value {order.beyond} :last OR (value = :last AND number < :last_number)"
    statement = (
        f"WITH matching AS MATERIALIZED (SELECT run.id, run.number, {order.value} AS value FROM run{order.join}"
        f" WHERE {matching}) SELECT id, number, value, (SELECT count(*) FROM matching) AS total FROM matching{behind}"
        f" ORDER BY value IS NULL, value {order.direction}, number DESC LIMIT :limit"
    )
    found = rows(connection.execute(text(statement), values))
    places = [Place(row["id"], row["number"], row["value"]) for row in found]
    return places, int(found[0]["total"]) if found else None


def _places(connection: Connection, statement: str, values: Values) -> list[Place]:
    return [Place(*row) for row in connection.execute(text(statement), values)]
