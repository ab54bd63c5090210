"""The run table: filter, sort by any column or metric, keyset paging."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, text

from app.contract.errors import QueryError
from app.store.cursor import read_cursor, write_cursor
from app.store.database import rows
from app.store.metric import Summary, read_summaries
from app.store.run import ACTIVE, STATES, TERMINAL, RunRecord, record, tags_of
from app.store.search.pagination import Place, TooFarApart, sort_all, walk
from app.store.search.query_language import asked_by
from app.store.search.sorting import THERE, read_order

# So many runs are sorted sooner than found one by one among all others; and so far they are looked for before.
SORTED_AT_ONCE = 2000
LOOKED_AHEAD = 2000


@dataclass(frozen=True)
class RunFilter:
    """Which runs: every list is "one of these" (of tags: all of these), empty lists do not filter.

    ``q`` is a question in the words of `app.store.search.query_language`.
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
        """Whether any run could be left out."""
        return bool(self.status or self.family or self.size or self.dataset or self.tag or self.q or self.number)


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
    """Runs that match, sorted by columns of COLUMNS or figures of metrics ("-test/acc,params": the largest best value
    first, of equal ones the smallest).

    Runs without a value come last in either direction. Raises QueryError.
    """
    order = read_order(sort, now)
    behind = read_cursor(after, len(order.then)) if after else None
    # What is asked in words is asked of every run, so that is done once.
    total = None if where.q else count_runs(connection, where, now)
    found: list[Place] | None = None
    if not where.narrows and (order.along or not order.then):
        found = walk(connection, order, THERE, {}, limit + 1, behind)
    elif where.narrows and order.indexed and not order.then and total is not None and total > SORTED_AT_ONCE:
        with suppress(TooFarApart):
            matching, values = conditions(where, now, along_the_way=True)
            found = walk(connection, order, matching, values, limit + 1, behind, LOOKED_AHEAD)
    if found is None:
        found, counted = sort_all(connection, order, *conditions(where, now), limit + 1, behind)
        total = counted if total is None else total
    last = found[limit - 1] if len(found) > limit else None
    cursor = write_cursor(last.value, last.number, last.then) if last is not None else None
    shown = runs_by_id(connection, [place.run for place in found[:limit]])
    return RunPage(shown, cursor, count_runs(connection, where, now) if total is None else total)


def count_runs(connection: Connection, where: RunFilter, now: float | None = None) -> int:
    """How many runs match; ``now`` is what durations that still grow are measured to. Raises QueryError."""
    if not where.narrows:
        # All but the trash: a table's rows are counted without reading them.
        return int(connection.execute(_COUNT_ALL).scalar_one())
    matching, values = conditions(where, time.time() if now is None else now)
    return int(connection.execute(text(f"SELECT count(*) FROM run WHERE {matching}"), values).scalar_one())


_COUNT_ALL = text("SELECT (SELECT count(*) FROM run) - (SELECT count(*) FROM run WHERE deleted_at IS NOT NULL)")


def matching_ids(connection: Connection, where: RunFilter, limit: int, now: float) -> list[str]:
    """The ids of runs that match, the newest first. Raises QueryError."""
    matching, values = conditions(where, now)
    statement = f"SELECT run.id FROM run WHERE {matching} ORDER BY run.number DESC LIMIT :limit"
    return [str(run) for run in connection.execute(text(statement), values | {"limit": limit}).scalars()]


def changed_since(connection: Connection, runs: list[str], commit: int) -> list[str]:
    """Which of these runs live or have changed after ``commit``, and are outside the trash; in this order."""
    if not runs:
        return []
    found = set(connection.execute(_CHANGED, {"runs": runs, "commit": commit}).scalars())
    return [run for run in runs if run in found]


_CHANGED = text(
    "SELECT id FROM run WHERE id IN :runs AND deleted_at IS NULL"
    f" AND (status_commit > :commit OR status NOT IN {TERMINAL})"
).bindparams(bindparam("runs", expanding=True))


def conditions(where: RunFilter, now: float, along_the_way: bool = False) -> tuple[str, dict[str, Any]]:
    """What is true of the runs that match: to find them by, or only to be checked along the way of another index."""
    for status in where.status:
        if status not in STATES:
            raise QueryError("status", f"no status '{status[:40]}'; statuses: {', '.join(STATES)}")
    asked = asked_by(where.q, now)
    # No index knows an expression: what is looked for in every run is read as the runs lie in the table.
    conditions = ["run.deleted_at || '' IS NULL" if asked.texts else THERE, *asked.conditions]
    values = dict(asked.values)
    for column in ("status", "family", "size", "dataset"):
        wanted = getattr(where, column)
        if wanted:
            names = {f"{column}{i}": value for i, value in enumerate(wanted)}
            value = f"run.{column} || ''" if along_the_way else f"run.{column}"
            conditions.append(f"{value} IN ({', '.join(f':{name}' for name in names)})")
            values |= names
    if where.number:
        names = {f"number{i}": value for i, value in enumerate(where.number)}
        conditions.append(f"run.number IN ({', '.join(f':{name}' for name in names)})")
        values |= names
    for i, tag in enumerate(where.tag):
        conditions.append(
            f"EXISTS (SELECT 1 FROM run_tag t WHERE t.run = run.id AND t.tag = :tag{i})"
            if along_the_way
            else f"run.id IN (SELECT run FROM run_tag WHERE tag = :tag{i})"
        )
        values[f"tag{i}"] = tag
    return " AND ".join(conditions), values


def distinct_values(connection: Connection, column: str) -> list[str]:
    """What runs have in ``column`` (family, size, dataset, "tag", or "metric"), each once and sorted."""
    table, column, which = {
        "tag": ("run_tag", "tag", "TRUE"),
        "metric": ("metric_series", "name", "TRUE"),
    }.get(column, ("run", column, "deleted_at IS NULL"))
    # From each value to the next along the index, where DISTINCT reads the index from end to end.
    following = f"SELECT min({column}) FROM {table} WHERE {which}"
    statement = (
        f"WITH RECURSIVE found(value) AS ({following} UNION ALL"
        f" SELECT ({following} AND {column} > found.value) FROM found WHERE found.value IS NOT NULL)"
        " SELECT value FROM found WHERE value IS NOT NULL ORDER BY value"
    )
    return [str(value) for value in connection.execute(text(statement)).scalars()]


def _with_summaries(connection: Connection, found: list[dict[str, Any]]) -> list[RunRow]:
    ids = [row["id"] for row in found]
    summaries = read_summaries(connection, ids)
    tags = tags_of(connection, ids)
    return [RunRow(record(row, tags.get(row["id"], [])), summaries[row["id"]]) for row in found]


def runs_by_id(connection: Connection, ids: list[str]) -> list[RunRow]:
    """These runs in this order; ids that do not exist or lie in the trash are left out."""
    if not ids:
        return []
    found = rows(connection.execute(_READ_RUNS, {"runs": ids}))
    asked = {run: i for i, run in enumerate(ids)}
    found.sort(key=lambda row: asked[row["id"]])
    return _with_summaries(connection, found)


_READ_RUNS = text("SELECT * FROM run WHERE id IN :runs AND deleted_at IS NULL").bindparams(
    bindparam("runs", expanding=True)
)


def active_runs(connection: Connection) -> list[RunRow]:
    """Runs that a worker holds or that were just lost, oldest first."""
    states = (*ACTIVE, "lost")
    found = rows(
        connection.execute(
            text(f"SELECT * FROM run WHERE status IN {states} AND deleted_at IS NULL ORDER BY started_at, number")
        )
    )
    return _with_summaries(connection, found)


def ended_runs(connection: Connection, limit: int) -> list[RunRow]:
    """The runs that ended last, the newest end first."""
    # The status is an expression here, so that SQLite reads along the index of ends.
    statement = (
        "SELECT * FROM run WHERE ended_at IS NOT NULL AND deleted_at IS NULL"
        f" AND status || '' IN {TERMINAL} ORDER BY ended_at DESC, number DESC LIMIT :limit"
    )
    return _with_summaries(connection, rows(connection.execute(text(statement), {"limit": limit})))
