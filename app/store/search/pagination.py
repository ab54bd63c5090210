"""Keyset pagination of the run table: read a page along an index, or by sorting all matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, CursorResult, text

from app.store.database import rows
from app.store.page_cursor import Cursor
from app.store.search.sorting import NOT_DELETED, Order, Source, Values


@dataclass(frozen=True)
class Place:
    """A run's position in the order: its value, its number, and its values of the tie-breaking keys."""

    run: str
    number: int
    value: Any
    then: tuple[Any, ...] = ()


class TooSparse(Exception):
    """Matches are so sparse along the index that sorting them is faster."""


def page_along_index(
    connection: Connection,
    order: Order,
    matching: str,
    values: Values,
    limit: int,
    after: Cursor | None,
    steps: int | None = None,
) -> list[Place]:
    """The first ``limit`` matching runs after ``after``, read along the order's index.

    Raises TooSparse after reading ``steps`` runs that have a value.
    """
    if order.then:
        return _walk_by_several(connection, order, matching, values, limit, after)
    values = values | order.values
    places: list[Place] = []
    if after is None or after.value is not None:
        for source in order.sources:
            places += _from_source(connection, order, source, matching, values, limit, after, steps)
        if len(order.sources) > 1:
            places.sort(key=lambda place: -place.number)
            places.sort(key=lambda place: place.value, reverse=order.descending)
            places = places[:limit]
    if order.missing and len(places) < limit:
        behind = "" if after is None or after.value is not None else " AND run.number < :last_number"
        statement = (
            f"SELECT run.id, run.number, NULL AS value FROM run WHERE {order.missing} AND {matching}{behind}"
            " ORDER BY run.number DESC LIMIT :limit"
        )
        last = {"last_number": after.number} if after else {}
        places += _places(connection, statement, values | last | {"limit": limit - len(places)})
    return places


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
    if not order.indexed:
        return _sorted_source(connection, order, source, values, limit, after)
    value, values = source.value, values | {"limit": limit}
    select = f"SELECT run.id, run.number, {value} AS value FROM {source.tables} WHERE {source.scope} AND {matching}"
    newest = f" ORDER BY {source.number} DESC LIMIT :limit"
    parts, rest = [], f" AND {value} IS NOT NULL"
    if after is not None:
        values |= {"last": after.value, "last_number": after.number}
        parts.append(f"{select} AND {value} = :last AND {source.number} < :last_number{newest}")
        rest = f" AND {value} {order.beyond} :last"
    # Thousands of runs may share the value at which the page ends; only the newest of them are read.
    ahead = (
        f"SELECT {value} AS value, {matching} AS matches FROM {source.tables} WHERE {source.scope}{rest}"
        f" ORDER BY {value} {order.direction}{'' if steps is None else ' LIMIT :steps'}"
    )
    edge = _edge(connection.execute(text(ahead), values | {"steps": steps}), limit, steps)
    if edge is None:
        parts.append(select + rest)
    else:
        values |= {"edge": edge}
        before = ">" if order.descending else "<"
        beyond = "" if after is None else rest
        parts.append(f"{select}{beyond} AND {value} {before} :edge")
        parts.append(f"{select} AND {value} = :edge{newest}")
    whole = " UNION ALL ".join(f"SELECT * FROM ({part}) AS part{i}" for i, part in enumerate(parts))
    return _places(connection, f"{whole} ORDER BY value {order.direction}, number DESC LIMIT :limit", values)


def _sorted_source(
    connection: Connection, order: Order, source: Source, values: Values, limit: int, after: Cursor | None
) -> list[Place]:
    """Read a page where no index has the order: sort the metric's series, without joining the wide run rows."""
    behind = ""
    if after is not None:
        behind = f" AND ({source.value} {order.beyond} :last OR ({source.value} = :last AND run_number < :last_number))"
    statement = (
        f"SELECT run.id, run.number, s.value FROM (SELECT run_number, {source.value} AS value FROM metric_series s"
        f" WHERE s.name = :metric AND {source.value} IS NOT NULL{behind}"
        f" ORDER BY value {order.direction}, run_number DESC"
        # Read enough extra rows to make up for runs in the trash.
        " LIMIT :limit + (SELECT count(*) FROM run WHERE deleted_at IS NOT NULL)) s CROSS JOIN run"
        f" WHERE run.number = s.run_number AND {NOT_DELETED}"
        f" ORDER BY s.value {order.direction}, s.run_number DESC LIMIT :limit"
    )
    last = {"last": after.value, "last_number": after.number} if after is not None else {}
    return _places(connection, statement, values | last | {"limit": limit})


def _edge(ahead: CursorResult[Any], limit: int, steps: int | None) -> Any:
    """The value of the ``limit``-th matching run, None if there are fewer. Raises TooSparse."""
    seen = matches = 0
    with ahead:
        for row in ahead:
            seen += 1
            matches += bool(row.matches)
            if matches == limit:
                return row.value
    if seen == steps:
        raise TooSparse
    return None


# Further keys --------------------------------------------------------------------------------------------------------


def _walk_by_several(
    connection: Connection, order: Order, matching: str, values: Values, limit: int, after: Cursor | None
) -> list[Place]:
    """Read a page along the index of the first key: sorts only ties, and no more of them than one page."""
    values = values | _all_values(order, after) | {"limit": limit}
    source, joins = order.sources[0], "".join(then.join for then in order.then)
    chosen = "".join(f", {then.value} AS then{i}" for i, then in enumerate(order.then))
    columns = [then.value for then in order.then]
    ties = _ties_behind(order, after, columns, source.number) if after else ""
    places: list[Place] = []
    if after is None or after.value is not None:
        behind = ""
        if after is not None:
            value, beyond = source.value, order.beyond
            behind = f" AND {value} {beyond}= :last AND ({value} {beyond} :last OR ({ties}))"
        statement = (
            f"SELECT run.id, run.number, {source.value} AS value{chosen} FROM {source.tables}{joins}"
            f" WHERE {source.known} AND {matching}{behind}"
            f" ORDER BY {source.value} {order.direction}, {_further(order, columns)}number DESC LIMIT :limit"
        )
        places = _places(connection, statement, values)
    if order.missing and len(places) < limit:
        if after is not None and after.value is None:
            ties = f" AND ({_ties_behind(order, after, columns, 'run.number')})"
        else:
            ties = ""
        statement = (
            f"SELECT run.id, run.number, NULL AS value{chosen} FROM run{joins} WHERE {order.missing} AND {matching}"
            f"{ties} ORDER BY {_further(order, columns)}run.number DESC LIMIT :limit"
        )
        places += _places(connection, statement, values | {"limit": limit - len(places)})
    return places


def _all_values(order: Order, after: Cursor | None) -> Values:
    values = dict(order.values)
    for then in order.then:
        values |= then.values
    if after is not None:
        values |= {"last": after.value, "last_number": after.number}
        values |= {f"last_then{i}": value for i, value in enumerate(after.then)}
    return values


def _further(order: Order, columns: Sequence[str]) -> str:
    """The further keys of ORDER BY. ``columns``: their values, not names given in the same query."""
    return "".join(
        f"{column} IS NULL, {column} {'DESC' if then.descending else 'ASC'}, "
        for column, then in zip(columns, order.then, strict=True)
    )


def _ties_behind(order: Order, after: Cursor, columns: list[str], number: str) -> str:
    """The condition for runs after ``after`` that tie with it in the first key."""
    behind = f"{number} < :last_number"
    for i, column in reversed(list(enumerate(columns))):
        if after.then[i] is None:
            behind = f"({column} IS NULL AND {behind})"
        else:
            beyond = "<" if order.then[i].descending else ">"
            equal = f"({column} = :last_then{i} AND {behind})"
            behind = f"({column} IS NULL OR {column} {beyond} :last_then{i} OR {equal})"
    return behind


def sort_all(
    connection: Connection,
    order: Order,
    matching: str,
    values: Values,
    limit: int,
    after: Cursor | None,
    *,
    counting: bool,
) -> tuple[list[Place], int | None]:
    """Read a page by sorting all matches.

    ``counting``: also returns their count, None if nothing follows ``after``, which makes the database keep them all.
    """
    values = values | _all_values(order, after) | {"limit": limit}
    names = [f"then{i}" for i in range(len(order.then))]
    behind = ""
    if after is not None:
        ties = _ties_behind(order, after, names, "number")
        behind = f" WHERE value IS NULL AND {ties}"
        if after.value is not None:
            behind = f" WHERE value IS NULL OR value {order.beyond} :last OR (value = :last AND {ties})"
    chosen = "".join(f", {then.value} AS {name}" for name, then in zip(names, order.then, strict=True))
    joins = order.join + "".join(then.join for then in order.then)
    statement = (
        # Without the id, an index may have all of this.
        f"WITH matching AS {'MATERIALIZED ' if counting else ''}(SELECT run.number, {order.value} AS value{chosen}"
        f" FROM run{joins} WHERE {matching}), page AS (SELECT * FROM matching{behind}"
        f" ORDER BY value IS NULL, value {order.direction}, {_further(order, names)}number DESC LIMIT :limit)"
        f" SELECT run.id, page.*, {'(SELECT count(*) FROM matching)' if counting else 'NULL'} AS total"
        " FROM page JOIN run ON run.number = page.number"
        f" ORDER BY value IS NULL, value {order.direction}, {_further(order, names)}page.number DESC"
    )
    result = rows(connection.execute(text(statement), values))
    places = [Place(row["id"], row["number"], row["value"], tuple(row[name] for name in names)) for row in result]
    return places, int(result[0]["total"]) if counting and result else None


def _places(connection: Connection, statement: str, values: Values) -> list[Place]:
    return [Place(row[0], row[1], row[2], tuple(row[3:])) for row in connection.execute(text(statement), values)]
