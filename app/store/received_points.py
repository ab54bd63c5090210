"""How many points each of several clients has logged to one run, so that what a client sends again adds nothing."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, text
from sqlmodel import Field, SQLModel


class ReceivedPoints(SQLModel, table=True):
    """Points of one metric from one client; ``client``: the key that it chose when it began."""

    __tablename__ = "received_points"

    run: str = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    client: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    points: int = 0


def count_received(connection: Connection, run: str, client: str) -> dict[str, int]:
    """Number of points of each metric that a run has from a client."""
    found = connection.execute(
        text("SELECT name, points FROM received_points WHERE run = :run AND client = :client"),
        {"run": run, "client": client},
    )
    return {row.name: row.points for row in found}


def add_received(connection: Connection, run: str, client: str, new: Mapping[str, int]) -> None:
    """Count new points of a client by metric."""
    if new:
        connection.execute(
            _ADD, [{"run": run, "client": client, "name": name, "points": points} for name, points in new.items()]
        )


_ADD = text(
    "INSERT INTO received_points (run, client, name, points) VALUES (:run, :client, :name, :points)"
    " ON CONFLICT (run, client, name) DO UPDATE SET points = received_points.points + excluded.points"
)
