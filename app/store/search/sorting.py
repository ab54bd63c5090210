"""Sort orders of the run table, and the SQL that reads a page in that order.

Runs can be sorted by a column, by duration or by a figure of a metric. Ties are broken by further keys and then newest
first; runs without a value come last in both directions. A page starts where the previous one ended and is read along
an index of (value, number). Figures that change with every point, such as the last value, have no index and are sorted
each time.
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
# The condition of the partial indexes.
NOT_DELETED = "run.deleted_at IS NULL"
NULLABLE = ("params", "started", "ended")
# Figures of a metric -> columns of metric_series.
METRIC_COLUMNS = {"best": "best", "last": "last", "min": "low", "max": "high"}
MAX_KEYS = 3

Values = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Runs that have a value, as one index yields them: tables, value, and which of their rows are meant.

    ``narrow``: tables and scope that need only the index, and so also yield runs in the trash.
    """

    tables: str
    value: str
    scope: str
    number: str = "run.number"
    narrow: tuple[str, str] | None = None

    @property
    def known(self) -> str:
        """The condition for having a value.

        Where the value is compared, only ``scope`` belongs beside it: SQLite could take this for the lower bound, and
        read everything below the other one.
        """
        return f"{self.scope} AND {self.value} IS NOT NULL"


@dataclass(frozen=True)
class Then:
    """A tie-breaking sort key; NULL sorts last."""

    value: str
    join: str
    descending: bool
    values: Values


@dataclass(frozen=True)
class Order:
    """What the table is sorted by.

    ``value`` and ``join`` give every run its value or NULL; ``sources`` together yield all runs that have one.
    ``missing`` is the condition for having none, or "" if every run has a value. ``indexed``: an index provides this
    order. ``then`` breaks ties.
    """

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
        """Whether a page can be read along an index."""
        return self.indexed and (not self.then or len(self.sources) == 1)

    @property
    def direction(self) -> str:
        return "DESC" if self.descending else "ASC"

    @property
    def beyond(self) -> str:
        """The operator that compares a later value with an earlier one."""
        return "<" if self.descending else ">"


def keys_of(sort: str) -> list[str]:
    """Split a sort into its keys, each with its minus sign; repeated columns are dropped."""
    keys: dict[str, str] = {}
    for key in (part.strip() for part in sort.split(",")):
        if key:
            keys.setdefault(key.lstrip("-"), key)
    return list(keys.values())


def metric_figure(key: str) -> tuple[str, str]:
    """Split a key into metric and figure: val/loss.last is ("val/loss", "last"); val/loss means its best value."""
    name, _, which = key.rpartition(".")
    return (name, which) if name and which in METRIC_COLUMNS else (key, "best")


def _column_of(metric: str, which: str) -> str:
    """The column of a figure; prefers the indexed ``best`` when it equals min or max."""
    best = "max" if larger_is_better(metric) else "min"
    return "best" if which == best else METRIC_COLUMNS[which]


def read_order(sort: str, now: float) -> Order:
    """Parse a sort: keys of COLUMNS or figures of metrics, "-" for descending.

    Separate several keys with commas; each one breaks ties of those before it. Raises QueryError.
    """
    keys = keys_of(sort) or [sort]
    if len(keys) > MAX_KEYS:
        raise QueryError("sort", f"the run table can be sorted by at most {MAX_KEYS} columns")
    first, further = _first_key(keys[0], now), []
    for i, key in enumerate(keys[1:]):
        # Numbers are unique, so later keys have no effect.
        if "number" in [earlier.lstrip("-") for earlier in keys[: i + 1]]:
            _first_key(key, now)
            continue
        further.append(_further_key(key, now, i))
    return replace(first, then=tuple(further))


def _first_key(sort: str, now: float) -> Order:
    descending, key = sort.startswith("-"), sort.lstrip("-")
    if key == "duration":
        # Ended runs have a stored duration; running ones, whose duration still grows, are few.
        ended = Source("run", "run.trained_seconds", NOT_DELETED)
        running = Source(
            "run",
            ":now - run.started_at - run.asleep_seconds",
            f"run.ended_at IS NULL AND run.started_at IS NOT NULL AND {NOT_DELETED}",
        )
        return Order(COLUMNS[key], "", (ended, running), "run.started_at IS NULL", descending, {"now": now})
    if key in COLUMNS:
        value = COLUMNS[key]
        missing = f"{value} IS NULL" if key in NULLABLE else ""
        return Order(value, "", (Source("run", value, NOT_DELETED),), missing, descending, {})
    if "/" not in key:
        raise QueryError(
            "sort", f"cannot sort by '{key[:40]}'; columns: {', '.join(COLUMNS)}, or a metric such as test/acc"
        )
    metric, which = metric_figure(key)
    column = _column_of(metric, which)
    # CROSS JOIN makes SQLite read the metric's index first, whatever the other conditions are.
    source = Source(
        "metric_series s CROSS JOIN run",
        f"s.{column}",
        "s.name = :metric AND run.number = s.run_number",
        "s.run_number",
        narrow=("metric_series s", "s.name = :metric"),
    )
    missing = (
        "NOT EXISTS (SELECT 1 FROM metric_series s"
        f" WHERE s.run = run.id AND s.name = :metric AND s.{column} IS NOT NULL)"
    )
    join = " LEFT JOIN metric_series s ON s.name = :metric AND s.run_number = run.number"
    return Order(f"s.{column}", join, (source,), missing, descending, {"metric": metric}, column == "best")


def _further_key(sort: str, now: float, place: int) -> Then:
    order = _first_key(sort, now)
    if "metric" not in order.values:
        return Then(order.value, "", order.descending, order.values)
    alias, name = f"s{place}", f"metric{place}"
    join = order.join.replace(" s ", f" {alias} ").replace("s.", f"{alias}.").replace(":metric", f":{name}")
    value = order.value.replace("s.", f"{alias}.")
    return Then(value, join, order.descending, {name: order.values["metric"]})
