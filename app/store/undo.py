"""Where an act that can be undone lives: what it was in a sentence, and what it takes to bring back what was before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, text
from sqlmodel import Field, SQLModel

from app.store.run import new_id

MAX_ACTS = 500


class Act(SQLModel, table=True):
    """An act of a user; ``before`` is what its undoing needs, as JSON, ``undone_at`` when that was."""

    __tablename__ = "act"

    id: str = Field(primary_key=True)
    kind: str
    sentence: str
    before: str
    at: float = Field(index=True)
    undone_at: float | None = None


@dataclass(frozen=True)
class ActRecord:
    """An act with what its undoing needs."""

    id: str
    kind: str
    sentence: str
    before: Any
    undone: bool


def record_act(connection: Connection, kind: str, sentence: str, before: Any, now: float) -> str:
    """Write down what was done; the oldest beyond KEPT are forgotten. Returns its id."""
    act = new_id(now, "a")
    connection.execute(
        text("INSERT INTO act (id, kind, sentence, before, at) VALUES (:id, :kind, :sentence, :before, :at)"),
        {"id": act, "kind": kind, "sentence": sentence, "before": to_json(before).decode(), "at": now},
    )
    connection.execute(
        text("DELETE FROM act WHERE at < (SELECT at FROM act ORDER BY at DESC LIMIT 1 OFFSET :kept)"),
        {"kept": MAX_ACTS - 1},
    )
    return act


def find_act(connection: Connection, act: str) -> ActRecord | None:
    """The act with this id."""
    row = connection.execute(
        text("SELECT id, kind, sentence, before, undone_at FROM act WHERE id = :id"), {"id": act}
    ).one_or_none()
    return (
        None
        if row is None
        else ActRecord(row.id, row.kind, row.sentence, from_json(row.before), row.undone_at is not None)
    )


def mark_undone(connection: Connection, act: str, now: float) -> bool:
    """Say that an act is undone; False where it was already, or is not known."""
    done = connection.execute(
        text("UPDATE act SET undone_at = :now WHERE id = :id AND undone_at IS NULL"), {"now": now, "id": act}
    )
    return done.rowcount == 1
