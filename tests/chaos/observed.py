"""What the database holds in the end, read with SQL and decoded here: nothing of Runyard's code takes part."""

from __future__ import annotations

import math
import sqlite3
import struct
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.history import Curves, Points

Query = Callable[[str], Iterable[tuple[Any, ...]]]

_RUNS = "SELECT id, number, status, reason, attempt, fence, sweep, parent, parent_step FROM run ORDER BY number"
_SWEEPS = "SELECT id, status FROM sweep"
_SERIES = "SELECT id, run, name, points, first_step, last_step, last FROM metric_series"
_CHUNKS = "SELECT series, points, steps, point_values, times FROM metric_chunk ORDER BY series, id"


@dataclass
class ObservedRun:
    """A row of ``run``; ``curves`` sorted by step, with points of the same step in the order in which they came."""

    id: str
    number: int
    status: str
    reason: str = ""
    attempt: int = 1
    fence: int = 1
    sweep: str | None = None
    parent: str | None = None
    parent_step: int | None = None
    curves: Curves = field(default_factory=dict)


@dataclass
class Observed:
    """Every run by ID, and the status of every sweep.

    ``damage``: one sentence for each thing that contradicts another in the database itself.
    """

    runs: dict[str, ObservedRun]
    sweeps: dict[str, str] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)


def read_sqlite(path: Path) -> Observed:
    """Read an SQLite database that nobody writes anymore."""
    with closing(sqlite3.connect(path)) as connection:
        found = _read(lambda statement: connection.execute(statement))
        said = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        found.damage += [f"integrity_check: {line}" for line in said if line != "ok"]
        found.damage += [f"foreign_key_check: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
    return found


def read_postgresql(url: str) -> Observed:
    """Read a PostgreSQL database."""
    import psycopg

    with psycopg.connect(url) as connection:
        return _read(lambda statement: connection.execute(statement.encode()))


def _read(query: Query) -> Observed:
    runs = {
        str(run): ObservedRun(str(run), number, str(status), str(reason), attempt, fence, *origin)
        for run, number, status, reason, attempt, fence, *origin in query(_RUNS)
    }
    found = Observed(runs, {str(sweep): str(status) for sweep, status in query(_SWEEPS)})
    points: dict[int, Points] = {}
    for series, count, steps, values, times in query(_CHUNKS):
        points.setdefault(series, []).extend(_decode(found, series, count, bytes(steps), bytes(values), bytes(times)))
    for series, run, name, count, first, last, value in query(_SERIES):
        curve = sorted(points.pop(series, []), key=lambda point: point[0])
        if run not in runs:
            found.damage.append(f"curve {name} belongs to run {run}, which does not exist")
            continue
        runs[run].curves[name] = curve
        if (len(curve), curve[0][0] if curve else None, curve[-1][0] if curve else None) != (count, first, last):
            found.damage.append(f"summary of {name} of run {run} is not that of its {len(curve)} points")
        elif not _same_last(value, curve[-1][1]):
            found.damage.append(f"last value of {name} of run {run} is {curve[-1][1]} but its summary says {value}")
    found.damage += [f"points belong to curve {series}, which does not exist" for series in points]
    return found


def _decode(found: Observed, series: int, count: int, steps: bytes, values: bytes, times: bytes) -> Points:
    width = "I" if len(steps) == 4 * count else "q"
    if len(steps) != struct.calcsize(f"<{count}{width}") or len(values) != 8 * count or len(times) != 8 * count:
        found.damage.append(f"a chunk of curve {series} has not the bytes of {count} points")
        return []
    return list(
        zip(struct.unpack(f"<{count}{width}", steps), struct.unpack(f"<{count}d", values), strict=True),
    )


def _same_last(stored: float | None, value: float) -> bool:
    return stored is None if not math.isfinite(value) else stored == value
