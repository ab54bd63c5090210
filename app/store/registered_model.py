"""Storage of the model registry: names, the versions of models under them, and aliases of versions.

A version is a folder of a run's files. The run cannot be deleted while the version exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, ForeignKeyConstraint, bindparam, text
from sqlmodel import Field, SQLModel

from app.store.database import rows


class RegisteredModel(SQLModel, table=True):
    """A name. ``last_version``: the highest number that a version ever had; ``tags`` is JSON."""

    __tablename__ = "registered_model"

    id: int | None = Field(None, primary_key=True)
    name: str = Field(unique=True)
    description: str = ""
    tags: str = "{}"
    last_version: int = 0
    created_at: float
    updated_at: float


class ModelVersion(SQLModel, table=True):
    """A version: the files in ``folder`` of a run. ``source``: how its script named them.

    ``logged_model``: its id; blank if the files are no logged model. ``tags`` is JSON.
    """

    __tablename__ = "model_version"

    model: int = Field(primary_key=True, foreign_key="registered_model.id", ondelete="CASCADE")
    version: int = Field(primary_key=True)
    run: str = Field(foreign_key="run.id", index=True)
    folder: str
    logged_model: str = ""
    source: str
    run_link: str = ""
    description: str = ""
    tags: str = "{}"
    created_at: float
    updated_at: float


class VersionAlias(SQLModel, table=True):
    """A name of a version, which can move to another version of the same model."""

    __tablename__ = "version_alias"
    __table_args__ = (
        ForeignKeyConstraint(
            ["model", "version"], ["model_version.model", "model_version.version"], ondelete="CASCADE"
        ),
    )

    model: int = Field(primary_key=True)
    alias: str = Field(primary_key=True)
    version: int


@dataclass(frozen=True)
class RegisteredModelRecord:
    """A row of ``registered_model`` with its JSON parsed. ``aliases``: the version of each alias."""

    id: int
    name: str
    description: str
    tags: dict[str, str]
    last_version: int
    created_at: float
    updated_at: float
    aliases: dict[str, int]


@dataclass(frozen=True)
class ModelVersionRecord:
    """A row of ``model_version`` with its JSON parsed and the name of its model."""

    model: int
    version: int
    run: str
    folder: str
    logged_model: str
    source: str
    run_link: str
    description: str
    tags: dict[str, str]
    created_at: float
    updated_at: float
    name: str
    aliases: tuple[str, ...] = ()


_MODEL_COLUMNS: Final = "id, name, description, tags, last_version, created_at, updated_at"
_VERSION_COLUMNS: Final = (
    "model, version, run, folder, logged_model, source, run_link, description, tags, created_at, updated_at"
)
READ_VERSIONS: Final = (
    f"SELECT {', '.join(f'v.{column}' for column in _VERSION_COLUMNS.split(', '))}, r.name FROM model_version v"
    " JOIN registered_model r ON r.id = v.model"
)


# Names ---------------------------------------------------------------------------------------------------------------


def _models(connection: Connection, condition: str, values: Mapping[str, Any]) -> list[RegisteredModelRecord]:
    found = rows(connection.execute(text(f"SELECT {_MODEL_COLUMNS} FROM registered_model r {condition}"), values))
    aliases: dict[int, dict[str, int]] = {}
    for row in connection.execute(_ALIASES, {"models": [model["id"] for model in found]}):
        aliases.setdefault(row.model, {})[row.alias] = row.version
    return [
        RegisteredModelRecord(**(model | {"tags": from_json(model["tags"]), "aliases": aliases.get(model["id"], {})}))
        for model in found
    ]


_ALIASES = text("SELECT model, alias, version FROM version_alias WHERE model IN :models ORDER BY alias").bindparams(
    bindparam("models", expanding=True)
)


def find_registered(connection: Connection, name: str) -> RegisteredModelRecord | None:
    """The registered model with this name."""
    return next(iter(_models(connection, "WHERE name = :name", {"name": name})), None)


def list_registered(
    connection: Connection, condition: str, values: Mapping[str, Any], order: str, most: int, offset: int = 0
) -> list[RegisteredModelRecord]:
    """Registered models that meet an SQL condition."""
    tail = f"WHERE {condition} ORDER BY {order} LIMIT :page_limit OFFSET :page_offset"
    return _models(connection, tail, dict(values) | {"page_limit": most, "page_offset": offset})


def insert_registered(
    connection: Connection, name: str, description: str, tags: Mapping[str, str], now: float
) -> RegisteredModelRecord:
    """Add a name."""
    connection.execute(
        text(
            "INSERT INTO registered_model (name, description, tags, last_version, created_at, updated_at)"
            " VALUES (:name, :description, :tags, 0, :now, :now)"
        ),
        {"name": name, "description": description, "tags": to_json(dict(tags)).decode(), "now": now},
    )
    found = find_registered(connection, name)
    assert found is not None
    return found


def change_registered(connection: Connection, model: int, now: float, **changes: Any) -> None:
    """Change the name, the description or the tags."""
    _update(connection, "registered_model", "id = :model", {"model": model}, now, changes)


def _update(
    connection: Connection, table: str, where: str, at: dict[str, Any], now: float, changes: dict[str, Any]
) -> None:
    values = changes | {"updated_at": now}
    if "tags" in changes:
        values["tags"] = to_json(changes["tags"]).decode()
    assignments = ", ".join(f"{column} = :{column}" for column in values)
    connection.execute(text(f"UPDATE {table} SET {assignments} WHERE {where}"), values | at)


def delete_registered(connection: Connection, model: int) -> None:
    """Remove a name with its versions and aliases; the files stay with their runs."""
    connection.execute(text("DELETE FROM registered_model WHERE id = :model"), {"model": model})


# Versions ------------------------------------------------------------------------------------------------------------


def _versions(connection: Connection, tail: str, values: Mapping[str, Any]) -> list[ModelVersionRecord]:
    found = rows(connection.execute(text(f"{READ_VERSIONS} {tail}"), values))
    aliases: dict[tuple[int, int], list[str]] = {}
    for row in connection.execute(_ALIASES, {"models": sorted({version["model"] for version in found})}):
        aliases.setdefault((row.model, row.version), []).append(row.alias)
    return [
        ModelVersionRecord(
            **(each | {"tags": from_json(each["tags"])}),
            aliases=tuple(aliases.get((each["model"], each["version"]), ())),
        )
        for each in found
    ]


def find_version(connection: Connection, model: int, version: int) -> ModelVersionRecord | None:
    """A version of a registered model."""
    where = "WHERE v.model = :model AND v.version = :version"
    return next(iter(_versions(connection, where, {"model": model, "version": version})), None)


def list_versions(
    connection: Connection, condition: str, values: Mapping[str, Any], order: str, most: int, offset: int = 0
) -> list[ModelVersionRecord]:
    """Versions that meet an SQL condition."""
    tail = f"WHERE {condition} ORDER BY {order} LIMIT :page_limit OFFSET :page_offset"
    return _versions(connection, tail, dict(values) | {"page_limit": most, "page_offset": offset})


def count_versions(connection: Connection, model: int) -> int:
    """How many versions a registered model has."""
    query = text("SELECT count(*) FROM model_version WHERE model = :model")
    return int(connection.execute(query, {"model": model}).scalar_one())


def newest_versions(connection: Connection, models: Sequence[int]) -> dict[int, ModelVersionRecord]:
    """The newest version of each registered model; those without any are left out."""
    if not models:
        return {}
    tail = (
        "WHERE v.model IN :models AND v.version = (SELECT max(n.version) FROM model_version n WHERE n.model = v.model)"
    )
    query = text(f"{READ_VERSIONS} {tail}").bindparams(bindparam("models", expanding=True))
    found = connection.execute(query, {"models": list(models)}).all()
    records = [find_version(connection, row.model, row.version) for row in found]
    return {record.model: record for record in records if record is not None}


def versions_of_run(connection: Connection, run: str) -> list[tuple[str, int]]:
    """Names and numbers of the versions that come from a run."""
    query = text(
        "SELECT r.name, v.version FROM model_version v JOIN registered_model r ON r.id = v.model WHERE v.run = :run"
        " ORDER BY r.name, v.version"
    )
    return [(row.name, row.version) for row in connection.execute(query, {"run": run})]


def insert_version(connection: Connection, new: ModelVersionRecord) -> int:
    """Add a version with the next number, which no version of this name had before; returns it."""
    number = connection.execute(
        text(
            "UPDATE registered_model SET last_version = last_version + 1, updated_at = :now WHERE id = :model"
            " RETURNING last_version"
        ),
        {"model": new.model, "now": new.created_at},
    ).scalar_one()
    values = new.__dict__ | {"version": number, "tags": to_json(new.tags).decode()}
    places = ", ".join(f":{column}" for column in _VERSION_COLUMNS.split(", "))
    connection.execute(text(f"INSERT INTO model_version ({_VERSION_COLUMNS}) VALUES ({places})"), values)
    return int(number)


def restore_version(connection: Connection, version: ModelVersionRecord, now: float) -> None:
    """Add a version that was deleted, under its number, with those of its aliases that are free."""
    values = version.__dict__ | {"tags": to_json(version.tags).decode()}
    places = ", ".join(f":{column}" for column in _VERSION_COLUMNS.split(", "))
    connection.execute(text(f"INSERT INTO model_version ({_VERSION_COLUMNS}) VALUES ({places})"), values)
    known = next(iter(_models(connection, "WHERE id = :model", {"model": version.model}))).aliases
    for alias in version.aliases:
        put_alias(connection, version.model, alias, known.get(alias, version.version), now)


def change_version(connection: Connection, model: int, version: int, now: float, **changes: Any) -> None:
    """Change the description or the tags."""
    at = {"of": model, "number": version}
    _update(connection, "model_version", "model = :of AND version = :number", at, now, changes)


def delete_version(connection: Connection, model: int, version: int, now: float) -> None:
    """Remove a version with its aliases; its files stay with their run."""
    at = {"model": model, "version": version}
    connection.execute(text("DELETE FROM model_version WHERE model = :model AND version = :version"), at)
    change_registered(connection, model, now)


# Aliases -------------------------------------------------------------------------------------------------------------


def put_alias(connection: Connection, model: int, alias: str, version: int, now: float) -> None:
    """Let an alias point to a version; one that exists moves."""
    connection.execute(
        text(
            "INSERT INTO version_alias (model, alias, version) VALUES (:model, :alias, :version)"
            " ON CONFLICT (model, alias) DO UPDATE SET version = excluded.version"
        ),
        {"model": model, "alias": alias, "version": version},
    )
    change_registered(connection, model, now)


def drop_alias(connection: Connection, model: int, alias: str, now: float) -> None:
    """Remove an alias; the version stays."""
    connection.execute(
        text("DELETE FROM version_alias WHERE model = :model AND alias = :alias"), {"model": model, "alias": alias}
    )
    change_registered(connection, model, now)
