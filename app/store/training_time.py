"""The stretches of time in which a run was trained; the time between attempts, or before it was resumed, is none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic_core import from_json, to_json
from sqlalchemy import Connection, text

from app.store.curve import Floats

Stretches = tuple[tuple[float, float], ...]
"""When each began (seconds since 1970), and how many seconds had been trained before; in order."""


def trained_at(stretches: Sequence[tuple[float, float]], times: Floats) -> Floats:
    """How many seconds had been trained at these instants; between two stretches, as many as where the later begins."""
    if not stretches:
        return times - times[0] if len(times) else times
    began, before = (np.array(each, dtype=float) for each in zip(*stretches, strict=True))
    place = np.clip(np.searchsorted(began, times, side="right") - 1, 0, None)
    until = np.append(before[1:], np.inf)
    return np.asarray(np.minimum(before[place] + times - began[place], until[place]), dtype=float)


def read_stretches(kept: str, started: float | None) -> Stretches:
    """Of a run: what its row keeps of them, or its start alone."""
    found = tuple((float(began), float(before)) for began, before in from_json(kept))
    return found or (() if started is None else ((started, 0.0),))


def go_on(connection: Connection, run: str, now: float) -> None:
    """Training begins, or goes on from the last point that the run has."""
    row = connection.execute(text("SELECT stretches, started_at FROM run WHERE id = :run"), {"run": run}).one()
    last = connection.execute(text("SELECT max(last_time) FROM metric_series WHERE run = :run"), {"run": run}).scalar()
    kept: Stretches = ()
    if last is not None:
        kept = tuple(each for each in read_stretches(row.stretches, row.started_at) if each[0] <= last)
    before = float(trained_at(kept, np.array([last]))[0]) if kept else 0.0
    said = to_json([*kept, (now, before)]).decode()
    connection.execute(text("UPDATE run SET stretches = :said WHERE id = :run"), {"run": run, "said": said})


def leave_out(connection: Connection, run: str, since: float, seconds: float, commit: int) -> None:
    """Leave a suspension of ``seconds`` out of a run's time; it began within the seconds after ``since``."""
    row = connection.execute(text("SELECT stretches, started_at FROM run WHERE id = :run"), {"run": run}).one()
    if row.started_at is None:
        return
    stretches = read_stretches(row.stretches, row.started_at)
    before = float(trained_at(stretches, np.array([since]))[0])
    stretches = (*(each for each in stretches if each[0] < since + seconds), (since + seconds, before))
    connection.execute(
        text(
            "UPDATE run SET stretches = :stretches, asleep_seconds = asleep_seconds + :seconds, status_commit = :commit"
            " WHERE id = :run"
        ),
        {"run": run, "stretches": to_json(stretches).decode(), "seconds": seconds, "commit": commit},
    )


def inherit(connection: Connection, parent: str, child: str) -> None:
    """A run that begins with its parent's curves counts its time from theirs."""
    row = connection.execute(text("SELECT stretches, started_at FROM run WHERE id = :run"), {"run": parent}).one()
    said = to_json(read_stretches(row.stretches, row.started_at)).decode()
    connection.execute(text("UPDATE run SET stretches = :said WHERE id = :run"), {"run": child, "said": said})
