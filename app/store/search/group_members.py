"""Runs as members of groups: only what groups are made by and summed up from, however many match."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection, bindparam, text

from app.store.search.query import RunFilter, conditions
from app.store.search.sorting import OF_METRIC, metric_figure

AT_ONCE = 5000


@dataclass(frozen=True)
class Member:
    """A run with the figures that were asked for, by key; those that it has."""

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
    """The newest runs that match with the figures that ``keys`` name, and whether there are more. Raises QueryError."""
    matching, values = conditions(where, now)
    statement = (
        "SELECT id, number, status, seed, origin, family, size, dataset, recipe, worker, device, sweep, params,"
        f" started_at, ended_at, config FROM run WHERE {matching} ORDER BY number DESC LIMIT :most"
    )
    found = connection.execute(text(statement), values | {"most": most + 1}).mappings().all()
    members = {}
    for row in found[:most]:
        said = dict(row)
        config = from_json(said.pop("config"))
        members[said["id"]] = Member(
            said["id"], said["number"], said["status"], said["seed"], bool(said["origin"]), said, config
        )
    wanted: dict[str, list[tuple[str, str]]] = {}
    for key in keys:
        if "/" in key:
            name, which = metric_figure(key)
            wanted.setdefault(name, []).append((key, OF_METRIC[which]))
    for member in members.values():
        _add_own(member, keys, now)
    if wanted and members:
        for series in _series(connection, list(members), list(wanted)):
            for key, column in wanted[series["name"]]:
                if series[column] is not None:
                    members[series["run"]].figures[key] = series[column]
    return list(members.values()), len(found) > most


def _add_own(member: Member, keys: Sequence[str], now: float) -> None:
    row = member.row
    if "params" in keys and row["params"] is not None:
        member.figures["params"] = row["params"]
    if "duration" in keys and row["started_at"] is not None:
        member.figures["duration"] = (row["ended_at"] or now) - row["started_at"]


def _series(connection: Connection, runs: list[str], names: list[str]) -> Iterator[Any]:
    for start in range(0, len(runs), AT_ONCE):
        part = {"runs": runs[start : start + AT_ONCE], "names": names}
        yield from connection.execute(_SERIES, part).mappings()


_SERIES = text(
    "SELECT run, name, best, last, low, high FROM metric_series WHERE run IN :runs AND name IN :names"
).bindparams(bindparam("runs", expanding=True), bindparam("names", expanding=True))
