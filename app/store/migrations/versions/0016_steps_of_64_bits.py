"""Steps have 64 bits, and the points of a chunk are sorted by step

The bytes of a chunk's steps tell their own width: chunks from before hold 32-bit steps and stay as they are. Only runs
that a script logged, or that were imported, can have chunks whose steps run backwards.
"""

from typing import Any

import numpy as np
import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

COLUMNS = {
    "metric_series": ("first_step", "last_step", "low_step", "high_step", "best_step"),
    "metric_chunk": ("first_step", "last_step"),
}
NARROW = 4


def upgrade() -> None:
    _set_type(sa.BigInteger())
    connection = op.get_bind()
    logged = sa.text("SELECT id FROM metric_series WHERE run IN (SELECT id FROM run WHERE origin != '') ORDER BY id")
    for series in connection.execute(logged).scalars().all():
        _sort(connection, series)


def downgrade() -> None:
    connection = op.get_bind()
    wide = sa.text(f"SELECT count(*) FROM metric_chunk WHERE length(steps) > {NARROW} * points AND points > 0")
    if connection.execute(wide).scalar_one():
        raise ValueError("some metrics have steps of more than 32 bits, which an earlier version cannot read")
    _set_type(sa.Integer())


def _set_type(kind: sa.Integer) -> None:
    # SQLite's integers have 64 bits under any name.
    if op.get_bind().dialect.name == "sqlite":
        return
    for table, columns in COLUMNS.items():
        for column in columns:
            op.alter_column(table, column, type_=kind, existing_nullable=False)


def _sort(connection: sa.Connection, series: int) -> None:
    """Sort the points of each chunk of a series, and correct its summary if its steps run backwards."""
    chunks = connection.execute(
        sa.text("SELECT id, tier, steps FROM metric_chunk WHERE series = :series ORDER BY id"), {"series": series}
    ).all()
    steps = [np.frombuffer(chunk.steps, "<u4") for chunk in chunks]
    if not _runs_backwards(np.concatenate([*steps, np.empty(0, "<u4")])):
        return
    for chunk, found in zip(chunks, steps, strict=True):
        if _runs_backwards(found):
            _sort_chunk(connection, chunk.id)
    _summarize(connection, series)


def _runs_backwards(steps: Any) -> bool:
    return bool((steps[1:] < steps[:-1]).any())


def _sort_chunk(connection: sa.Connection, chunk: int) -> None:
    row = connection.execute(
        sa.text("SELECT steps, point_values, times, level_steps, level_values FROM metric_chunk WHERE id = :id"),
        {"id": chunk},
    ).one()
    steps, level_steps = np.frombuffer(row.steps, "<u4"), np.frombuffer(row.level_steps, "<u4")
    order, level_order = np.argsort(steps, kind="stable"), np.argsort(level_steps, kind="stable")
    # A level has its values, then its times. It keeps its points, which include the extremes.
    level = np.frombuffer(row.level_values, "<f8").reshape(2, -1)[:, level_order]
    values = {
        "id": chunk,
        "first": int(steps.min()),
        "last": int(steps.max()),
        "steps": steps[order].tobytes(),
        "values": np.frombuffer(row.point_values, "<f8")[order].tobytes(),
        "times": np.frombuffer(row.times, "<f8")[order].tobytes(),
        "level_steps": level_steps[level_order].tobytes(),
        "level_values": level.tobytes(),
    }
    connection.execute(
        sa.text(
            "UPDATE metric_chunk SET first_step = :first, last_step = :last, steps = :steps, point_values = :values,"
            " times = :times, level_steps = :level_steps, level_values = :level_values WHERE id = :id"
        ),
        values,
    )


def _summarize(connection: sa.Connection, series: int) -> None:
    """Set the steps in a summary, and its last value, to those of the points sorted by step."""
    at = {"series": series}
    rows = connection.execute(
        sa.text("SELECT steps, point_values, times FROM metric_chunk WHERE series = :series ORDER BY id"), at
    ).all()
    steps = np.frombuffer(b"".join([row.steps for row in rows]), "<u4")
    order = np.argsort(steps, kind="stable")
    steps = steps[order]
    values = np.frombuffer(b"".join([row.point_values for row in rows]), "<f8")[order]
    times = np.frombuffer(b"".join([row.times for row in rows]), "<f8")[order]
    summary = connection.execute(sa.text("SELECT low, high, best FROM metric_series WHERE id = :series"), at).one()
    extremes = {
        f"{end}_step": int(steps[(values == getattr(summary, end)).argmax()]) if summary.low is not None else 0
        for end in ("low", "high", "best")
    }
    last = float(values[-1]) if np.isfinite(values[-1]) else None
    ends = {"first": int(steps[0]), "last_step": int(steps[-1]), "last": last, "last_time": float(times[-1])}
    connection.execute(
        sa.text(
            "UPDATE metric_series SET first_step = :first, last_step = :last_step, last = :last,"
            " last_time = :last_time, low_step = :low_step, high_step = :high_step, best_step = :best_step"
            " WHERE id = :series"
        ),
        at | ends | extremes,
    )
