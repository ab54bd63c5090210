"""Storage of what was last notified of each disk, so that a restart repeats nothing."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, text
from sqlmodel import Field, SQLModel

from app.contract.disk_space import DiskSpace, State


class DiskState(SQLModel, table=True):
    """A disk that is low or full, by its machine and its size in bytes; ``at``: since when, in seconds since 1970."""

    __tablename__ = "disk_state"

    host: str = Field(primary_key=True)
    total: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    state: str
    at: float


def read_states(connection: Connection) -> dict[tuple[str, int], State]:
    """The states of disks that are low or full, by machine and size."""
    rows = connection.execute(text("SELECT host, total, state FROM disk_state"))
    return {(row.host, int(row.total)): row.state for row in rows}


def write_state(connection: Connection, disk: DiskSpace, now: float) -> None:
    """Note the state of a disk."""
    values = {"host": disk.host, "total": disk.total, "state": disk.state, "now": now}
    connection.execute(text("DELETE FROM disk_state WHERE host = :host AND total = :total"), values)
    if disk.state != "ok":
        connection.execute(
            text("INSERT INTO disk_state (host, total, state, at) VALUES (:host, :total, :state, :now)"), values
        )
