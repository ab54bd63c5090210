"""Storage of experiments: the names under which scripts log their runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, text
from sqlmodel import Field, SQLModel

DEFAULT = 0
"""Id of the default experiment, which always exists, for scripts that name none."""


class Experiment(SQLModel, table=True):
    """A name under which runs are logged; ``tags`` is JSON."""

    __tablename__ = "experiment"

    id: int | None = Field(None, primary_key=True)
    name: str = Field(unique=True)
    tags: str = "{}"
    created_at: float
    updated_at: float
    deleted_at: float | None = None


@dataclass(frozen=True)
class ExperimentRecord:
    """A row of ``experiment`` with its JSON parsed."""

    id: int
    name: str
    tags: dict[str, str]
    created_at: float
    updated_at: float
    deleted_at: float | None


_COLUMNS = "id, name, tags, created_at, updated_at, deleted_at"


def _record(row: Any) -> ExperimentRecord:
    return ExperimentRecord(row.id, row.name, from_json(row.tags), row.created_at, row.updated_at, row.deleted_at)


def find_experiment(connection: Connection, experiment: int) -> ExperimentRecord | None:
    """The experiment with this id, even if deleted."""
    result = connection.execute(text(f"SELECT {_COLUMNS} FROM experiment WHERE id = :id"), {"id": experiment})
    match = result.one_or_none()
    return None if match is None else _record(match)


def find_experiment_named(connection: Connection, name: str) -> ExperimentRecord | None:
    """The experiment with this name, even if deleted."""
    result = connection.execute(text(f"SELECT {_COLUMNS} FROM experiment WHERE name = :name"), {"name": name})
    match = result.one_or_none()
    return None if match is None else _record(match)


def insert_experiment(connection: Connection, name: str, tags: Mapping[str, str], now: float) -> int:
    """Add an experiment; returns its id."""
    return int(
        connection.execute(
            text(
                "INSERT INTO experiment (name, tags, created_at, updated_at) VALUES (:name, :tags, :now, :now)"
                " RETURNING id"
            ),
            {"name": name, "tags": to_json(dict(tags)).decode(), "now": now},
        ).scalar_one()
    )


def change_experiment(connection: Connection, experiment: int, now: float, **changes: Any) -> None:
    """Update columns of an experiment; its name is also the family of its runs."""
    if "tags" in changes:
        changes["tags"] = to_json(changes["tags"]).decode()
    assignments = ", ".join(f"{column} = :{column}" for column in (*changes, "updated_at"))
    connection.execute(
        text(f"UPDATE experiment SET {assignments} WHERE id = :id"), changes | {"updated_at": now, "id": experiment}
    )
    if "name" in changes:
        connection.execute(
            text(
                "UPDATE run SET family = :name, config = json_set(config, '$.family', :name)"
                " WHERE id IN (SELECT run FROM logged_run WHERE experiment = :id)"
            ),
            {"name": changes["name"], "id": experiment},
        )


def list_experiments(
    connection: Connection, condition: str, values: Mapping[str, Any], order: str, limit: int, offset: int
) -> list[ExperimentRecord]:
    """Experiments that match an SQL condition."""
    statement = (
        f"SELECT {_COLUMNS} FROM experiment WHERE {condition} ORDER BY {order} LIMIT :page_limit OFFSET :page_offset"
    )
    result = connection.execute(text(statement), dict(values) | {"page_limit": limit, "page_offset": offset})
    return [_record(row) for row in result]
