"""Queries of the run table: filter, sort by any column or metric, keyset pagination."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, bindparam, text

from app.contract.errors import QueryError
from app.store.database import rows, words_of
from app.store.metric import Summary, read_summaries
from app.store.page_cursor import comparing, read_cursor, write_cursor
from app.store.run import ACTIVE, STATES, TERMINAL, RunRecord, record, tags_of
from app.store.search.matches import NUMBER, Matches
from app.store.search.pagination import Place, TooSparse, page_along_index, sort_all
from app.store.search.query_language import SqlFilter, in_turn_tags, indexed_tags, parse_filter
from app.store.search.sorting import NOT_DELETED, Order, read_order

# Up to this many matches, sorting is faster than walking an index; fewer if their numbers are known. A walk gives up
# after so many rows.
SORTED_AT_ONCE = 6000
FOUND_AT_ONCE = 2000
LOOKED_AHEAD = 2000
# As conditions for rows that are read anyway, and for what an index has without them.
TRASHED = "run.deleted_at IS NOT NULL"
NOT_TRASHED = f"run.number NOT IN (SELECT number FROM run WHERE {TRASHED})"


@dataclass(frozen=True)
class RunFilter:
    """Filters of the run table: each list means "any of these" (tags: all of these); an empty list does not filter.

    ``q`` is a query in the language of `app.store.search.query_language`.
    """

    status: list[str] = field(default_factory=list)
    family: list[str] = field(default_factory=list)
    size: list[str] = field(default_factory=list)
    dataset: list[str] = field(default_factory=list)
    tag: list[str] = field(default_factory=list)
    q: str = ""
    number: list[int] = field(default_factory=list)

    @property
    def narrows(self) -> bool:
        """Whether the filter can exclude any run."""
        return bool(self.status or self.family or self.size or self.dataset or self.tag or self.q or self.number)


@dataclass(frozen=True)
class RunRow:
    """A run with the summaries of its metrics."""

    run: RunRecord
    summary: dict[str, Summary]


@dataclass(frozen=True)
class RunPage:
    """One page of the run table: ``next`` is the cursor of the next page, ``total`` counts all matches."""

    rows: list[RunRow]
    next: str | None
    total: int


def list_runs(
    connection: Connection, where: RunFilter, sort: str, limit: int, after: str | None, now: float
) -> RunPage:
    """Matching runs, sorted by columns of COLUMNS or figures of metrics.

    "-test/acc,params" sorts by best test accuracy, highest first, with ties broken by the fewest parameters.

    Runs without a value come last in either direction. Raises QueryError.
    """
    order = read_order(sort, now)
    behind = read_cursor(after, len(order.then)) if after else None
    query = _parsed(connection, where, now)
    found = _search(connection, where, now) if query.texts and not query.costly else None
    # Where counting looks into every run, sort_all counts the matches in the same pass.
    total = found.total if found else None if query.costly else count_runs(connection, where, now)
    places: list[Place] | None = None
    with comparing(behind):
        if not where.narrows and (order.along or not order.then):
            places = page_along_index(connection, order, NOT_DELETED, {}, limit + 1, behind)
        elif where.narrows and total is not None and _walks(order, total, found):
            with suppress(TooSparse):
                if found:
                    places = found.along_index(connection, order, limit + 1, behind, LOOKED_AHEAD)
                else:
                    matching, values = conditions(connection, where, now, walking=True)
                    places = page_along_index(connection, order, matching, values, limit + 1, behind, LOOKED_AHEAD)
        if places is None:
            if found:
                matching, values = found.conditions(order, limit + 1, behind)
            else:
                matching, values = conditions(connection, where, now)
            places, counted = sort_all(connection, order, matching, values, limit + 1, behind, counting=total is None)
            total = counted if total is None else total
    last = places[limit - 1] if len(places) > limit else None
    cursor = write_cursor(last.value, last.number, last.then) if last is not None else None
    shown = runs_by_id(connection, [place.run for place in places[:limit]])
    return RunPage(shown, cursor, count_runs(connection, where, now) if total is None else total)


def _search(connection: Connection, where: RunFilter, now: float) -> Matches:
    """Find the runs of a search once, to count and to sort them: finding them is most of its cost."""
    words = words_of(connection)
    query = _parsed(connection, where, now)
    if replace(where, q="").narrows or any(condition not in query.texts for condition in query.conditions):
        number, tables = NUMBER, "run"
        matching, values = conditions(connection, where, now)
    else:
        # Looking each match up in the table of runs would double the work.
        number, tables, values = "x.number", "searched_text x", query.values
        matching = " AND ".join([*query.texts.values(), NOT_TRASHED.replace(NUMBER, number)])
    statement = f"SELECT CAST({words.json_list}({number}) AS TEXT) FROM {tables} WHERE {matching}"
    listed = connection.execute(text(statement), values).scalar_one() or "[]"
    return Matches(listed, frozenset(json.loads(listed)), words.elements)


def _walks(order: Order, total: int, found: Matches | None) -> bool:
    """Whether a page of so many matches is read along the index of its order."""
    if found and order.value == NUMBER:
        return False
    return order.indexed and not order.then and total > (FOUND_AT_ONCE if found else SORTED_AT_ONCE)


def count_runs(connection: Connection, where: RunFilter, now: float | None = None) -> int:
    """Count matching runs; ``now`` is the end of durations that still grow. Raises QueryError."""
    if not where.narrows:
        # Subtracting the trash lets SQLite count the table without reading its rows.
        return int(connection.execute(_COUNT_ALL).scalar_one())
    now = time.time() if now is None else now
    covered = _parsed(connection, where, now).covered
    matching, values = conditions(connection, where, now, trash=covered)
    found = int(connection.execute(text(f"SELECT count(*) FROM run WHERE {matching}"), values).scalar_one())
    if not covered:
        return found
    # An index has all that the conditions need, but not who is in the trash: those few are counted by themselves.
    matching, values = conditions(connection, where, now, walking=True, trash=True)
    statement = f"SELECT count(*) FROM run WHERE {TRASHED} AND {matching}"
    return found - int(connection.execute(text(statement), values).scalar_one())


_COUNT_ALL = text("SELECT (SELECT count(*) FROM run) - (SELECT count(*) FROM run WHERE deleted_at IS NOT NULL)")


def matching_ids(connection: Connection, where: RunFilter, limit: int, now: float) -> list[str]:
    """The ids of matching runs, newest first. Raises QueryError."""
    matching, values = conditions(connection, where, now)
    statement = f"SELECT run.id FROM run WHERE {matching} ORDER BY run.number DESC LIMIT :limit"
    return [str(run) for run in connection.execute(text(statement), values | {"limit": limit}).scalars()]


def changed_since(connection: Connection, runs: list[str], commit: int) -> list[str]:
    """Which of these runs are live or changed after ``commit``, excluding the trash; in the given order."""
    if not runs:
        return []
    changed = set(connection.execute(_CHANGED, {"runs": runs, "commit": commit}).scalars())
    return [run for run in runs if run in changed]


_CHANGED = text(
    "SELECT id FROM run WHERE id IN :runs AND deleted_at IS NULL"
    f" AND (status_commit > :commit OR status NOT IN {TERMINAL})"
).bindparams(bindparam("runs", expanding=True))


def _parsed(connection: Connection, where: RunFilter, now: float, walking: bool = False) -> SqlFilter:
    return parse_filter(where.q, now, words_of(connection), walking)


def conditions(
    connection: Connection, where: RunFilter, now: float, *, walking: bool = False, trash: bool = False
) -> tuple[str, dict[str, Any]]:
    """The SQL conditions of a filter.

    ``walking``: worded so that SQLite uses no index for them, since it is to read along another. ``trash``: including
    runs in the trash.
    """
    for status in where.status:
        if status not in STATES:
            raise QueryError("status", f"no status '{status[:40]}'; statuses: {', '.join(STATES)}")
    query = _parsed(connection, where, now, walking)
    conditions = list(query.conditions)
    if not trash:
        conditions.append(NOT_TRASHED if query.covered and where.narrows and not walking else NOT_DELETED)
    values = dict(query.values)
    for column in ("status", "family", "size", "dataset"):
        wanted = getattr(where, column)
        if wanted:
            names = {f"{column}{i}": value for i, value in enumerate(wanted)}
            value = f"run.{column} || ''" if walking else f"run.{column}"
            conditions.append(f"{value} IN ({', '.join(f':{name}' for name in names)})")
            values |= names
    if where.number:
        names = {f"number{i}": value for i, value in enumerate(where.number)}
        conditions.append(f"run.number IN ({', '.join(f':{name}' for name in names)})")
        values |= names
    for i, tag in enumerate(where.tag):
        conditions.append((in_turn_tags if walking else indexed_tags)(f"t.tag = :tag{i}"))
        values[f"tag{i}"] = tag
    return " AND ".join(conditions) or "TRUE", values


def distinct_values(connection: Connection, column: str) -> list[str]:
    """The distinct values of a column (family, size, dataset, "tag" or "metric"), sorted."""
    table, column, which = {
        "tag": ("run_tag", "tag", "TRUE"),
        "metric": ("metric_series", "name", "TRUE"),
    }.get(column, ("run", column, "deleted_at IS NULL"))
    # Jump from each value to the next along the index; DISTINCT would read the whole index.
    following = f"SELECT min({column}) FROM {table} WHERE {which}"
    statement = (
        f"WITH RECURSIVE found(value) AS ({following} UNION ALL"
        f" SELECT ({following} AND {column} > found.value) FROM found WHERE found.value IS NOT NULL)"
        " SELECT value FROM found WHERE value IS NOT NULL ORDER BY value"
    )
    return [str(value) for value in connection.execute(text(statement)).scalars()]


def _with_summaries(connection: Connection, records: list[dict[str, Any]]) -> list[RunRow]:
    ids = [row["id"] for row in records]
    summaries = read_summaries(connection, ids)
    tags = tags_of(connection, ids)
    return [RunRow(record(row, tags.get(row["id"], [])), summaries[row["id"]]) for row in records]


def runs_by_id(connection: Connection, ids: list[str]) -> list[RunRow]:
    """These runs in the given order; missing and deleted ids are left out."""
    if not ids:
        return []
    records = rows(connection.execute(_READ_RUNS, {"runs": ids}))
    order = {run: i for i, run in enumerate(ids)}
    records.sort(key=lambda row: order[row["id"]])
    return _with_summaries(connection, records)


_READ_RUNS = text("SELECT * FROM run WHERE id IN :runs AND deleted_at IS NULL").bindparams(
    bindparam("runs", expanding=True)
)


def active_runs(connection: Connection) -> list[RunRow]:
    """Runs owned by a worker or just lost, oldest first."""
    states = (*ACTIVE, "lost")
    records = rows(
        connection.execute(
            text(f"SELECT * FROM run WHERE status IN {states} AND deleted_at IS NULL ORDER BY started_at, number")
        )
    )
    return _with_summaries(connection, records)


def ended_runs(connection: Connection, limit: int) -> list[RunRow]:
    """Recently ended runs, newest end first."""
    # The status is an expression here, so that SQLite reads along the index of ended_at.
    statement = (
        "SELECT * FROM run WHERE ended_at IS NOT NULL AND deleted_at IS NULL"
        f" AND status || '' IN {TERMINAL} ORDER BY ended_at DESC, number DESC LIMIT :limit"
    )
    return _with_summaries(connection, rows(connection.execute(text(statement), {"limit": limit})))
