"""Storage of aliases: names for the best checkpoint of a run, which can be moved to another run, and their history."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, text
from sqlmodel import Field, SQLModel

ALIAS: Final = re.compile(r"^(?!r_)[a-z][a-z0-9]*(?:[-._][a-z0-9]+)*$")
"""What an alias looks like. Ids of runs begin with ``r_``, which an alias must not."""
MAX_ALIASES: Final = 1000
MAX_MOVES: Final = 200
"""Moves of an alias that are shown, the newest ones."""


class Alias(SQLModel, table=True):
    """A name that points to a run. The run cannot be deleted meanwhile."""

    __tablename__ = "alias"

    name: str = Field(primary_key=True)
    run: str = Field(foreign_key="run.id", index=True)
    moved_at: float


class AliasMove(SQLModel, table=True):
    """An alias was created, moved or removed. The runs by number, which outlives them.

    ``moved_by``: who did it, as far as known. Times are seconds since 1970.
    """

    __tablename__ = "alias_move"

    id: int | None = Field(None, primary_key=True)
    alias: str = Field(index=True)
    at: float
    before_number: int | None = None
    after_number: int | None = None
    moved_by: str = ""


@dataclass(frozen=True)
class AliasRecord:
    """An alias, and the run that it points to."""

    name: str
    run: str
    number: int
    moved_at: float


@dataclass(frozen=True)
class Move:
    """A move of an alias between runs, by their numbers; None where it did not exist. ``by``: "" for unknown.

    ``after_id``: the run's id, "" if it was deleted since.
    """

    id: int
    at: float
    before: int | None
    after: int | None
    by: str
    after_id: str


class TooManyAliases(ValueError):
    """The limit of aliases is reached."""


_READ = "SELECT a.name, a.run, r.number, a.moved_at FROM alias a JOIN run r ON r.id = a.run"


def list_aliases(connection: Connection) -> list[AliasRecord]:
    """All aliases, sorted by name."""
    return [AliasRecord(*row) for row in connection.execute(text(f"{_READ} ORDER BY a.name"))]


def find_alias(connection: Connection, name: str) -> AliasRecord | None:
    """The alias with this name."""
    row = connection.execute(text(f"{_READ} WHERE a.name = :name"), {"name": name}).one_or_none()
    return None if row is None else AliasRecord(*row)


def aliases_of(connection: Connection, runs: list[str]) -> dict[str, list[str]]:
    """Names of aliases by the run that they point to; runs without any are left out."""
    found: dict[str, list[str]] = {}
    for run, name in connection.execute(_OF, {"runs": runs}) if runs else ():
        found.setdefault(run, []).append(name)
    return found


_OF = text("SELECT run, name FROM alias WHERE run IN :runs ORDER BY name").bindparams(bindparam("runs", expanding=True))


def point_alias(connection: Connection, name: str, run: str, now: float, by: str = "") -> bool:
    """Let an alias point to a run, and note the move; False if it did before. Raises TooManyAliases."""
    before = find_alias(connection, name)
    if before is not None and before.run == run:
        return False
    if before is None:
        count = connection.execute(text("SELECT count(*) FROM alias")).scalar_one()
        if count >= MAX_ALIASES:
            raise TooManyAliases(f"limit of {MAX_ALIASES:,} aliases reached; delete one first")
        statement = "INSERT INTO alias (name, run, moved_at) VALUES (:name, :run, :now)"
    else:
        statement = "UPDATE alias SET run = :run, moved_at = :now WHERE name = :name"
    connection.execute(text(statement), {"name": name, "run": run, "now": now})
    number = connection.execute(text("SELECT number FROM run WHERE id = :run"), {"run": run}).scalar_one()
    _note(connection, name, now, None if before is None else before.number, number, by)
    return True


def remove_alias(connection: Connection, name: str, now: float, by: str = "") -> bool:
    """Remove an alias; its history stays. False if it does not exist."""
    before = find_alias(connection, name)
    if before is None:
        return False
    connection.execute(text("DELETE FROM alias WHERE name = :name"), {"name": name})
    _note(connection, name, now, before.number, None, by)
    return True


def list_moves(connection: Connection, name: str) -> list[Move]:
    """The history of an alias, the newest move first."""
    result = connection.execute(
        text(
            "SELECT m.id, m.at, m.before_number, m.after_number, m.moved_by, coalesce(r.id, '') FROM alias_move m"
            " LEFT JOIN run r ON r.number = m.after_number AND r.deleted_at IS NULL"
            " WHERE m.alias = :name ORDER BY m.id DESC LIMIT :most"
        ),
        {"name": name, "most": MAX_MOVES},
    )
    return [Move(*row) for row in result]


def _note(connection: Connection, alias: str, now: float, before: int | None, after: int | None, by: str) -> None:
    values = {"alias": alias, "at": now, "before_number": before, "after_number": after, "moved_by": by}
    columns = ", ".join(values)
    connection.execute(text(f"INSERT INTO alias_move ({columns}) VALUES (:{', :'.join(values)})"), values)
