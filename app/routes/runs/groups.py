"""/runs?group=…: matching runs as groups, with mean, median, minimum and maximum of each metric."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from app.analysis.groups import SEED_SETTINGS
from app.analysis.statistics import Mean, mean_of
from app.contract.errors import QueryError
from app.contract.metric_names import is_accuracy
from app.contract.spec import RunConfig
from app.routes.runs.columns import title_of
from app.routes.runs.table_request import DEFAULT_SORT, TableQuery
from app.store.run import TERMINAL
from app.store.search.group_members import Member, read_members
from app.store.search.sorting import metric_figure
from app.web.formatting import (
    count,
    format_duration,
    format_setting,
    format_short,
    metric_value,
    upper_first,
)
from app.web.run_selection import MOST_RUNS as MOST_COMPARED
from app.web.run_summary import HIDDEN_SETTINGS

MOST_RUNS = 5000
MOST_GROUPS = 200
MOST_LIVE = 1000
DEFAULT_METRICS = "val/acc,test/acc,duration"
MOST_SHOWN = 40
STATISTICS = ("mean", "median", "min", "max")
ROW_FIELDS = ("status", "worker", "device", "sweep")
FIELDS = ("variant", *ROW_FIELDS, *(name for name in RunConfig.model_fields if name not in (*HIDDEN_SETTINGS, "tags")))
NOT_VARIANT = (*SEED_SETTINGS, "name", "tags", "notes", "priority", "preset")


@dataclass(frozen=True)
class Spread:
    """Statistics of a metric over the members of a group that have it."""

    mean: Mean
    median: float
    min: float
    max: float

    def part(self, name: str) -> float:
        """Return the value of one of STATISTICS."""
        return self.mean.mean if name == "mean" else float(getattr(self, name))


@dataclass(frozen=True)
class Heading:
    """A sortable column heading and the address of the table sorted by it."""

    name: str
    title: str
    href: str
    order: str


@dataclass(frozen=True)
class MetricColumns:
    """The columns of a metric: its heading and one subheading per statistic."""

    key: str
    title: str
    parts: list[Heading]


@dataclass(frozen=True)
class GroupTableRow:
    """A group in the table: its titles, its members, and the cell texts of each metric in the order of STATISTICS."""

    titles: list[str]
    members: list[Member]
    spreads: dict[str, Spread]
    cells: list[str]

    @property
    def number(self) -> int:
        """Number of the oldest member, whose color the group has."""
        return self.members[-1].number

    @property
    def listed(self) -> list[Member]:
        """The members that are listed below the title, by seed."""
        return sorted(self.members[:MOST_SHOWN], key=lambda member: (member.seed, member.number))

    @property
    def ids(self) -> str:
        """Comma-separated IDs of all members, for bulk actions."""
        return ",".join(member.id for member in self.members)

    @property
    def compared(self) -> str:
        """Comma-separated IDs of the members that fit into one comparison."""
        return ",".join(member.id for member in self.members[:MOST_COMPARED])

    @property
    def seeds(self) -> int:
        """Number of distinct seeds."""
        return len({member.seed for member in self.members})


@dataclass(frozen=True)
class GroupTable:
    """The table of groups. ``capped``: older matching runs are left out."""

    headings: list[Heading]
    columns: list[MetricColumns]
    rows: list[GroupTableRow]
    runs: int
    groups: int
    capped: bool

    @property
    def live(self) -> bool:
        """Whether the table refreshes when a run changes; it costs too much with more than MOST_LIVE runs."""
        members = [member for row in self.rows for member in row.members]
        return self.runs <= MOST_LIVE and any(member.status not in TERMINAL for member in members)

    @property
    def hidden(self) -> int:
        """Number of groups that are not shown."""
        return self.groups - len(self.rows)


def metric_keys(columns: str) -> list[str]:
    """Return the metrics among the selected columns, or the default ones if there are none."""
    keys = [key for key in columns.split(",") if "/" in key or key in ("params", "duration")]
    return keys or DEFAULT_METRICS.split(",")


def read_groups(connection: Connection, query: TableQuery) -> GroupTable:
    """Group the runs that match a table query. Raises QueryError."""
    fields = _fields(query.group)
    keys = metric_keys(query.columns)
    members, capped = read_members(connection, query.where, keys, MOST_RUNS, time.time())
    by_key: dict[str, list[Member]] = {}
    for member in members:
        by_key.setdefault(_key(member, fields), []).append(member)
    rows = [_row(group, fields, keys) for group in by_key.values()]
    _title_variants(rows, fields)
    _sort(rows, query.sort, keys)
    headings = [
        _heading(query, "group", upper_first(", ".join(title_of(name) for name in fields)), ""),
        _heading(query, "n", "runs", "-"),
    ]
    columns = [
        MetricColumns(
            key,
            title_of(key),
            [_heading(query, f"{key}@{part}", "mean ± 95%" if part == "mean" else part, "-") for part in STATISTICS],
        )
        for key in keys
    ]
    return GroupTable(headings, columns, rows[:MOST_GROUPS], len(members), len(rows), capped)


def _fields(group: str) -> list[str]:
    fields = group.split(",")
    for name in fields:
        if name not in FIELDS and not name.startswith("option."):
            raise QueryError("group", f"cannot group by '{name[:40]}'; fields: {', '.join(FIELDS)}, option.NAME")
    return fields


def _value(member: Member, name: str) -> Any:
    if name in ROW_FIELDS:
        return member.row[name]
    if name.startswith("option."):
        return member.config.get("options", {}).get(name.removeprefix("option."))
    if name == "variant" and member.config.get("program"):
        # Its parameters say what differs between its runs; the command line would only repeat them.
        head = {"family": member.row["family"], "program": member.config["program"]}
        return head | {key: value for key, value in member.config["options"].items() if key not in SEED_SETTINGS}
    if name == "variant":
        return {key: value for key, value in member.config.items() if key not in NOT_VARIANT}
    return member.config.get(name)


def _key(member: Member, fields: Sequence[str]) -> str:
    return json.dumps([_value(member, name) for name in fields], sort_keys=True)


def _row(members: list[Member], fields: Sequence[str], keys: Sequence[str]) -> GroupTableRow:
    titles = ["" if name == "variant" else format_setting(_value(members[0], name)) for name in fields]
    spreads = {}
    samples = _samples(members)
    for key in keys:
        values = [member.figures[key] for member in samples if key in member.figures]
        if values:
            spreads[key] = Spread(mean_of(values), statistics.median(values), min(values), max(values))
    cells = [word for key in keys for word in _cells(key, spreads.get(key))]
    return GroupTableRow(titles, members, spreads, cells)


def _samples(members: list[Member]) -> list[Member]:
    """Return one run per seed, the newest that succeeded; runs trained elsewhere all count."""
    counted: dict[str, Member] = {}
    for member in sorted(members, key=lambda member: (member.status == "succeeded", member.number)):
        configuration = json.dumps([_value(member, "variant"), member.seed], sort_keys=True)
        counted[member.id if member.logged else configuration] = member
    return list(counted.values())


def _cells(key: str, spread: Spread | None) -> list[str]:
    if spread is None:
        return ["–"] * len(STATISTICS)
    format_value = _formatter(key)
    mean = format_value(spread.mean.mean)
    if spread.mean.half is not None and spread.min != spread.max:
        if key not in ("params", "duration") and is_accuracy(metric_figure(key)[0]):
            mean = f"{100 * spread.mean.mean:.2f} ± {100 * spread.mean.half:.2f}%"
        else:
            mean = f"{mean} ± {format_value(spread.mean.half)}"
    return [mean, format_value(spread.median), format_value(spread.min), format_value(spread.max)]


def _formatter(key: str) -> Callable[[float], str]:
    match key:
        case "params":
            return lambda value: count(round(value))
        case "duration":
            return format_duration
    name = metric_figure(key)[0]
    if name.startswith("system/"):
        return format_short
    return lambda value: metric_value(name, value)


def _title_variants(rows: list[GroupTableRow], fields: Sequence[str]) -> None:
    """Title each variant with the settings that distinguish it from the other variants."""
    if "variant" not in fields:
        return
    place = fields.index("variant")
    configs = [_value(row.members[0], "variant") for row in rows]
    first = ("family", "size", "dataset")
    names = sorted({name for config in configs for name in config} - set(first))
    heads = [" ".join(str(config.get(name, "")) for name in first) for config in configs]
    by_head: dict[str, list[dict[str, Any]]] = {}
    for config, head in zip(configs, heads, strict=True):
        by_head.setdefault(head, []).append(config)
    distinguishing = {
        head: [
            name for name in names if len({json.dumps(config.get(name), sort_keys=True) for config in same_head}) > 1
        ]
        for head, same_head in by_head.items()
    }
    for row, config, head in zip(rows, configs, heads, strict=True):
        own = [f"{name.replace('_', ' ')} {format_setting(config.get(name))}" for name in distinguishing[head]]
        row.titles[place] = " · ".join([head, *own])


# Order ---------------------------------------------------------------------------------------------------------------


def _heading(query: TableQuery, key: str, title: str, first: str) -> Heading:
    current = query.sort.lstrip("-") == key
    down = query.sort.startswith("-")
    next_sort = (key if down else f"-{key}") if current else first + key
    order = ("descending" if down else "ascending") if current else "none"
    return Heading(key, title, query.address(sort=next_sort), order)


def _sort(rows: list[GroupTableRow], sort: str, keys: Sequence[str]) -> None:
    """Sort in place; groups keep the order of their newest runs if the sort is not one of groups."""
    key, down = sort.lstrip("-"), sort.startswith("-")
    if key == "group":
        rows.sort(key=lambda row: row.titles, reverse=down)
    elif key == "n":
        rows.sort(key=lambda row: len(row.members), reverse=down)
    else:
        name, _, part = key.partition("@")
        part = part or "mean"
        if name not in keys or part not in STATISTICS:
            if sort not in (DEFAULT_SORT, "number"):
                raise QueryError(
                    "sort",
                    f"cannot sort groups by '{key[:40]}'; use group, n, or {keys[0]}@mean, @median, @min, @max",
                )
            return
        known = [row for row in rows if name in row.spreads]
        known.sort(key=lambda row: row.spreads[name].part(part), reverse=down)
        rows[:] = known + [row for row in rows if name not in row.spreads]
