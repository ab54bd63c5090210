"""Storage of metric points: chunks of packed arrays, their downsampled levels, and a summary of each curve.

A chunk holds points of one curve, sorted by step, as little-endian arrays: steps uint32, or int64 if one of them does
not fit, values float64, times float64 (seconds since 1970). The recorder adds small chunks of tier 0. ``FAN`` or more
chunks of one tier are merged into one of the next tier, so that a long curve takes a handful of rows and each point is
rewritten at most three times. Merged chunks carry a level: the lowest and the highest point of every ``BUCKET``, from
which curves of millions of points are drawn quickly.

A script may log its steps in any order, so the steps of two chunks may overlap. The ids of chunks ascend in the order
in which they came. A curve is read in the order of its steps; points of one step stay in the order in which they came.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import accumulate, groupby
from operator import attrgetter, itemgetter, le, lt
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import BigInteger, Column, Connection, Index, Integer, UniqueConstraint, bindparam, text
from sqlmodel import Field, SQLModel

from app.contract.packed_steps import pack_steps, unpack_steps
from app.store.curve import Curve as Curve
from app.store.curve import Figures, combine, figures, in_order
from app.store.curve import Floats as Floats
from app.store.curve import envelope as envelope
from app.store.curve import larger_is_better as larger_is_better

FAN = 32
# Most rows merged at once, the top tier, and the number of points from which on a chunk is merged no further.
MOST = 1024
TOP = 3
LARGE = 2**17
BUCKET = 64
MERGE_AFTER_COMMITS = 200
# SQLite's integers have 64 bits under any name.
_STEP: Any = BigInteger().with_variant(Integer(), "sqlite")


class MetricSeries(SQLModel, table=True):
    """One curve of one run with its summary; NaN and infinite values are counted, but are never best, min or max.

    ``run_number``: the number of the run, which never changes, so that the index has the order of the run table.
    """

    __tablename__ = "metric_series"
    __table_args__ = (
        UniqueConstraint("run", "name"),
        Index("ix_metric_series_best", "name", "best", "run_number"),
        Index("ix_metric_series_number", "name", "run_number", "best"),
    )

    id: int | None = Field(None, primary_key=True)
    run: str = Field(foreign_key="run.id", ondelete="CASCADE")
    run_number: int = Field(sa_column=Column(Integer, nullable=False, server_default="0"))
    name: str
    points: int = 0
    first_step: int = Field(0, sa_type=_STEP)
    last_step: int = Field(0, sa_type=_STEP)
    last: float | None = None
    last_time: float = 0.0
    low: float | None = None
    low_step: int = Field(0, sa_type=_STEP)
    high: float | None = None
    high_step: int = Field(0, sa_type=_STEP)
    best: float | None = None
    best_step: int = Field(0, sa_type=_STEP)
    not_finite: int = 0


class MetricChunk(SQLModel, table=True):
    """Consecutive points of one curve; ``commit_number`` is the newest commit among them.

    The level columns come before the points, since SQLite reads through the part of a row before the requested column.
    """

    __tablename__ = "metric_chunk"
    __table_args__ = (Index("ix_metric_chunk_series", "series", "first_step"),)

    id: int | None = Field(None, primary_key=True)
    series: int = Field(foreign_key="metric_series.id", ondelete="CASCADE")
    tier: int
    commit_number: int
    first_step: int = Field(sa_type=_STEP)
    last_step: int = Field(sa_type=_STEP)
    points: int
    level_steps: bytes = b""
    level_values: bytes = b""
    steps: bytes
    point_values: bytes
    times: bytes


class Summary(NamedTuple):
    """Summary figures of a curve. ``last``: at the largest step."""

    points: int
    last: float | None
    last_step: int
    best: float | None
    best_step: int
    min: float | None
    max: float | None
    not_finite: int
    first_step: int


# Writing -------------------------------------------------------------------------------------------------------------

_EXTREMES = ("low", "low_step", "high", "high_step", "best", "best_step")
_FIGURES = ("points", "first_step", "last_step", "last", "last_time", "not_finite", *_EXTREMES)
# Prepared once: parsing a statement costs SQLAlchemy as much time as executing it.
_FIND_SERIES = text(f"SELECT id, run, name, {', '.join(_FIGURES)} FROM metric_series WHERE run IN :runs").bindparams(
    bindparam("runs", expanding=True)
)
_ADD_SERIES = text(
    f"INSERT INTO metric_series (run, run_number, name, {', '.join(_FIGURES)})"
    f" VALUES (:run, (SELECT number FROM run WHERE id = :run), :name, :{', :'.join(_FIGURES)}) RETURNING id"
)
_ADD_CHUNK = text(
    "INSERT INTO metric_chunk (series, tier, commit_number, first_step, last_step, points, steps, point_values, times,"
    " level_steps, level_values) VALUES (:series, 0, :commit, :first, :last, :n, :steps, :values, :times, :none, :none)"
)
_SET_END = text(
    "UPDATE metric_series SET points = :points, first_step = :first_step, last_step = :last_step, last = :last,"
    " last_time = :last_time, not_finite = :not_finite WHERE id = :series"
)
_SET_EXTREMES = text(
    f"UPDATE metric_series SET {', '.join(f'{column} = :{column}' for column in _EXTREMES)} WHERE id = :series"
)


def add_points(connection: Connection, run: str, name: str, curve: Curve, commit: int) -> None:
    """Append points to one curve; see ``add_curves``."""
    add_curves(connection, {(run, name): curve}, commit)


def add_curves(connection: Connection, curves: Mapping[tuple[str, str], Curve], commit: int) -> None:
    """Add points to curves by (run, metric), one chunk each, and update their summaries. The points must be new."""
    fresh = {key: in_order(curve) for key, curve in curves.items() if len(curve.steps)}
    if not fresh:
        return
    existing = connection.execute(_FIND_SERIES, {"runs": sorted({run for run, _ in fresh})}).mappings()
    known = {(row["run"], row["name"]): row for row in existing}
    chunks: list[dict[str, object]] = []
    ends: list[Figures] = []
    extremes: list[Figures] = []
    for (run, name), curve in fresh.items():
        new = figures(name, curve)
        old = known.get((run, name))
        if old is None:
            series = connection.execute(_ADD_SERIES, new | {"run": run, "name": name}).scalar_one()
        else:
            series = old["id"]
            both = combine(name, dict(old), new) | {"series": series}
            ends.append(both)
            if any(both[column] != old[column] for column in _EXTREMES):
                extremes.append(both)
        chunks.append(
            {
                "series": series,
                "commit": commit,
                "first": new["first_step"],
                "last": new["last_step"],
                "n": new["points"],
                "steps": pack_steps(curve.steps, new["first_step"], new["last_step"]),
                "values": curve.values.astype("<f8", copy=False).tobytes(),
                "times": curve.times.astype("<f8", copy=False).tobytes(),
                "none": b"",
            }
        )
    connection.execute(_ADD_CHUNK, chunks)
    if ends:
        connection.execute(_SET_END, ends)
    if extremes:
        connection.execute(_SET_EXTREMES, extremes)


# The columns that `_joined` reads.
_POINTS = "id, first_step, last_step, points, steps, point_values, times"
_FULL_GROUPS = text(
    "SELECT series, tier FROM metric_chunk WHERE series IN (SELECT id FROM metric_series WHERE run = :run)"
    " AND commit_number < :before AND tier < :top GROUP BY series, tier HAVING count(*) >= :fan"
)
_GROUP = text(
    "SELECT id, commit_number, points FROM metric_chunk"
    " WHERE series = :series AND tier = :tier AND commit_number < :before ORDER BY id LIMIT :most"
)
_CHUNKS = text(f"SELECT {_POINTS} FROM metric_chunk WHERE id IN :ids").bindparams(bindparam("ids", expanding=True))
_FINISH_CHUNK = text("UPDATE metric_chunk SET tier = :top WHERE id = :id")
_REMOVE_CHUNK = text("DELETE FROM metric_chunk WHERE id = :id")
_ADD_MERGED = text(
    "INSERT INTO metric_chunk (id, series, tier, commit_number, first_step, last_step, points, steps,"
    " point_values, times, level_steps, level_values)"
    " VALUES (:id, :series, :tier, :commit, :first, :last, :n, :steps, :values, :times, :lsteps, :lvalues)"
)


def merge_chunks(connection: Connection, run: str, commit: int, ended: bool = False) -> int:
    """Merge a run's older chunks; returns the number of merged chunks.

    Newer chunks stay so that viewers can resume; once the run has ``ended``, as few chunks as possible remain.
    """
    before, fan = (commit + 1, 2) if ended else (commit - MERGE_AFTER_COMMITS, FAN)
    groups = connection.execute(_FULL_GROUPS, {"run": run, "before": before, "top": TOP, "fan": fan}).all()
    merged = 0
    for series, tier in groups:
        group = {"series": series, "tier": tier, "before": before, "most": MOST}
        waiting = [(row.id, row.commit_number, row.points) for row in connection.execute(_GROUP, group)]
        while len(waiting) >= fan:
            sums = accumulate(points for *_, points in waiting)
            count = max(1, sum(points <= LARGE for points in sums))
            part, waiting = waiting[:count], waiting[count:]
            ids = [chunk for chunk, *_ in part]
            if tier and count == 1:
                connection.execute(_FINISH_CHUNK, {"id": ids[0], "top": TOP})
                continue
            curve = _joined(connection.execute(_CHUNKS, {"ids": ids}))
            connection.execute(_REMOVE_CHUNK, [{"id": chunk} for chunk in ids])
            # Chunks of the maximum size are not considered again.
            next_tier = TOP if waiting else tier + 1
            # Reuse the first id, so that ids keep the order in which points came.
            _insert_merged(connection, ids[0], series, next_tier, max(newest for _, newest, _ in part), curve)
            merged += 1
    return merged


def _level(curve: Curve) -> Curve:
    return envelope(curve, max(2, 2 * (len(curve.steps) // BUCKET)))


def _insert_merged(connection: Connection, chunk: int, series: int, tier: int, commit: int, curve: Curve) -> None:
    level = _level(curve)
    first, last = int(curve.steps[0]), int(curve.steps[-1])
    connection.execute(
        _ADD_MERGED,
        {
            "id": chunk,
            "series": series,
            "tier": tier,
            "commit": commit,
            "first": first,
            "last": last,
            "n": len(curve.steps),
            "steps": pack_steps(curve.steps, first, last),
            "values": curve.values.tobytes(),
            "times": curve.times.tobytes(),
            "lsteps": pack_steps(level.steps, first, last),
            "lvalues": np.concatenate((level.values, level.times)).tobytes(),
        },
    )


def cut_after(connection: Connection, run: str, step: int, commit: int) -> bool:
    """Remove all points after ``step``: an attempt that resumes there reports them again."""
    affected = connection.execute(
        text("SELECT id, name FROM metric_series WHERE run = :run AND last_step > :step"), {"run": run, "step": step}
    ).all()
    for series, name in affected:
        chunks = connection.execute(
            text(f"SELECT {_POINTS} FROM metric_chunk WHERE series = :s"),
            {"s": series},
        ).all()
        curve = _joined(chunks)
        keep = curve.steps <= step
        connection.execute(text("DELETE FROM metric_chunk WHERE series = :s"), {"s": series})
        if not keep.any():
            connection.execute(text("DELETE FROM metric_series WHERE id = :s"), {"s": series})
            continue
        remaining = Curve(curve.steps[keep], curve.values[keep], curve.times[keep])
        _insert_merged(connection, min(chunk.id for chunk in chunks), series, 1, commit, remaining)
        connection.execute(_SET_END, figures(name, remaining) | {"series": series})
        connection.execute(_SET_EXTREMES, figures(name, remaining) | {"series": series})
    return bool(affected)


# Reading -------------------------------------------------------------------------------------------------------------


# By position, which is several times as fast as by name.
_id_of_reduced = itemgetter(4)


def _is_merged(row: Any) -> bool:
    return bool(row[1] > 0)


def _joined(chunks: Iterable[Any]) -> Curve:
    """Join chunks to a curve; the columns of _POINTS are the last ones of each row."""
    ids, firsts, lasts, counts, steps, values, times = list(zip(*chunks, strict=True))[-7:]
    if not all(map(lt, ids, ids[1:])):
        order = sorted(range(len(ids)), key=ids.__getitem__)
        columns = (firsts, lasts, counts, steps, values, times)
        firsts, lasts, counts, steps, values, times = (tuple(column[at] for at in order) for column in columns)
    curve = Curve(
        unpack_steps(steps, counts),
        np.frombuffer(b"".join(values), "<f8"),
        np.frombuffer(b"".join(times), "<f8"),
    )
    return curve if all(map(le, lasts, firsts[1:])) else in_order(curve)


_OF_RUNS = text(
    "SELECT id, run, name, points FROM metric_series WHERE run IN :runs AND name IN :names ORDER BY name"
).bindparams(bindparam("runs", expanding=True), bindparam("names", expanding=True))
_IN_ORDER = " ORDER BY series"
_WITHIN = " AND first_step <= :last AND last_step >= :first"
_EVERY = f"SELECT series, {_POINTS} FROM metric_chunk WHERE series IN :series"
_REDUCED = (
    "SELECT series, tier, level_steps, level_values, id, first_step, last_step, points,"
    " CASE WHEN tier = 0 THEN steps END AS steps, CASE WHEN tier = 0 THEN point_values END AS point_values,"
    " CASE WHEN tier = 0 THEN times END AS times FROM metric_chunk WHERE series IN :series"
)
_SERIES: Any = bindparam("series", expanding=True)
_WHOLE, _WHOLE_WITHIN = (text(_EVERY + which + _IN_ORDER).bindparams(_SERIES) for which in ("", _WITHIN))
_LEVELS, _LEVELS_WITHIN = (text(_REDUCED + which + _IN_ORDER).bindparams(_SERIES) for which in ("", _WITHIN))
_EXTENTS_WITHIN = text(
    f"SELECT series, points, first_step, last_step FROM metric_chunk WHERE series IN :series{_WITHIN}"
).bindparams(_SERIES)


def read_curves(
    connection: Connection,
    run: str,
    names: list[str] | None = None,
    points: int = 1000,
    within: tuple[int, int] | None = None,
) -> dict[str, Curve]:
    """Read curves of a run by metric name, each downsampled to at most ``points`` points (0: all points).

    ``within``: only points between these two steps, inclusive; curves without any are left out.
    """
    series = connection.execute(
        text("SELECT id, name, points FROM metric_series WHERE run = :run ORDER BY name"), {"run": run}
    ).all()
    selected = [row for row in series if names is None or row.name in names]
    curves = _read(connection, {row.id: row.points for row in selected}, points, within)
    return {row.name: curves[row.id] for row in selected if row.id in curves}


def read_one_curve_per_run(connection: Connection, names: Mapping[str, str], points: int) -> dict[str, Curve]:
    """Read one named curve of each run, downsampled to at most ``points`` points; runs without it are left out."""
    if not names:
        return {}
    values = {"runs": list(names), "names": sorted(set(names.values()))}
    selected = [row for row in connection.execute(_OF_RUNS, values) if row.name == names[row.run]]
    curves = _read(connection, {row.id: row.points for row in selected}, points)
    return {row.run: curves[row.id] for row in selected}


def _read(
    connection: Connection, totals: Mapping[int, int], points: int, within: tuple[int, int] | None = None
) -> dict[int, Curve]:
    """Downsampled curves by series; ``totals``: number of points of each series."""
    ends = {} if within is None else {"first": within[0], "last": within[1]}
    if within is not None and totals:
        totals = _totals_within(connection, list(totals), *within)
    far = [series for series, total in totals.items() if points and total > BUCKET * points]
    near = [series for series in totals if series not in far]
    curves: dict[int, Curve] = {}
    whole, levels = (_WHOLE, _LEVELS) if within is None else (_WHOLE_WITHIN, _LEVELS_WITHIN)
    for selected, statement, join in ((near, whole, _joined), (far, levels, _joined_levels)):
        chunks = connection.execute(statement, ends | {"series": selected}).all() if selected else []
        for series, part in groupby(chunks, attrgetter("series")):
            curve = join(part)
            if within is not None:
                curve = _cut(curve, *within)
            if len(curve.steps):
                curves[series] = envelope(curve, points)
    return curves


def _totals_within(connection: Connection, series: list[int], first: int, last: int) -> dict[int, int]:
    """Approximate number of points of each series in the interval, assuming evenly spread points within a chunk."""
    totals: dict[int, int] = {}
    for row in connection.execute(_EXTENTS_WITHIN, {"series": series, "first": first, "last": last}):
        share = (min(last, row.last_step) - max(first, row.first_step) + 1) / (row.last_step - row.first_step + 1)
        totals[row.series] = totals.get(row.series, 0) + math.ceil(row.points * share)
    return totals


def _cut(curve: Curve, first: int, last: int) -> Curve:
    begin, end = np.searchsorted(curve.steps, first), np.searchsorted(curve.steps, last, side="right")
    return Curve(curve.steps[begin:end], curve.values[begin:end], curve.times[begin:end])


def _joined_levels(chunks: Iterable[Any]) -> Curve:
    """Join the levels of merged chunks; unmerged chunks are downsampled alike, so that they are not overrepresented."""
    rows = sorted(chunks, key=_id_of_reduced)
    *_, firsts, lasts, _counts, _steps, _values, _times = zip(*rows, strict=True)
    parts: list[Curve] = []
    for merged, group in groupby(rows, _is_merged):
        if merged:
            part = list(group)
            both = [np.frombuffer(chunk.level_values, "<f8").reshape(2, -1) for chunk in part]
            steps = unpack_steps([chunk.level_steps for chunk in part], [each.shape[1] for each in both])
            parts.append(Curve(steps, *np.concatenate(both, axis=1)))
        else:
            parts.append(_level(_joined(group)))
    curve = parts[0]
    if len(parts) > 1:
        curve = Curve(
            np.concatenate([part.steps for part in parts]),
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.times for part in parts]),
        )
    return curve if all(map(le, lasts, firsts[1:])) else in_order(curve)


def read_since(connection: Connection, run: str, commit: int) -> dict[str, Curve] | None:
    """The points added after ``commit``, by metric; None if they have been merged with older ones."""
    rows = connection.execute(
        text(
            "SELECT s.name, c.tier, c.id, c.first_step, c.last_step, c.points, c.steps, c.point_values, c.times"
            " FROM metric_chunk c"
            " JOIN metric_series s ON s.id = c.series"
            " WHERE s.run = :run AND c.commit_number > :commit ORDER BY c.id"
        ),
        {"run": run, "commit": commit},
    ).all()
    if any(row.tier for row in rows):
        return None
    by_name: dict[str, list[Any]] = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    return {name: _joined(chunks) for name, chunks in by_name.items()}


def read_summaries(connection: Connection, runs: list[str]) -> dict[str, dict[str, Summary]]:
    """Summaries of all curves of these runs: run -> metric -> figures."""
    summaries: dict[str, dict[str, Summary]] = {run: {} for run in runs}
    if not runs:
        return summaries
    for run, name, *columns in connection.execute(_READ_SUMMARIES, {"runs": runs}).all():
        summaries[run][name] = Summary(*columns)
    return summaries


_READ_SUMMARIES = text(
    "SELECT run, name, points, last, last_step, best, best_step, low, high, not_finite, first_step FROM metric_series"
    " WHERE run IN :runs ORDER BY name"
).bindparams(bindparam("runs", expanding=True))
