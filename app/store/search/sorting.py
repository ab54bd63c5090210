"""The order of the run table, and how a page of it is found.

Runs stand in the order of a column, of their duration or of a figure of a metric, equal ones in the order of further
keys and then the newest first, those without a value last in either direction. However many there are, a page is read
from where the one before it ended, along an index of (value, number); figures that change with every point, such as the
last, have none and are sorted each time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from app.contract.errors import QueryError
from app.store.curve import larger_is_better

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
    "duration": "coalesce(run.ended_at, :now) - run.started_at - run.asleep_seconds",
}
# The condition of the indexes.
THERE = "run.deleted_at IS NULL"
NULLABLE = ("params", "started", "ended")
# The figures of a metric, and the columns of its series.
OF_METRIC = {"best": "best", "last": "last", "min": "low", "max": "high"}
MOST_KEYS = 3

Values = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Runs that have a value, as an index holds them: the tables, their value, and what is true where they have one."""

    tables: str
    value: str
    known: str
    number: str = "run.number"


@dataclass(frozen=True)
class Then:
    """A further key, by which runs with equal values of the keys before it are ordered; NULL last."""

    value: str
    join: str
    descending: bool
    values: Values


@dataclass(frozen=True)
class Order:
    """What the table is sorted by. ``value`` and ``join`` give every run its value or NULL, the sources together all
    runs that have one; ``missing`` is true of those that have none, and "" where each run has one. ``indexed``: an
    index has that order. ``then`` orders those that are equal."""

    value: str
    join: str
    sources: tuple[Source, ...]
    missing: str
    descending: bool
    values: Values
    indexed: bool = True
    then: tuple[Then, ...] = ()

    @property
    def along(self) -> bool:
        """Whether a page is found along an index."""
        return self.indexed and (not self.then or len(self.sources) == 1)

    @property
    def direction(self) -> str:
        return "DESC" if self.descending else "ASC"

    @property
    def beyond(self) -> str:
        """What a later value is, compared with an earlier one."""
        return "<" if self.descending else ">"


def keys_of(sort: str) -> list[str]:
    """The keys of a sort, each with its minus, the first of each column."""
    found: dict[str, str] = {}
    for key in (part.strip() for part in sort.split(",")):
        if key:
            found.setdefault(key.lstrip("-"), key)
    return list(found.values())


def metric_figure(key: str) -> tuple[str, str]:
    """The metric and the figure that a key names: val/loss.last is ("val/loss", "last"); val/loss its best."""
    name, _, which = key.rpartition(".")
    return (name, which) if name and which in OF_METRIC else (key, "best")


def _column_of(metric: str, which: str) -> str:
    """The column of a figure; of two that are equal the one that has an index."""
    best = "max" if larger_is_better(metric) else "min"
    return "best" if which == best else OF_METRIC[which]


def read_order(sort: str, now: float) -> Order:
    """The order that keys of COLUMNS or figures of metrics name, "-" before one for the largest first.

    Several by comma: each further one orders what is equal in those before it. Raises QueryError.
    """
    keys = keys_of(sort) or [sort]
    if len(keys) > MOST_KEYS:
        raise QueryError("sort", f"a table is sorted by {MOST_KEYS} columns at most")
    first, further = _first_key(keys[0], now), []
    for i, key in enumerate(keys[1:]):
        # No two runs share a number.
        if "number" in [each.lstrip("-") for each in keys[: i + 1]]:
            _first_key(key, now)
            continue
        further.append(_further_key(key, now, i))
    return replace(first, then=tuple(further))


def _first_key(sort: str, now: float) -> Order:
    descending, key = sort.startswith("-"), sort.lstrip("-")
    if key == "duration":
        # Of runs that have ended it is a column; the others, whose duration grows, are few.
        ended = Source("run", "run.trained_seconds", f"run.trained_seconds IS NOT NULL AND {THERE}")
        going = Source(
            "run",
            ":now - run.started_at - run.asleep_seconds",
            f"run.ended_at IS NULL AND run.started_at IS NOT NULL AND {THERE}",
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
    metric, which = metric_figure(key)
    column = _column_of(metric, which)
    # CROSS JOIN: SQLite reads the metric's index first, whatever is asked of the runs.
    source = Source(
        "metric_series s CROSS JOIN run",
        f"s.{column}",
        f"s.name = :metric AND s.{column} IS NOT NULL AND run.number = s.run_number",
        "s.run_number",
    )
    missing = (
        "NOT EXISTS (SELECT 1 FROM metric_series s"
        f" WHERE s.run = run.id AND s.name = :metric AND s.{column} IS NOT NULL)"
    )
    join = " LEFT JOIN metric_series s ON s.run = run.id AND s.name = :metric"
    return Order(f"s.{column}", join, (source,), missing, descending, {"metric": metric}, column == "best")


def _further_key(sort: str, now: float, place: int) -> Then:
    found = _first_key(sort, now)
    if "metric" not in found.values:
        return Then(found.value, "", found.descending, found.values)
    alias, name = f"s{place}", f"metric{place}"
    join = found.join.replace(" s ", f" {alias} ").replace("s.", f"{alias}.").replace(":metric", f":{name}")
    value = found.value.replace("s.", f"{alias}.")
    return Then(value, join, found.descending, {name: found.values["metric"]})
