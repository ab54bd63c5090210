"""Where a sweep lives: what was asked for, and how far it is."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class Sweep(SQLModel, table=True):
    """One sweep; ``spec`` is a SweepSpec as JSON, ``planned`` how many runs it makes in all."""

    __tablename__ = "sweep"

    id: str = Field(primary_key=True)
    number: int = Field(unique=True)
    name: str = ""
    status: str = Field(index=True)
    reason: str = ""
    spec: str
    planned: int
    created_at: float
    ended_at: float | None = None
    idempotency_key: str | None = Field(None, unique=True)
