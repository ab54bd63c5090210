"""How much of each event file was imported, so that whatever is sent again adds nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import BigInteger, Column, Connection, Index, bindparam, text
from sqlmodel import Field, SQLModel

Kind = Literal["file", "metric", "histogram", "text"]
"""``file``: notes only that a part of the file came, which may have nothing but images."""
Entries = dict[tuple[Kind, str], int]


class ImportedEntry(SQLModel, table=True):
    """Number of entries of one kind and name that a run has from one file.

    ``file``: blank for points that came without the name of a file, such as those that were imported before files had
    one.
    """

    __tablename__ = "imported_entry"
    __table_args__ = (Index("ix_imported_entry_file", "file"),)

    run: str = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    file: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    entries: int = Field(sa_column=Column(BigInteger, nullable=False))


@dataclass
class KnownEntries:
    """What a run has from a file. ``unassigned``: what it has from before files had names.

    ``changed``: what was received since it was read.
    """

    entries: Entries = field(default_factory=dict)
    unassigned: Entries = field(default_factory=dict)
    changed: set[tuple[Kind, str]] = field(default_factory=set)

    def take(self, kind: Kind, name: str, offset: int, count: int) -> int | None:
        """Note that a part of the file was received; returns how many entries of the part are known already.

        None if entries before the part are missing. ``offset``: number of the file's entries before the part.
        """
        key, end = (kind, name), offset + count
        known, unassigned = self.entries.get(key, 0), self.unassigned.get(key, 0)
        if taken := min(unassigned, max(0, end - known)):
            self.unassigned[key] = unassigned - taken
            known += taken
        if offset > known:
            return None
        self.entries[key] = max(known, end)
        self.changed.add(key)
        return known - offset


def find_imported(connection: Connection, files: Sequence[str]) -> str | None:
    """The run that has entries of one of these files; the earliest one, of several."""
    query = text("SELECT min(run) FROM imported_entry WHERE file IN :files").bindparams(
        bindparam("files", expanding=True)
    )
    found: str | None = connection.execute(query, {"files": list(files)}).scalar()
    return found


def read_entries(connection: Connection, run: str, file: str) -> KnownEntries:
    """What a run has from a file."""
    query = text("SELECT file, kind, name, entries FROM imported_entry WHERE run = :run AND file IN (:file, '')")
    known = KnownEntries()
    for row in connection.execute(query, {"run": run, "file": file}):
        part = known.entries if row.file == file else known.unassigned
        part[row.kind, row.name] = int(row.entries)
    return known


_PUT = text(
    "INSERT INTO imported_entry (run, file, kind, name, entries) VALUES (:run, :file, :kind, :name, :entries)"
    " ON CONFLICT (run, file, kind, name) DO UPDATE SET entries = excluded.entries"
)


def write_entries(connection: Connection, run: str, file: str, known: KnownEntries) -> None:
    """Write what was received of a file since it was read."""
    parts = [(file, known.entries)] + ([("", known.unassigned)] if file else [])
    rows = [
        {"run": run, "file": name, "kind": key[0], "name": key[1], "entries": entries[key]}
        for name, entries in parts
        for key in sorted(known.changed)
        if key in entries
    ]
    if rows:
        connection.execute(_PUT, rows)
