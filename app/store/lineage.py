"""Lineage of runs: ancestors and descendants, saved checkpoints, and the captured training environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, text
from sqlmodel import Field, SQLModel

from app.contract.events import Checkpoint
from app.store import metric

MAX_RELATIVES = 200
"""Maximum number of runs listed of a family."""


class SavedCheckpoint(SQLModel, table=True):
    """A permanent checkpoint: at the end of an epoch, to fork from, or the one that a run started from."""

    __tablename__ = "kept_checkpoint"

    run: str = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    step: int = Field(primary_key=True)
    epoch: int
    path: str
    ends_epoch: bool
    bytes: int = Field(0, sa_column_kwargs={"server_default": "0"})


class RunCapture(SQLModel, table=True):
    """Everything known about what a run was trained with, as JSON; separate from ``run``, whose rows lists read."""

    __tablename__ = "run_capture"

    run: str = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    content: str


# Checkpoints ---------------------------------------------------------------------------------------------------------


def save_checkpoint(connection: Connection, run: str, checkpoint: Checkpoint) -> None:
    """Record a permanent checkpoint, replacing an older one of the same step."""
    values = {
        "run": run,
        "step": checkpoint.step,
        "epoch": checkpoint.epoch,
        "path": checkpoint.path,
        "ends_epoch": checkpoint.within == 0,
        "bytes": checkpoint.bytes,
    }
    connection.execute(
        text("DELETE FROM kept_checkpoint WHERE run = :run AND step = :step"), {"run": run, "step": checkpoint.step}
    )
    connection.execute(
        text(
            "INSERT INTO kept_checkpoint (run, step, epoch, path, ends_epoch, bytes)"
            " VALUES (:run, :step, :epoch, :path, :ends_epoch, :bytes)"
        ),
        values,
    )


def saved_checkpoints(connection: Connection, run: str) -> list[Checkpoint]:
    """The permanent checkpoints of a run, by step; ``within`` is above 0 for those inside an epoch."""
    result = connection.execute(
        text("SELECT path, epoch, step, ends_epoch, bytes FROM kept_checkpoint WHERE run = :run ORDER BY step"),
        {"run": run},
    )
    return [
        Checkpoint(
            path=row.path,
            epoch=row.epoch,
            step=row.step,
            within=0 if row.ends_epoch else 1,
            kept=True,
            bytes=row.bytes,
        )
        for row in result
    ]


# What a run was trained with -----------------------------------------------------------------------------------------


def save_capture(connection: Connection, run: str, content: dict[str, Any]) -> None:
    """Save what the newest attempt at a run was trained with."""
    connection.execute(text("DELETE FROM run_capture WHERE run = :run"), {"run": run})
    connection.execute(
        text("INSERT INTO run_capture (run, content) VALUES (:run, :content)"),
        {"run": run, "content": to_json(content, inf_nan_mode="null").decode()},
    )


def read_capture(connection: Connection, run: str) -> dict[str, Any]:
    """What a run was trained with; empty until a trainer has reported it."""
    content = connection.execute(text("SELECT content FROM run_capture WHERE run = :run"), {"run": run}).scalar()
    capture: dict[str, Any] = from_json(content) if content else {}
    return capture


def set_batch_size(connection: Connection, run: str, batch_size: int) -> None:
    """Set a run's batch size to the one that its trainer determined, wherever its configuration is read."""
    content = connection.execute(text("SELECT config FROM run WHERE id = :run"), {"run": run}).scalar_one()
    config = to_json(from_json(content) | {"batch_size": batch_size}).decode()
    connection.execute(
        text("UPDATE run SET batch_size = :size, config = :config WHERE id = :run"),
        {"run": run, "size": batch_size, "config": config},
    )


# Curves --------------------------------------------------------------------------------------------------------------

_FIGURES = (
    "name, points, first_step, last_step, last, last_time, low, low_step, high, high_step, best, best_step, not_finite"
)
_CHUNK = "tier, first_step, last_step, points, level_steps, level_values, steps, point_values, times"
_OF_THE_TEST = "name LIKE 'test/%'"


def copy_points(connection: Connection, parent: str, child: str, step: int, commit: int) -> None:
    """Copy the parent's curves up to ``step`` to a new run, without the parent's final test metrics."""
    names = {"parent": parent, "child": child, "step": step, "commit": commit}
    connection.execute(
        text(
            f"INSERT INTO metric_series (run, run_number, {_FIGURES})"
            f" SELECT :child, (SELECT number FROM run WHERE id = :child), {_FIGURES} FROM metric_series"
            f" WHERE run = :parent AND first_step <= :step AND NOT {_OF_THE_TEST} ORDER BY id"
        ),
        names,
    )
    chunk = ", ".join(f"c.{column}" for column in _CHUNK.split(", "))
    connection.execute(
        text(
            f"INSERT INTO metric_chunk (series, commit_number, {_CHUNK})"
            f" SELECT mine.id, :commit, {chunk} FROM metric_chunk c JOIN metric_series s ON s.id = c.series"
            " JOIN metric_series mine ON mine.run = :child AND mine.name = s.name"
            " WHERE s.run = :parent AND c.first_step <= :step ORDER BY c.id"
        ),
        names,
    )
    metric.cut_after(connection, child, step, commit)


def delete_test_metrics(connection: Connection, run: str) -> bool:
    """Delete the test metrics of an earlier attempt; the next attempt tests again, perhaps at the same step."""
    gone = connection.execute(text(f"DELETE FROM metric_series WHERE run = :run AND {_OF_THE_TEST}"), {"run": run})
    return gone.rowcount > 0


# The family ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Relative:
    """A related run. ``step``: its progress; ``deleted``: whether it is in the trash."""

    id: str
    number: int
    title: str
    status: str
    parent: str | None
    relation: str
    parent_step: int | None
    step: int
    deleted: bool


_FAMILY = text(
    "WITH RECURSIVE up(id, far) AS ("
    "  SELECT id, 0 FROM run WHERE id = :run"
    "  UNION SELECT p.id, up.far + 1 FROM up JOIN run r ON r.id = up.id JOIN run p ON p.id = r.parent"
    f"  WHERE up.far < {MAX_RELATIVES}"
    "), down(id) AS ("
    "  SELECT id FROM run WHERE id = :run UNION SELECT r.id FROM down JOIN run r ON r.parent = down.id"
    ")"
    " SELECT id, number, name, family, size, dataset, status, parent, relation, parent_step, progress,"
    " deleted_at IS NOT NULL AS deleted FROM run"
    " WHERE id IN (SELECT id FROM up) OR id IN (SELECT id FROM down)"
    f" ORDER BY number LIMIT {MAX_RELATIVES}"
)


def family(connection: Connection, run: str) -> list[Relative]:
    """A run with all its ancestors and descendants, by number; at most the oldest ``MAX_RELATIVES``."""
    return [
        Relative(
            row.id,
            row.number,
            row.name or f"{row.family} {row.size} · {row.dataset}",
            row.status,
            row.parent,
            row.relation,
            row.parent_step,
            int(from_json(row.progress).get("step") or row.parent_step or 0),
            bool(row.deleted),
        )
        for row in connection.execute(_FAMILY, {"run": run})
    ]


def newest_rerun(connection: Connection, run: str) -> str | None:
    """The newest run that reran this one to verify it."""
    rerun = connection.execute(
        text(
            "SELECT id FROM run WHERE parent = :run AND relation = 'verify' AND deleted_at IS NULL"
            " ORDER BY number DESC LIMIT 1"
        ),
        {"run": run},
    ).scalar()
    return None if rerun is None else str(rerun)
