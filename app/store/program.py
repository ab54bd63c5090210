"""Programs that their owner offers for launching, signed; see app/contract/program.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, text
from sqlmodel import Field, SQLModel

from app.contract.program import Program


class StoredProgram(SQLModel, table=True):
    """A program as JSON, with its signature; timestamps in seconds since 1970."""

    __tablename__ = "program"

    name: str = Field(primary_key=True)
    content: str
    added_at: float
    changed_at: float


@dataclass(frozen=True)
class ProgramRecord:
    """A stored program; ``program`` is None if the row cannot be read."""

    name: str
    program: Program | None
    added_at: float
    changed_at: float


def list_programs(connection: Connection) -> list[ProgramRecord]:
    """All programs by name."""
    rows = connection.execute(text("SELECT name, content, added_at, changed_at FROM program ORDER BY name"))
    return [_read(row) for row in rows]


def find_program(connection: Connection, name: str) -> ProgramRecord | None:
    """The program with this name."""
    row = connection.execute(
        text("SELECT name, content, added_at, changed_at FROM program WHERE name = :name"), {"name": name}
    ).one_or_none()
    return None if row is None else _read(row)


def put_program(connection: Connection, program: Program, now: float) -> None:
    """Add a program, or replace the one of its name."""
    connection.execute(
        text(
            "INSERT INTO program (name, content, added_at, changed_at) VALUES (:name, :content, :now, :now)"
            " ON CONFLICT (name) DO UPDATE SET content = excluded.content, changed_at = excluded.changed_at"
        ),
        {"name": program.name, "content": program.model_dump_json(), "now": now},
    )


def delete_program(connection: Connection, name: str) -> None:
    """Remove a program; its runs stay."""
    connection.execute(text("DELETE FROM program WHERE name = :name"), {"name": name})


def _read(row: Any) -> ProgramRecord:
    try:
        program = Program.model_validate_json(row.content)
    except ValidationError:
        # A damaged row must not hide the other programs; launching says what to do.
        program = None
    return ProgramRecord(row.name, program, row.added_at, row.changed_at)
