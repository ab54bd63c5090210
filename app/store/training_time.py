"""Training time: the intervals in which a run was trained, without the gaps between attempts or before a resume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic_core import from_json, to_json
from sqlalchemy import Connection, text

from app.store.curve import Floats

Intervals = tuple[tuple[float, float], ...]
"""For each interval in order: its start (seconds since 1970) and the seconds trained before it."""


def trained_seconds_at(intervals: Sequence[tuple[float, float]], times: Floats) -> Floats:
    """Seconds trained up to each timestamp; in a gap between intervals, as many as when the next one begins."""
    if not intervals:
        return times - times[0] if len(times) else times
    began, before = (np.array(column, dtype=float) for column in zip(*intervals, strict=True))
    place = np.clip(np.searchsorted(began, times, side="right") - 1, 0, None)
    until = np.append(before[1:], np.inf)
    return np.asarray(np.minimum(before[place] + times - began[place], until[place]), dtype=float)


def read_intervals(stored: str, started: float | None) -> Intervals:
    """Parse a run's stored intervals; falls back to its start time alone."""
    intervals = tuple((float(began), float(before)) for began, before in from_json(stored))
    return intervals or (() if started is None else ((started, 0.0),))


def begin_interval(connection: Connection, run: str, now: float) -> None:
    """Begin an interval: training starts, or continues from the run's last point."""
    row = connection.execute(text("SELECT stretches, started_at FROM run WHERE id = :run"), {"run": run}).one()
    last = connection.execute(text("SELECT max(last_time) FROM metric_series WHERE run = :run"), {"run": run}).scalar()
    earlier: Intervals = ()
    if last is not None:
        earlier = tuple(interval for interval in read_intervals(row.stretches, row.started_at) if interval[0] <= last)
    before = float(trained_seconds_at(earlier, np.array([last]))[0]) if earlier else 0.0
    intervals = to_json([*earlier, (now, before)]).decode()
    connection.execute(
        text("UPDATE run SET stretches = :intervals WHERE id = :run"), {"run": run, "intervals": intervals}
    )


def leave_out(connection: Connection, run: str, since: float, seconds: float, commit: int) -> None:
    """Exclude a suspension of ``seconds`` from a run's time; it happened after ``since``."""
    row = connection.execute(text("SELECT stretches, started_at FROM run WHERE id = :run"), {"run": run}).one()
    if row.started_at is None:
        return
    intervals = read_intervals(row.stretches, row.started_at)
    before = float(trained_seconds_at(intervals, np.array([since]))[0])
    earlier = (interval for interval in intervals if interval[0] < since + seconds)
    intervals = (*earlier, (since + seconds, before))
    connection.execute(
        text(
            "UPDATE run SET stretches = :intervals, asleep_seconds = asleep_seconds + :seconds, status_commit = :commit"
            " WHERE id = :run"
        ),
        {"run": run, "intervals": to_json(intervals).decode(), "seconds": seconds, "commit": commit},
    )


def inherit(connection: Connection, parent: str, child: str) -> None:
    """Copy the intervals of the parent, so that a run that begins with its curves also continues its time."""
    row = connection.execute(text("SELECT stretches, started_at FROM run WHERE id = :run"), {"run": parent}).one()
    intervals = to_json(read_intervals(row.stretches, row.started_at)).decode()
    connection.execute(
        text("UPDATE run SET stretches = :intervals WHERE id = :run"), {"run": child, "intervals": intervals}
    )
