"""/runs?group=…: runs that match as groups, each with its figures as mean, median and extremes."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from app.analysis.groups import OWN
from app.analysis.statistics import Mean, mean_of
from app.contract.errors import QueryError
from app.contract.spec import RunConfig
from app.routes.runs.columns import title_of
from app.routes.runs.table_request import USUAL_SORT, Listing
from app.store.run import TERMINAL
from app.store.search.group_members import Member, read_members
from app.store.search.sorting import metric_figure
from app.web.formatting import count, format_duration, format_number, format_setting, format_short, metric_value
from app.web.run_selection import MOST_RUNS as MOST_COMPARED
from app.web.run_summary import UNSEEN

MOST_RUNS = 5000
MOST_GROUPS = 200
MOST_LIVE = 1000
USUAL_FIGURES = "val/acc,test/acc,duration"
MOST_SHOWN = 40
PARTS = ("mean", "median", "min", "max")
ROW_FIELDS = ("status", "worker", "device", "sweep")
FIELDS = ("variant", *ROW_FIELDS, *(name for name in RunConfig.model_fields if name not in (*UNSEEN, "tags")))
NOT_VARIANT = (*OWN, "name", "tags", "notes", "priority", "preset")


@dataclass(frozen=True)
class Spread:
    """A figure over the members of a group that have it."""

    mean: Mean
    median: float
    min: float
    max: float

    def part(self, name: str) -> float:
        """One of PARTS."""
        return self.mean.mean if name == "mean" else float(getattr(self, name))


@dataclass(frozen=True)
class Part:
    """A heading beneath that of a figure, and the address of the table sorted by it."""

    name: str
    title: str
    href: str
    order: str


@dataclass(frozen=True)
class FigureColumn:
    """A figure of groups: its heading and those beneath it."""

    key: str
    title: str
    parts: list[Part]


@dataclass(frozen=True)
class Row:
    """A group in the table: its title in words, its members, and each figure in the words of PARTS."""

    titles: list[str]
    members: list[Member]
    spreads: dict[str, Spread]
    cells: list[str]

    @property
    def number(self) -> int:
        """Of its oldest member, whose color it has."""
        return self.members[-1].number

    @property
    def shown(self) -> list[Member]:
        """Those of its members that are listed beneath it, by seed."""
        return sorted(self.members[:MOST_SHOWN], key=lambda each: (each.seed, each.number))

    @property
    def ids(self) -> str:
        """Its members by comma, for a comparison or an act."""
        return ",".join(each.id for each in self.members)

    @property
    def compared(self) -> str:
        """Those of them that a comparison takes."""
        return ",".join(each.id for each in self.members[:MOST_COMPARED])

    @property
    def seeds(self) -> int:
        """How many different seeds it has."""
        return len({each.seed for each in self.members})


@dataclass(frozen=True)
class Grouped:
    """All groups; ``capped``: older runs that match are left out, ``hidden`` how many groups are."""

    headings: list[Part]
    columns: list[FigureColumn]
    rows: list[Row]
    runs: int
    groups: int
    capped: bool

    @property
    def live(self) -> bool:
        """Whether they are read anew while a run of them changes; that of thousands would cost more than it tells."""
        members = [each for row in self.rows for each in row.members]
        return self.runs <= MOST_LIVE and any(each.status not in TERMINAL for each in members)

    @property
    def hidden(self) -> int:
        """How many groups are not shown."""
        return self.groups - len(self.rows)


def figures_of(columns: str) -> list[str]:
    """The figures among the chosen columns; the usual ones where there is none."""
    found = [key for key in columns.split(",") if "/" in key or key in ("params", "duration")]
    return found or USUAL_FIGURES.split(",")


def read_groups(connection: Connection, shown: Listing) -> Grouped:
    """Groups of the runs that a table shows. Raises QueryError."""
    fields = _fields(shown.group)
    keys = figures_of(shown.columns)
    now = time.time()
    members, capped = read_members(connection, shown.where, keys, MOST_RUNS, now)
    found: dict[str, list[Member]] = {}
    for member in members:
        found.setdefault(_key(member, fields), []).append(member)
    rows = [_row(each, fields, keys) for each in found.values()]
    _name_variants(rows, fields)
    _sort(rows, shown.sort, keys)
    headings = [_heading(shown, "group", ", ".join(fields), ""), _heading(shown, "n", "runs", "-")]
    columns = [
        FigureColumn(
            key,
            title_of(key),
            [_heading(shown, f"{key}@{part}", "mean ± 95 %" if part == "mean" else part, "-") for part in PARTS],
        )
        for key in keys
    ]
    return Grouped(headings, columns, rows[:MOST_GROUPS], len(members), len(rows), capped)


def _fields(group: str) -> list[str]:
    fields = group.split(",")
    for name in fields:
        if name not in FIELDS and not name.startswith("option."):
            raise QueryError("group", f"no field '{name[:40]}' to group by; fields: {', '.join(FIELDS)}, option.…")
    return fields


def _value(member: Member, name: str) -> Any:
    if name in ROW_FIELDS:
        return member.row[name]
    if name.startswith("option."):
        return member.config.get("options", {}).get(name.removeprefix("option."))
    if name == "variant":
        return {key: value for key, value in member.config.items() if key not in NOT_VARIANT}
    return member.config.get(name)


def _key(member: Member, fields: Sequence[str]) -> str:
    return json.dumps([_value(member, name) for name in fields], sort_keys=True)


def _row(members: list[Member], fields: Sequence[str], keys: Sequence[str]) -> Row:
    titles = ["" if name == "variant" else format_setting(_value(members[0], name)) for name in fields]
    spreads = {}
    samples = _samples(members)
    for key in keys:
        values = [each.figures[key] for each in samples if key in each.figures]
        if values:
            spreads[key] = Spread(mean_of(values), statistics.median(values), min(values), max(values))
    cells = [word for key in keys for word in _words(key, spreads.get(key))]
    return Row(titles, members, spreads, cells)


def _samples(members: list[Member]) -> list[Member]:
    """One run of each seed, the newest that succeeded; of those that were trained elsewhere every one."""
    counted: dict[str, Member] = {}
    for member in sorted(members, key=lambda each: (each.status == "succeeded", each.number)):
        trained = json.dumps([_value(member, "variant"), member.seed], sort_keys=True)
        counted[member.id if member.logged else trained] = member
    return list(counted.values())


def _words(key: str, spread: Spread | None) -> list[str]:
    if spread is None:
        return ["–"] * len(PARTS)
    written = _written(key)
    mean = written(spread.mean.mean)
    if spread.mean.half is not None and spread.min != spread.max:
        if key not in ("params", "duration") and metric_figure(key)[0].rsplit("/", 1)[-1] == "acc":
            mean = f"{100 * spread.mean.mean:.2f} ± {100 * spread.mean.half:.2f} %"
        else:
            mean = f"{mean} ± {written(spread.mean.half)}"
    return [mean, written(spread.median), written(spread.min), written(spread.max)]


def _written(key: str) -> Callable[[float], str]:
    match key:
        case "params":
            return lambda value: count(round(value))
        case "duration":
            return format_duration
    name = metric_figure(key)[0]
    if name.startswith("system/"):
        return format_short
    return (lambda value: metric_value(name, value)) if name.endswith("acc") else format_number


def _name_variants(rows: list[Row], fields: Sequence[str]) -> None:
    """Say of each variant what tells it from the others."""
    if "variant" not in fields:
        return
    place = fields.index("variant")
    said = [_value(row.members[0], "variant") for row in rows]
    first = ("family", "size", "dataset")
    names = sorted({name for each in said for name in each} - set(first))
    heads = [" ".join(str(each.get(name, "")) for name in first) for each in said]
    alike: dict[str, list[dict[str, Any]]] = {}
    for each, head in zip(said, heads, strict=True):
        alike.setdefault(head, []).append(each)
    telling = {
        head: [name for name in names if len({json.dumps(each.get(name), sort_keys=True) for each in some}) > 1]
        for head, some in alike.items()
    }
    for row, each, head in zip(rows, said, heads, strict=True):
        own = [f"{name.replace('_', ' ')} {format_setting(each.get(name))}" for name in telling[head]]
        row.titles[place] = " · ".join([head, *own])


# Order ---------------------------------------------------------------------------------------------------------------


def _heading(shown: Listing, key: str, title: str, first: str) -> Part:
    now = shown.sort.lstrip("-") == key
    down = shown.sort.startswith("-")
    towards = (key if down else f"-{key}") if now else first + key
    order = ("descending" if down else "ascending") if now else "none"
    return Part(key, title, shown.address(sort=towards), order)


def _sort(rows: list[Row], sort: str, keys: Sequence[str]) -> None:
    """In place; as the runs come, the newest first, where the sort is none of groups."""
    key, down = sort.lstrip("-"), sort.startswith("-")
    if key == "group":
        rows.sort(key=lambda row: row.titles, reverse=down)
    elif key == "n":
        rows.sort(key=lambda row: len(row.members), reverse=down)
    else:
        name, _, part = key.partition("@")
        part = part or "mean"
        if name not in keys or part not in PARTS:
            if sort not in (USUAL_SORT, "number"):
                raise QueryError(
                    "sort", f"cannot sort groups by '{key[:40]}'; group, n, or {keys[0]}@mean, @median, @min"
                )
            return
        known = [row for row in rows if name in row.spreads]
        known.sort(key=lambda row: row.spreads[name].part(part), reverse=down)
        rows[:] = known + [row for row in rows if name not in row.spreads]
