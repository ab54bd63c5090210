"""Storage of models that scripts log: what is known about them. Their files are files of the run that they come from.

A model's files are in a folder of that run, so they are counted, moved to the trash and removed with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from pydantic_core import from_json, to_json
from sqlalchemy import BigInteger, Column, Connection, UniqueConstraint, bindparam, text
from sqlmodel import Field, SQLModel

Status = Literal["PENDING", "READY", "FAILED"]
Role = Literal["input", "output"]
FOLDER: Final = "models"
"""The folder of a run's files that has a folder for each of its models."""


class LoggedModel(SQLModel, table=True):
    """A model. ``folder``: of its files, among those of its run; ``kind``: how its script calls its type.

    ``own_run``: its run exists for this model only. ``tags`` and ``parameters`` are JSON. Times are seconds since 1970.
    """

    __tablename__ = "logged_model"
    __table_args__ = (UniqueConstraint("run", "folder"),)

    id: str = Field(primary_key=True)
    run: str = Field(foreign_key="run.id", ondelete="CASCADE")
    experiment: int = Field(foreign_key="experiment.id", index=True)
    name: str
    folder: str
    kind: str = ""
    status: str
    tags: str = "{}"
    parameters: str = "{}"
    own_run: bool = False
    created_at: float
    updated_at: float
    deleted_at: float | None = None


class ModelMetric(SQLModel, table=True):
    """A point of a metric of a model, as a run logged it for a dataset; its name and digest are blank if there is none.

    ``value``: None for NaN.
    """

    __tablename__ = "model_metric"

    model: str = Field(primary_key=True, foreign_key="logged_model.id", ondelete="CASCADE")
    name: str = Field(primary_key=True)
    run: str = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE", index=True)
    dataset_name: str = Field("", primary_key=True)
    dataset_digest: str = Field("", primary_key=True)
    step: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    at: float = Field(primary_key=True)
    value: float | None


class RunModel(SQLModel, table=True):
    """A model that a run used (``role`` "input") or made ("output") at a step."""

    __tablename__ = "run_model"

    run: str = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    model: str = Field(primary_key=True, foreign_key="logged_model.id", ondelete="CASCADE", index=True)
    role: str = Field(primary_key=True)
    step: int = Field(0, sa_column=Column(BigInteger, nullable=False))


@dataclass(frozen=True)
class LoggedModelRecord:
    """A row of ``logged_model`` with its JSON parsed."""

    id: str
    run: str
    experiment: int
    name: str
    folder: str
    kind: str
    status: str
    tags: dict[str, str]
    parameters: dict[str, str]
    own_run: bool
    created_at: float
    updated_at: float
    deleted_at: float | None = None


@dataclass(frozen=True)
class ModelPoint:
    """A value of a model's metric; the time ``at`` in seconds since 1970."""

    model: str
    name: str
    run: str
    dataset_name: str
    dataset_digest: str
    value: float
    step: int
    at: float


@dataclass(frozen=True)
class UsedModel:
    """A model that a run used or made."""

    run: str
    model: str
    role: Role
    step: int = 0


COLUMNS: Final = (
    "id, run, experiment, name, folder, kind, status, tags, parameters, own_run, created_at, updated_at, deleted_at"
)


def _record(row: Any) -> LoggedModelRecord:
    record = LoggedModelRecord(*row)
    parsed = {"tags": from_json(row.tags), "parameters": from_json(row.parameters)}
    return replace(record, own_run=bool(record.own_run), **parsed)


def find_model(connection: Connection, model: str) -> LoggedModelRecord | None:
    """The model with this id, even if deleted."""
    row = connection.execute(text(f"SELECT {COLUMNS} FROM logged_model WHERE id = :id"), {"id": model}).one_or_none()
    return None if row is None else _record(row)


def find_models(connection: Connection, models: Sequence[str]) -> list[LoggedModelRecord]:
    """Models in the order of these ids, even if deleted."""
    query = text(f"SELECT {COLUMNS} FROM logged_model WHERE id IN :ids").bindparams(bindparam("ids", expanding=True))
    by_id = {row.id: _record(row) for row in connection.execute(query, {"ids": list(models)})}
    return [by_id[model] for model in models if model in by_id]


def count_models(connection: Connection, run: str) -> int:
    """How many models a run has logged, deleted ones too."""
    query = text("SELECT count(*) FROM logged_model WHERE run = :run")
    return int(connection.execute(query, {"run": run}).scalar_one())


def folder_for(model: str, name: str) -> str:
    """The folder for the files of a new model: readable by its name, and by its id nobody else's."""
    clean = "".join(each if each.isprintable() and each not in "/\\" else "_" for each in name)[:50]
    return f"{FOLDER}/{clean}-{model.removeprefix('m-')[:12]}"


def model_folders(connection: Connection, run: str) -> set[str]:
    """The folders of a run's models among its files, of deleted ones too."""
    query = text("SELECT folder FROM logged_model WHERE run = :run")
    return set(connection.execute(query, {"run": run}).scalars())


def insert_model(connection: Connection, model: LoggedModelRecord) -> None:
    """Add a model."""
    values = model.__dict__ | {
        "tags": to_json(model.tags).decode(),
        "parameters": to_json(model.parameters).decode(),
    }
    places = ", ".join(f":{name}" for name in COLUMNS.split(", "))
    connection.execute(text(f"INSERT INTO logged_model ({COLUMNS}) VALUES ({places})"), values)


def change_model(
    connection: Connection,
    model: str,
    now: float,
    *,
    status: Status | None = None,
    tags: Mapping[str, str] | None = None,
    parameters: Mapping[str, str] | None = None,
    deleted: bool = False,
) -> None:
    """Change what is given; tags and parameters replace those that the model had."""
    values: dict[str, Any] = {"updated_at": now}
    if status is not None:
        values["status"] = status
    if tags is not None:
        values["tags"] = to_json(dict(tags)).decode()
    if parameters is not None:
        values["parameters"] = to_json(dict(parameters)).decode()
    if deleted:
        values["deleted_at"] = now
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    connection.execute(text(f"UPDATE logged_model SET {assignments} WHERE id = :id"), values | {"id": model})


# Metrics -------------------------------------------------------------------------------------------------------------


def write_metrics(connection: Connection, points: Sequence[ModelPoint]) -> None:
    """Add points; one that a client sends again is there already. Each model must exist."""
    if points:
        rows = [each.__dict__ | {"value": None if math.isnan(each.value) else each.value} for each in points]
        connection.execute(_ADD_METRIC, rows)


_ADD_METRIC = text(
    "INSERT INTO model_metric (model, name, run, dataset_name, dataset_digest, step, at, value)"
    " VALUES (:model, :name, :run, :dataset_name, :dataset_digest, :step, :at, :value) ON CONFLICT DO NOTHING"
)


def list_metrics(connection: Connection, models: Sequence[str]) -> dict[str, list[ModelPoint]]:
    """The points of metrics by model, by name and time; models without any are left out."""
    found: dict[str, list[ModelPoint]] = {}
    for row in connection.execute(_METRICS, {"models": list(models)}):
        value = math.nan if row.value is None else row.value
        point = ModelPoint(row.model, row.name, row.run, row.dataset_name, row.dataset_digest, value, row.step, row.at)
        found.setdefault(row.model, []).append(point)
    return found


_METRICS = text(
    "SELECT model, name, run, dataset_name, dataset_digest, value, step, at FROM model_metric WHERE model IN :models"
    " ORDER BY name, at, step"
).bindparams(bindparam("models", expanding=True))


# Runs that used or made models ---------------------------------------------------------------------------------------


def put_used(connection: Connection, used: Sequence[UsedModel]) -> None:
    """Record which models a run used or made; of one that it had before, the step changes."""
    for each in used:
        connection.execute(_PUT_USED, each.__dict__)


_PUT_USED = text(
    "INSERT INTO run_model (run, model, role, step) VALUES (:run, :model, :role, :step)"
    " ON CONFLICT (run, model, role) DO UPDATE SET step = excluded.step"
)


def list_used(connection: Connection, runs: Sequence[str]) -> dict[str, list[UsedModel]]:
    """The models that runs used or made, by run; runs without any are left out."""
    found: dict[str, list[UsedModel]] = {}
    for row in connection.execute(_USED, {"runs": list(runs)}):
        found.setdefault(row.run, []).append(UsedModel(row.run, row.model, row.role, row.step))
    return found


_USED = text("SELECT run, model, role, step FROM run_model WHERE run IN :runs ORDER BY step, model").bindparams(
    bindparam("runs", expanding=True)
)
