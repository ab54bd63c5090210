"""Storage of what is known about kept predictions: which files of the artifact store have them, and of which epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, text
from sqlmodel import Field, SQLModel

from app.contract.events import PredictionsKept

Kind = Literal["final", "history"]


class PredictionFile(SQLModel, table=True):
    """A file of predictions (app/contract/predictions.py).

    ``kind``: "final", the one of an ended run, or "history", epochs of a run that has none yet. ``epoch``, ``step``: of
    the checkpoint that predicted; of the newest epoch in a history file. ``created_at``: seconds since 1970, UTC.
    """

    __tablename__ = "prediction_file"

    run: str = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    path: str = Field(primary_key=True)
    kind: str
    fence: int
    epoch: int
    step: int
    bytes: int
    created_at: float


@dataclass(frozen=True)
class KeptFile:
    """A row of ``prediction_file`` without its run."""

    path: str
    kind: Kind
    fence: int
    epoch: int
    step: int
    bytes: int
    created_at: float


def record_file(connection: Connection, run: str, fence: int, kept: PredictionsKept, now: float) -> None:
    """Record a file, replacing an older one with this path; a final file replaces all others of its run."""
    others = "" if kept.kind == "final" else " AND path = :path"
    values = {"run": run, "fence": fence, "now": now} | kept.model_dump()
    connection.execute(text(f"DELETE FROM prediction_file WHERE run = :run{others}"), values)
    connection.execute(
        text(
            "INSERT INTO prediction_file (run, path, kind, fence, epoch, step, bytes, created_at)"
            " VALUES (:run, :path, :kind, :fence, :epoch, :step, :bytes, :now)"
        ),
        values,
    )


def kept_files(connection: Connection, run: str) -> list[KeptFile]:
    """The files of a run in the order in which they were written."""
    result = connection.execute(
        text(
            "SELECT path, kind, fence, epoch, step, bytes, created_at FROM prediction_file WHERE run = :run"
            " ORDER BY fence, created_at, epoch"
        ),
        {"run": run},
    )
    return [KeptFile(*row) for row in result]
