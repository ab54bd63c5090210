"""Storage of what retention has removed of runs, and of the files that are still to be deleted for it.

Files are written down in the transaction that forgets them, so that a crash in between leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pydantic_core import from_json
from sqlalchemy import BigInteger, Column, Connection, text
from sqlmodel import Field, SQLModel

from app.contract.timestamps import iso
from app.store.run import RunRecord

REMOVED: Final = {
    "checkpoints": "checkpoints to resume and fork from were",
    "best_checkpoints": "best checkpoint was",
    "predictions": "predictions were",
    "logs": "log was",
}
"""What can be removed of a run, in a sentence."""


class Removal(SQLModel, table=True):
    """A file to delete: its path in the artifact store, or its name in the folder of spools if ``kind`` is "spools".

    The path is a folder for a run that was deleted for good. ``at``: since when, in seconds since 1970.
    """

    __tablename__ = "removal"

    path: str = Field(primary_key=True)
    kind: str
    run: str
    bytes: int = Field(0, sa_column=Column(BigInteger, nullable=False))
    at: float


@dataclass(frozen=True)
class Doomed:
    """A row of ``removal`` without its time."""

    path: str
    kind: str
    run: str
    bytes: int


def add_removals(connection: Connection, doomed: Iterable[Doomed], now: float) -> None:
    """Write down files that are to be deleted; one that was there before stays."""
    statement = text(
        "INSERT INTO removal (path, kind, run, bytes, at) VALUES (:path, :kind, :run, :bytes, :now)"
        " ON CONFLICT (path) DO NOTHING"
    )
    for each in doomed:
        connection.execute(statement, each.__dict__ | {"now": now})


def list_removals(connection: Connection) -> list[Doomed]:
    """Files that are still to be deleted, the oldest first."""
    rows = connection.execute(text("SELECT path, kind, run, bytes FROM removal ORDER BY at, path"))
    return [Doomed(*row) for row in rows]


def count_removals(connection: Connection) -> tuple[int, int]:
    """How many files are still to be deleted, and their bytes."""
    count, size = connection.execute(text("SELECT count(*), coalesce(sum(bytes), 0) FROM removal")).one()
    return int(count), int(size)


def is_doomed(connection: Connection, path: str) -> bool:
    """Whether a file is still to be deleted."""
    return connection.execute(text("SELECT 1 FROM removal WHERE path = :path"), {"path": path}).scalar() is not None


def finish_removal(connection: Connection, path: str) -> None:
    """Forget a file that was deleted."""
    connection.execute(text("DELETE FROM removal WHERE path = :path"), {"path": path})


# What was removed ----------------------------------------------------------------------------------------------------


def removals_of(run: RunRecord) -> dict[str, str]:
    """When what was removed of a run, by the keys of REMOVED; ISO 8601, UTC."""
    removed: dict[str, float] = from_json(run.row.get("removed") or "{}")
    return {kind: iso(at) or "" for kind, at in removed.items()}


def why_removed(run: RunRecord, *kinds: str) -> str:
    """Say which of these kinds was removed of a run, and when; blank if none was."""
    for kind, at in removals_of(run).items():
        if kind in kinds:
            return f"its {REMOVED[kind]} removed on {at[:10]} to free disk space"
    return ""
