"""Storage of what is known about the files that scripts log to runs. Their contents are in the artifact store.

A content has a key of its own, which is not derived from the file's path, and a row in one of two tables: `run_file` if
it is complete and has a path, `loose_file` while it arrives, and from when it is deleted or replaced until it is gone.
So whatever is interrupted, nothing stays in the artifact store that no table names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Connection, bindparam, text
from sqlmodel import Field, SQLModel


class RunFile(SQLModel, table=True):
    """A complete file. ``key``: of its content; ``created_at``: seconds since 1970, UTC."""

    __tablename__ = "run_file"

    run: str = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    path: str = Field(primary_key=True)
    key: str
    bytes: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: float


class LooseFile(SQLModel, table=True):
    """A content that no path names, or a folder with parts of one, since ``created_at`` (seconds since 1970, UTC)."""

    __tablename__ = "loose_file"

    run: str = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    key: str = Field(primary_key=True)
    created_at: float = Field(index=True)


@dataclass(frozen=True)
class FileRecord:
    """A row of ``run_file`` without its run."""

    path: str
    key: str
    bytes: int
    created_at: float


@dataclass(frozen=True)
class FileTotals:
    """Number of a run's files, their bytes, and when the newest was logged (seconds since 1970; 0 without one)."""

    count: int
    bytes: int
    newest: float = 0.0

    @property
    def version(self) -> str:
        """A text that changes with the files."""
        return f"{self.count}-{self.bytes}-{self.newest:.3f}"


_COLUMNS = "path, key, bytes, created_at"
# Not by a range of paths: databases differ in how they order text.
_IN_FOLDER = "run = :run AND substr(path, 1, :length) = :start"


def _folder(run: str, folder: str) -> dict[str, str | int]:
    return {"run": run, "start": f"{folder}/", "length": len(folder) + 1}


def list_files(connection: Connection, run: str, folder: str = "") -> list[FileRecord]:
    """The files of a run, or those in a folder and its folders, by path."""
    condition = _IN_FOLDER if folder else "run = :run"
    query = text(f"SELECT {_COLUMNS} FROM run_file WHERE {condition} ORDER BY path")
    return [FileRecord(*row) for row in connection.execute(query, _folder(run, folder) if folder else {"run": run})]


def find_file(connection: Connection, run: str, path: str) -> FileRecord | None:
    """The file with this path."""
    query = text(f"SELECT {_COLUMNS} FROM run_file WHERE run = :run AND path = :path")
    row = connection.execute(query, {"run": run, "path": path}).one_or_none()
    return None if row is None else FileRecord(*row)


def is_folder(connection: Connection, run: str, path: str) -> bool:
    """Whether there are files in this folder."""
    query = text(f"SELECT 1 FROM run_file WHERE {_IN_FOLDER} LIMIT 1")
    return connection.execute(query, _folder(run, path)).scalar() is not None


def is_file(connection: Connection, run: str, key: str) -> bool:
    """Whether a file has this content."""
    query = text("SELECT 1 FROM run_file WHERE run = :run AND key = :key")
    return connection.execute(query, {"run": run, "key": key}).scalar() is not None


def file_among(connection: Connection, run: str, paths: Sequence[str]) -> str | None:
    """One of these paths that is a file."""
    query = text("SELECT path FROM run_file WHERE run = :run AND path IN :paths LIMIT 1")
    found: str | None = connection.execute(
        query.bindparams(bindparam("paths", expanding=True)), {"run": run, "paths": list(paths)}
    ).scalar()
    return found


def file_totals(connection: Connection, run: str) -> FileTotals:
    """How many files a run has, their bytes, and when the newest was logged."""
    query = text(
        "SELECT count(*), coalesce(sum(bytes), 0), coalesce(max(created_at), 0) FROM run_file WHERE run = :run"
    )
    count, size, newest = connection.execute(query, {"run": run}).one()
    return FileTotals(int(count), int(size), float(newest))


def folder_totals(connection: Connection, run: str, folder: str) -> FileTotals:
    """How many files are in a folder of a run, their bytes, and when the newest was logged."""
    query = text(
        f"SELECT count(*), coalesce(sum(bytes), 0), coalesce(max(created_at), 0) FROM run_file WHERE {_IN_FOLDER}"
    )
    count, size, newest = connection.execute(query, _folder(run, folder)).one()
    return FileTotals(int(count), int(size), float(newest))


def put_file(connection: Connection, run: str, record: FileRecord) -> str | None:
    """Give a loose content its path; returns the key of the content that had it before, which is loose from now on."""
    old = find_file(connection, run, record.path)
    forget_loose(connection, run, [record.key])
    if old is not None:
        delete_files(connection, run, [old], record.created_at)
    values = {"run": run, "path": record.path, "key": record.key, "bytes": record.bytes, "now": record.created_at}
    connection.execute(
        text("INSERT INTO run_file (run, path, key, bytes, created_at) VALUES (:run, :path, :key, :bytes, :now)"),
        values,
    )
    return None if old is None else old.key


def delete_files(connection: Connection, run: str, files: Sequence[FileRecord], now: float) -> None:
    """Take the paths away from contents, which are loose from now on."""
    for file in files:
        connection.execute(
            text("DELETE FROM run_file WHERE run = :run AND path = :path"), {"run": run, "path": file.path}
        )
        add_loose(connection, run, file.key, now)


# Contents without a path ---------------------------------------------------------------------------------------------


def add_loose(connection: Connection, run: str, key: str, now: float) -> None:
    """Record a content before anything of it is written."""
    connection.execute(
        text("INSERT INTO loose_file (run, key, created_at) VALUES (:run, :key, :now)"),
        {"run": run, "key": key, "now": now},
    )


def is_loose(connection: Connection, run: str, key: str) -> bool:
    """Whether this content is loose."""
    query = text("SELECT 1 FROM loose_file WHERE run = :run AND key = :key")
    return connection.execute(query, {"run": run, "key": key}).scalar() is not None


def forget_loose(connection: Connection, run: str, keys: Sequence[str]) -> None:
    """Remove the records of contents that are no longer loose, or gone."""
    for key in keys:
        connection.execute(text("DELETE FROM loose_file WHERE run = :run AND key = :key"), {"run": run, "key": key})


def loose_since(connection: Connection, before: float) -> list[tuple[str, str]]:
    """Runs and keys of contents that have been loose since ``before``."""
    query = text("SELECT run, key FROM loose_file WHERE created_at < :before")
    return [(row.run, row.key) for row in connection.execute(query, {"before": before})]
