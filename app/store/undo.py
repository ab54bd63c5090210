"""Storage of user actions that can be undone: a description, and the state needed to restore what was before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, text
from sqlmodel import Field, SQLModel

from app.store.run import new_id

MAX_ACTS = 500


class Act(SQLModel, table=True):
    """A user action; ``before`` is the JSON that undoing needs, ``undone_at`` when it was undone."""

    __tablename__ = "act"

    id: str = Field(primary_key=True)
    kind: str
    sentence: str
    before: str
    at: float = Field(index=True)
    undone_at: float | None = None


@dataclass(frozen=True)
class ActRecord:
    """An action with the data needed to undo it."""

    id: str
    kind: str
    sentence: str
    before: Any
    undone: bool


def record_act(connection: Connection, kind: str, sentence: str, before: Any, now: float) -> str:
    """Record an action and drop those beyond the newest MAX_ACTS; returns its id."""
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
    """The action with this id."""
    row = connection.execute(
        text("SELECT id, kind, sentence, before, undone_at FROM act WHERE id = :id"), {"id": act}
    ).one_or_none()
    return (
        None
        if row is None
        else ActRecord(row.id, row.kind, row.sentence, from_json(row.before), row.undone_at is not None)
    )


def mark_undone(connection: Connection, act: str, now: float) -> bool:
    """Mark an action as undone; False if it does not exist or was already undone."""
    done = connection.execute(
        text("UPDATE act SET undone_at = :now WHERE id = :id AND undone_at IS NULL"), {"now": now, "id": act}
    )
    return done.rowcount == 1
