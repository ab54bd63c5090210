"""/api/2.0/mlflow/experiments: what scripts log their runs under."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection

from app.contract.errors import Conflict, Invalid, NotFound
from app.routes.mlflow.filters import Sql, experiment_condition, order_of_experiments
from app.routes.mlflow.pagination import next_token, offset_of
from app.routes.mlflow.protocol import Answer, Arguments, Exists, call
from app.store.database import reading, writing
from app.store.experiment import (
    DEFAULT,
    ExperimentRecord,
    change_experiment,
    find_experiment,
    find_experiment_named,
    insert_experiment,
    list_experiments,
)
from app.web.dependencies import Parts

MOST_EXPERIMENTS = 50_000
LONGEST_NAME = 500
ARTIFACTS = "mlflow-artifacts:/"


def experiment_of(connection: Connection, args: Arguments) -> ExperimentRecord:
    """The experiment that is meant. Raises NotFound."""
    name = args.text("experiment_id", most=40)
    found = find_experiment(connection, int(name)) if name.isascii() and name.isdecimal() and len(name) < 16 else None
    if found is None:
        raise NotFound(f"no experiment with id '{name}'")
    return found


def described(experiment: ExperimentRecord) -> dict[str, Any]:
    """An experiment as the protocol tells it."""
    return {
        "experiment_id": str(experiment.id),
        "name": experiment.name,
        "artifact_location": f"{ARTIFACTS}{experiment.id}",
        "lifecycle_stage": "active" if experiment.deleted_at is None else "deleted",
        "creation_time": round(experiment.created_at * 1000),
        "last_update_time": round(experiment.updated_at * 1000),
        "tags": [{"key": key, "value": value} for key, value in experiment.tags.items()],
    }


def _name(args: Arguments, field: str) -> str:
    name = args.text(field, most=LONGEST_NAME)
    if not name.strip():
        raise Invalid(f"{field} must not be empty")
    return name


def _free(connection: Connection, name: str, own: int | None = None) -> None:
    there = find_experiment_named(connection, name)
    if there is not None and there.id != own:
        where = "" if there.deleted_at is None else " in the trash; restore it, or take another name"
        raise Exists(f"there is an experiment '{name}' already{where}")


@call("/experiments/create")
def create_experiment(parts: Parts, args: Arguments) -> Answer:
    """Add an experiment."""
    name, tags = _name(args, "name"), args.pairs("tags", 100)
    with writing(parts.engine) as connection:
        _free(connection, name)
        return {"experiment_id": str(insert_experiment(connection, name, tags, time.time()))}


@call("/experiments/get", "GET")
def get_experiment(parts: Parts, args: Arguments) -> Answer:
    """An experiment by its id."""
    with reading(parts.engine) as connection:
        return {"experiment": described(experiment_of(connection, args))}


@call("/experiments/get-by-name", "GET")
def get_experiment_by_name(parts: Parts, args: Arguments) -> Answer:
    """An experiment by its name."""
    name = args.text("experiment_name", most=LONGEST_NAME)
    with reading(parts.engine) as connection:
        found = find_experiment_named(connection, name)
    if found is None:
        raise NotFound(f"no experiment named '{name}'")
    return {"experiment": described(found)}


@call("/experiments/search", "GET", "POST")
def search_experiments(parts: Parts, args: Arguments) -> Answer:
    """Experiments that match, page by page."""
    sql = Sql()
    conditions = [experiment_condition(args.text("filter", "", most=10_000), sql)]
    conditions += {"ACTIVE_ONLY": ["deleted_at IS NULL"], "DELETED_ONLY": ["deleted_at IS NOT NULL"]}.get(
        view_of(args, "view_type"), []
    )
    order = order_of_experiments([str(each) for each in args.items("order_by", 20)])
    most, offset = args.whole("max_results", 1000, least=1, most=MOST_EXPERIMENTS), offset_of(args)
    with reading(parts.engine) as connection:
        found = list_experiments(connection, " AND ".join(conditions), sql.values, order, most + 1, offset)
    return {"experiments": [described(each) for each in found[:most]]} | next_token(offset, most, len(found))


def view_of(args: Arguments, field: str) -> str:
    """Which stages of life are asked for; protobuf's JSON has names or numbers."""
    value = args.text(field, "ACTIVE_ONLY", most=20).upper()
    view = {"1": "ACTIVE_ONLY", "2": "DELETED_ONLY", "3": "ALL"}.get(value, value)
    if view not in ("ACTIVE_ONLY", "DELETED_ONLY", "ALL"):
        raise Invalid(f"{field} must be one of ACTIVE_ONLY, DELETED_ONLY, ALL")
    return view


@call("/experiments/update")
def update_experiment(parts: Parts, args: Arguments) -> Answer:
    """Give an experiment another name."""
    name = _name(args, "new_name")
    with writing(parts.engine) as connection:
        found = _active(connection, args)
        _free(connection, name, found.id)
        change_experiment(connection, found.id, time.time(), name=name)
    return {}


def _active(connection: Connection, args: Arguments) -> ExperimentRecord:
    found = experiment_of(connection, args)
    if found.deleted_at is not None:
        raise Conflict(f"experiment '{found.name}' is in the trash; restore it first")
    return found


@call("/experiments/delete")
def delete_experiment(parts: Parts, args: Arguments) -> Answer:
    """Put an experiment into the trash; its runs stay in the run table."""
    with writing(parts.engine) as connection:
        found = _active(connection, args)
        if found.id == DEFAULT:
            raise Invalid("the experiment of those that name none cannot be deleted")
        change_experiment(connection, found.id, time.time(), deleted_at=time.time())
    return {}


@call("/experiments/restore")
def restore_experiment(parts: Parts, args: Arguments) -> Answer:
    """Take an experiment out of the trash."""
    with writing(parts.engine) as connection:
        found = experiment_of(connection, args)
        change_experiment(connection, found.id, time.time(), deleted_at=None)
    return {}


@call("/experiments/set-experiment-tag")
def set_experiment_tag(parts: Parts, args: Arguments) -> Answer:
    """Set a tag of an experiment."""
    key, value = args.text("key", most=250), args.text("value", "", most=8000)
    with writing(parts.engine) as connection:
        found = _active(connection, args)
        change_experiment(connection, found.id, time.time(), tags=found.tags | {key: value})
    return {}


@call("/experiments/delete-experiment-tag")
def delete_experiment_tag(parts: Parts, args: Arguments) -> Answer:
    """Take a tag from an experiment."""
    key = args.text("key", most=250)
    with writing(parts.engine) as connection:
        found = _active(connection, args)
        if key not in found.tags:
            raise NotFound(f"experiment '{found.name}' has no tag '{key[:60]}'")
        rest = {name: value for name, value in found.tags.items() if name != key}
        change_experiment(connection, found.id, time.time(), tags=rest)
    return {}
