"""Storage of histograms and texts that scripts logged by step, each compressed in a row of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, bindparam, text
from sqlmodel import Field, SQLModel

from app.contract.errors import Invalid

Kind = Literal["histogram", "text"]

MAX_RECORDS: Final = 200_000
"""Histograms and texts of one run."""
MAX_BYTES: Final = 2**30
"""Compressed bytes of all of them together."""
# SQLite's integers have 64 bits under any name.
_STEP: Any = BigInteger().with_variant(Integer(), "sqlite")


class StepRecord(SQLModel, table=True):
    """One histogram or text. ``number``: its place in the order in which those of this name came, from 0.

    ``time``: seconds since 1970, UTC. ``content``: a packed histogram (app/contract/histogram.py), or UTF-8 in zlib.
    """

    __tablename__ = "step_record"

    run: str = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    kind: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    step: int = Field(sa_column=Column(_STEP, nullable=False))
    time: float
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


@dataclass(frozen=True)
class RecordPlace:
    """Where a record is: its number, step and time (seconds since 1970)."""

    number: int
    step: int
    time: float


@dataclass(frozen=True)
class RecordSeries:
    """The records of one kind and name."""

    name: str
    count: int
    first_step: int
    last_step: int


@dataclass(frozen=True)
class RecordTotals:
    """Number of histograms and texts of a run, and their bytes in the database."""

    count: int
    bytes: int


@dataclass(frozen=True)
class NewRecord:
    """A record to add; ``time`` in seconds since 1970."""

    step: int
    time: float
    content: bytes


_ADD = text(
    "INSERT INTO step_record (run, kind, name, number, step, time, content)"
    " VALUES (:run, :kind, :name, :number, :step, :time, :content)"
)


def add_records(connection: Connection, run: str, kind: Kind, name: str, records: Sequence[NewRecord]) -> None:
    """Add records after those of this name."""
    key = {"run": run, "kind": kind, "name": name}
    query = text("SELECT coalesce(max(number), -1) FROM step_record WHERE run = :run AND kind = :kind AND name = :name")
    first = int(connection.execute(query, key).scalar_one()) + 1
    rows = [
        key | {"number": number, "step": each.step, "time": each.time, "content": each.content}
        for number, each in enumerate(records, first)
    ]
    if rows:
        connection.execute(_ADD, rows)


def check_room(connection: Connection, run: str, count: int, size: int) -> None:
    """Raise Invalid if a run cannot have so many more records with so many bytes."""
    totals = record_totals(connection, run)
    if totals.count + count > MAX_RECORDS:
        raise Invalid(f"a run can have at most {MAX_RECORDS:,} histograms and texts")
    if totals.bytes + size > MAX_BYTES:
        raise Invalid(f"the histograms and texts of a run can have at most {MAX_BYTES // 2**20:,} MiB together")


def record_totals(connection: Connection, run: str) -> RecordTotals:
    """Number and bytes of a run's records."""
    query = text("SELECT count(*), coalesce(sum(length(content)), 0) FROM step_record WHERE run = :run")
    count, size = connection.execute(query, {"run": run}).one()
    return RecordTotals(int(count), int(size))


def list_series(connection: Connection, run: str, kind: Kind) -> list[RecordSeries]:
    """The names of a run's records of one kind, in their order."""
    query = text(
        "SELECT name, count(*), min(step), max(step) FROM step_record WHERE run = :run AND kind = :kind"
        " GROUP BY name ORDER BY name"
    )
    return [RecordSeries(*row) for row in connection.execute(query, {"run": run, "kind": kind})]


def list_places(connection: Connection, run: str, kind: Kind, name: str) -> list[RecordPlace]:
    """All records of a name in the order of their steps; those of one step in the order in which they came."""
    query = text(
        "SELECT number, step, time FROM step_record WHERE run = :run AND kind = :kind AND name = :name"
        " ORDER BY step, number"
    )
    return [RecordPlace(*row) for row in connection.execute(query, {"run": run, "kind": kind, "name": name})]


_CONTENTS = text(
    "SELECT number, content FROM step_record WHERE run = :run AND kind = :kind AND name = :name AND number IN :numbers"
).bindparams(bindparam("numbers", expanding=True))


def read_contents(connection: Connection, run: str, kind: Kind, name: str, numbers: Sequence[int]) -> dict[int, bytes]:
    """The contents of these records by number."""
    key = {"run": run, "kind": kind, "name": name, "numbers": list(numbers)}
    return {int(row.number): bytes(row.content) for row in connection.execute(_CONTENTS, key)}
