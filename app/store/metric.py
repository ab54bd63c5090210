"""Where a metric point lives: chunks of packed arrays, their reduced levels, and a summary for each curve.

A chunk holds consecutive points of one curve as little-endian arrays: steps uint32, values float64, times float64
(seconds since 1970). The recorder adds small chunks of tier 0; ``FAN`` chunks of a tier are merged into one of the
next, so that a long curve is a handful of rows and each point is rewritten a few times. Merged chunks carry a level:
the lowest and the highest point of every ``BUCKET``, so that a curve of millions of points is drawn from few of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

FAN = 32
BUCKET = 64
MERGE_AFTER_COMMITS = 200

Steps = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]


class MetricSeries(SQLModel, table=True):
    """One curve of one run with its summary; NaN and infinite values are counted, and are never best, min or max."""

    __tablename__ = "metric_series"
    __table_args__ = (UniqueConstraint("run", "name"),)

    id: int | None = Field(None, primary_key=True)
    run: str = Field(foreign_key="run.id", ondelete="CASCADE")
    name: str
    points: int = 0
    first_step: int = 0
    last_step: int = 0
    last: float | None = None
    last_time: float = 0.0
    low: float | None = None
    low_step: int = 0
    high: float | None = None
    high_step: int = 0
    best: float | None = None
    best_step: int = 0
    not_finite: int = 0


class MetricChunk(SQLModel, table=True):
    """Consecutive points of one curve; ``commit_number`` is the newest commit that any of them came with."""

    __tablename__ = "metric_chunk"
    __table_args__ = (Index("ix_metric_chunk_series", "series", "first_step"),)

    id: int | None = Field(None, primary_key=True)
    series: int = Field(foreign_key="metric_series.id", ondelete="CASCADE")
    tier: int
    commit_number: int
    first_step: int
    last_step: int
    points: int
    steps: bytes
    point_values: bytes
    times: bytes
    level_steps: bytes = b""
    level_values: bytes = b""


@dataclass(frozen=True)
class Curve:
    """Points of one metric: steps, values and times (seconds since 1970), equally long."""

    steps: Steps
    values: Floats
    times: Floats


@dataclass(frozen=True)
class Summary:
    """A curve in figures."""

    points: int
    last: float | None
    last_step: int
    best: float | None
    best_step: int
    min: float | None
    max: float | None
    not_finite: int


def larger_is_better(name: str) -> bool:
    """Whether the best value of a metric is its largest: accuracies and throughputs; losses and times are not."""
    return any(word in name.rsplit("/", 1)[-1] for word in ("acc", "f1", "auc", "per_second", "precision", "recall"))


# Writing -------------------------------------------------------------------------------------------------------------

_SUMMARY = "points, first_step, last_step, last, last_time, low, low_step, high, high_step, best, best_step, not_finite"


def add_points(connection: Connection, run: str, name: str, curve: Curve, commit: int) -> None:
    """Append points to a curve: one chunk and the summary. The caller has made sure that they are new."""
    if not len(curve.steps):
        return
    series = connection.execute(
        text(f"SELECT id, {_SUMMARY} FROM metric_series WHERE run = :run AND name = :name"), {"run": run, "name": name}
    ).one_or_none()
    if series is None:
        number = connection.execute(
            text(
                "INSERT INTO metric_series (run, name, points, first_step, last_step, last_time, low_step, high_step,"
                " best_step, not_finite) VALUES (:run, :name, 0, :first, 0, 0, 0, 0, 0, 0) RETURNING id"
            ),
            {"run": run, "name": name, "first": int(curve.steps[0])},
        ).scalar_one()
        old = None
    else:
        number, old = series.id, series
    connection.execute(
        text(
            "INSERT INTO metric_chunk (series, tier, commit_number, first_step, last_step, points, steps, point_values,"
            " times, level_steps, level_values)"
            " VALUES (:series, 0, :commit, :first, :last, :n, :steps, :values, :times, x'', x'')"
        ),
        {
            "series": number,
            "commit": commit,
            "first": int(curve.steps[0]),
            "last": int(curve.steps[-1]),
            "n": len(curve.steps),
            "steps": curve.steps.astype("<u4", copy=False).tobytes(),
            "values": curve.values.astype("<f8", copy=False).tobytes(),
            "times": curve.times.astype("<f8", copy=False).tobytes(),
        },
    )
    fresh = _figures(name, curve)
    if old is not None:
        fresh = _combined(name, old._asdict(), fresh)
    _write_summary(connection, number, fresh)


def _figures(name: str, curve: Curve) -> dict[str, float | int | None]:
    finite = np.isfinite(curve.values)
    good = curve.values[finite]
    figures: dict[str, float | int | None] = {
        "points": len(curve.steps),
        "first_step": int(curve.steps[0]),
        "last_step": int(curve.steps[-1]),
        "last": float(curve.values[-1]) if finite[-1] else None,
        "last_time": float(curve.times[-1]),
        "not_finite": int(len(curve.values) - len(good)),
        "low": None,
        "low_step": 0,
        "high": None,
        "high_step": 0,
    }
    if len(good):
        steps = curve.steps[finite]
        low, high = int(good.argmin()), int(good.argmax())
        figures |= {"low": float(good[low]), "low_step": int(steps[low])}
        figures |= {"high": float(good[high]), "high_step": int(steps[high])}
    return _with_best(name, figures)


def _combined(
    name: str, old: dict[str, float | int | None], new: dict[str, float | int | None]
) -> dict[str, float | int | None]:
    both = dict(new)
    both["points"] = int(old["points"] or 0) + int(new["points"] or 0)
    both["not_finite"] = int(old["not_finite"] or 0) + int(new["not_finite"] or 0)
    both["first_step"] = old["first_step"]
    for end, better in (("low", -1), ("high", 1)):
        before, after = old[end], new[end]
        if after is None or (before is not None and (after - before) * better <= 0):
            both[end], both[f"{end}_step"] = before, old[f"{end}_step"]
    return _with_best(name, both)


def _with_best(name: str, figures: dict[str, float | int | None]) -> dict[str, float | int | None]:
    end = "high" if larger_is_better(name) else "low"
    return figures | {"best": figures[end], "best_step": figures[f"{end}_step"]}


def _write_summary(connection: Connection, series: int, figures: dict[str, float | int | None]) -> None:
    sets = ", ".join(f"{column} = :{column}" for column in _SUMMARY.split(", "))
    connection.execute(text(f"UPDATE metric_series SET {sets} WHERE id = :series"), figures | {"series": series})


def merge_chunks(connection: Connection, run: str, commit: int) -> int:
    """Merge full groups of a run's older chunks; returns how many. Newer chunks stay, so that viewers can resume."""
    groups = connection.execute(
        text(
            "SELECT series, tier FROM metric_chunk WHERE series IN (SELECT id FROM metric_series WHERE run = :run)"
            " AND commit_number < :before AND tier < 3 GROUP BY series, tier HAVING count(*) >= :fan"
        ),
        {"run": run, "before": commit - MERGE_AFTER_COMMITS, "fan": FAN},
    ).all()
    for series, tier in groups:
        chunks = connection.execute(
            text(
                "SELECT id, commit_number, steps, point_values, times FROM metric_chunk"
                " WHERE series = :series AND tier = :tier AND commit_number < :before"
                " ORDER BY first_step, id LIMIT :fan"
            ),
            {"series": series, "tier": tier, "before": commit - MERGE_AFTER_COMMITS, "fan": FAN},
        ).all()
        curve = _joined(chunks)
        connection.execute(
            text(f"DELETE FROM metric_chunk WHERE id IN ({', '.join(str(int(chunk.id)) for chunk in chunks)})")
        )
        # In the place of the first of them, so that the order holds where several points share a step.
        newest = max(chunk.commit_number for chunk in chunks)
        _insert_merged(connection, chunks[0].id, series, tier + 1, newest, curve)
    return len(groups)


def _insert_merged(connection: Connection, chunk: int, series: int, tier: int, commit: int, curve: Curve) -> None:
    level = envelope(curve, max(2, 2 * (len(curve.steps) // BUCKET)))
    connection.execute(
        text(
            "INSERT INTO metric_chunk (id, series, tier, commit_number, first_step, last_step, points, steps,"
            " point_values, times, level_steps, level_values)"
            " VALUES (:id, :series, :tier, :commit, :first, :last, :n, :steps, :values, :times, :lsteps, :lvalues)"
        ),
        {
            "id": chunk,
            "series": series,
            "tier": tier,
            "commit": commit,
            "first": int(curve.steps[0]),
            "last": int(curve.steps[-1]),
            "n": len(curve.steps),
            "steps": curve.steps.tobytes(),
            "values": curve.values.tobytes(),
            "times": curve.times.tobytes(),
            "lsteps": level.steps.tobytes(),
            "lvalues": np.concatenate((level.values, level.times)).tobytes(),
        },
    )


def cut_after(connection: Connection, run: str, step: int, commit: int) -> bool:
    """Remove the points after ``step`` of every curve: an attempt that goes on from there makes them anew."""
    affected = connection.execute(
        text("SELECT id, name FROM metric_series WHERE run = :run AND last_step > :step"), {"run": run, "step": step}
    ).all()
    for series, name in affected:
        chunks = connection.execute(
            text("SELECT id, steps, point_values, times FROM metric_chunk WHERE series = :s ORDER BY first_step, id"),
            {"s": series},
        ).all()
        curve = _joined(chunks)
        keep = curve.steps <= step
        connection.execute(text("DELETE FROM metric_chunk WHERE series = :s"), {"s": series})
        if not keep.any():
            connection.execute(text("DELETE FROM metric_series WHERE id = :s"), {"s": series})
            continue
        kept = Curve(curve.steps[keep], curve.values[keep], curve.times[keep])
        _insert_merged(connection, chunks[0].id, series, 1, commit, kept)
        _write_summary(connection, series, _figures(name, kept))
    return bool(affected)


# Reading -------------------------------------------------------------------------------------------------------------


def _joined(chunks: Iterable[object]) -> Curve:
    rows = list(chunks)
    return Curve(
        np.frombuffer(b"".join(row.steps for row in rows), "<u4"),  # type: ignore[attr-defined]
        np.frombuffer(b"".join(row.point_values for row in rows), "<f8"),  # type: ignore[attr-defined]
        np.frombuffer(b"".join(row.times for row in rows), "<f8"),  # type: ignore[attr-defined]
    )


def envelope(curve: Curve, points: int) -> Curve:
    """At most ``points`` points (at least two) that keep the extremes of every stretch, so that no spike vanishes."""
    n = len(curve.steps)
    if points <= 0 or n <= points:
        return curve
    buckets = max(1, points // 2)
    edges = np.linspace(0, n, buckets + 1).astype(np.int64)
    starts = edges[:-1]
    values = curve.values
    # NaN would win every comparison; it is shown where its whole stretch has nothing else.
    low = np.where(np.isnan(values), np.inf, values)
    high = np.where(np.isnan(values), -np.inf, values)
    bucket_of = np.repeat(np.arange(buckets), np.diff(edges))
    lowest = np.minimum.reduceat(low, starts)
    highest = np.maximum.reduceat(high, starts)
    at_low = _first_in_bucket(low == lowest[bucket_of], bucket_of, starts)
    at_high = _first_in_bucket(high == highest[bucket_of], bucket_of, starts)
    picked = np.unique(np.concatenate((at_low, at_high)))
    return Curve(curve.steps[picked], curve.values[picked], curve.times[picked])


def _first_in_bucket(
    hit: npt.NDArray[np.bool_], bucket_of: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    at = np.flatnonzero(hit)
    _, first = np.unique(bucket_of[at], return_index=True)
    return at[first]


def read_curves(
    connection: Connection, run: str, names: list[str] | None = None, points: int = 1000
) -> dict[str, Curve]:
    """Curves of a run by metric name, each reduced to at most ``points`` points (0: every point)."""
    found = connection.execute(
        text("SELECT id, name, points FROM metric_series WHERE run = :run ORDER BY name"), {"run": run}
    ).all()
    curves: dict[str, Curve] = {}
    for series, name, total in found:
        if names is not None and name not in names:
            continue
        if points and total > BUCKET * points:
            curves[name] = envelope(_from_levels(connection, series), points)
        else:
            chunks = connection.execute(
                text("SELECT steps, point_values, times FROM metric_chunk WHERE series = :s ORDER BY first_step, id"),
                {"s": series},
            ).all()
            curves[name] = envelope(_joined(chunks), points)
    return curves


def _from_levels(connection: Connection, series: int) -> Curve:
    rows = connection.execute(
        text(
            "SELECT tier, level_steps, level_values, CASE WHEN tier = 0 THEN steps ELSE x'' END AS steps,"
            " CASE WHEN tier = 0 THEN point_values ELSE x'' END AS point_values,"
            " CASE WHEN tier = 0 THEN times ELSE x'' END AS times"
            " FROM metric_chunk WHERE series = :s ORDER BY first_step, id"
        ),
        {"s": series},
    ).all()
    steps, values, times = [], [], []
    for row in rows:
        if row.tier:
            both = np.frombuffer(row.level_values, "<f8")
            steps.append(np.frombuffer(row.level_steps, "<u4"))
            values.append(both[: len(both) // 2])
            times.append(both[len(both) // 2 :])
        else:
            steps.append(np.frombuffer(row.steps, "<u4"))
            values.append(np.frombuffer(row.point_values, "<f8"))
            times.append(np.frombuffer(row.times, "<f8"))
    return Curve(np.concatenate(steps), np.concatenate(values), np.concatenate(times))


def read_since(connection: Connection, run: str, commit: int) -> dict[str, Curve] | None:
    """The points that came after ``commit``, by metric; None when they can no longer be told apart from older ones."""
    rows = connection.execute(
        text(
            "SELECT s.name, c.tier, c.steps, c.point_values, c.times FROM metric_chunk c"
            " JOIN metric_series s ON s.id = c.series"
            " WHERE s.run = :run AND c.commit_number > :commit ORDER BY c.first_step, c.id"
        ),
        {"run": run, "commit": commit},
    ).all()
    if any(row.tier for row in rows):
        return None
    by_name: dict[str, list[object]] = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    return {name: _joined(chunks) for name, chunks in by_name.items()}


def read_summaries(connection: Connection, runs: list[str]) -> dict[str, dict[str, Summary]]:
    """Summaries of every curve of these runs: run -> metric -> figures."""
    found: dict[str, dict[str, Summary]] = {run: {} for run in runs}
    if not runs:
        return found
    names = {f"r{i}": run for i, run in enumerate(runs)}
    rows = connection.execute(
        text(
            "SELECT run, name, points, last, last_step, best, best_step, low, high, not_finite FROM metric_series"
            f" WHERE run IN ({', '.join(f':{name}' for name in names)}) ORDER BY name"
        ),
        names,
    )
    for row in rows:
        found[row.run][row.name] = Summary(
            row.points, row.last, row.last_step, row.best, row.best_step, row.low, row.high, row.not_finite
        )
    return found
