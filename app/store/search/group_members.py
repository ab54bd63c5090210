"""Runs as members of groups: only the columns that grouping and its statistics need, for any number of matches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection, bindparam, text

from app.store.search.query import RunFilter, conditions
from app.store.search.sorting import METRIC_COLUMNS, metric_figure

BATCH = 5000


@dataclass(frozen=True)
class Member:
    """A run with the requested figures, by key; figures that it lacks are absent."""

    id: str
    number: int
    status: str
    seed: int | None
    logged: bool
    row: dict[str, Any]
    config: dict[str, Any]
    figures: dict[str, float] = field(default_factory=dict)


def read_members(
    connection: Connection, where: RunFilter, keys: Sequence[str], most: int, now: float
) -> tuple[list[Member], bool]:
    """The newest matching runs with the figures named by ``keys``, and whether there are more. Raises QueryError."""
    matching, values = conditions(connection, where, now)
    statement = (
        "SELECT id, number, status, seed, origin, family, size, dataset, recipe, worker, device, sweep, params,"
        f" started_at, ended_at, config FROM run WHERE {matching} ORDER BY number DESC LIMIT :most"
    )
    result = connection.execute(text(statement), values | {"most": most + 1}).mappings().all()
    members = {}
    for row in result[:most]:
        columns = dict(row)
        config = from_json(columns.pop("config"))
        members[columns["id"]] = Member(
            columns["id"],
            columns["number"],
            columns["status"],
            columns["seed"],
            bool(columns["origin"]),
            columns,
            config,
        )
    wanted: dict[str, list[tuple[str, str]]] = {}
    for key in keys:
        if "/" in key:
            name, which = metric_figure(key)
            wanted.setdefault(name, []).append((key, METRIC_COLUMNS[which]))
    for member in members.values():
        _add_own(member, keys, now)
    if wanted and members:
        for series in _series(connection, list(members), list(wanted)):
            for key, column in wanted[series["name"]]:
                if series[column] is not None:
                    members[series["run"]].figures[key] = series[column]
    return list(members.values()), len(result) > most


def _add_own(member: Member, keys: Sequence[str], now: float) -> None:
    row = member.row
    if "params" in keys and row["params"] is not None:
        member.figures["params"] = row["params"]
    if "duration" in keys and row["started_at"] is not None:
        member.figures["duration"] = (row["ended_at"] or now) - row["started_at"]


def _series(connection: Connection, runs: list[str], names: list[str]) -> Iterator[Any]:
    for start in range(0, len(runs), BATCH):
        part = {"runs": runs[start : start + BATCH], "names": names}
        yield from connection.execute(_SERIES, part).mappings()


_SERIES = text(
    "SELECT run, name, best, last, low, high FROM metric_series WHERE run IN :runs AND name IN :names"
).bindparams(bindparam("runs", expanding=True), bindparam("names", expanding=True))
