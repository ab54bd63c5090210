"""/api/2.0/mlflow/experiments: the experiments that scripts log their runs to."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection

from app.actions.tracking import join_experiment
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
    """Return the requested experiment. Raises NotFound."""
    id = args.text("experiment_id", most=40)
    experiment = find_experiment(connection, int(id)) if id.isascii() and id.isdecimal() and len(id) < 16 else None
    if experiment is None:
        raise NotFound(f"no experiment with ID '{id}'")
    return experiment


def described(experiment: ExperimentRecord) -> dict[str, Any]:
    """Return an experiment as the protocol represents it."""
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


def _check_name_free(connection: Connection, name: str, own: int | None = None) -> None:
    existing = find_experiment_named(connection, name)
    if existing is not None and existing.id != own:
        hint = "" if existing.deleted_at is None else " in the trash; restore it, or use another name"
        raise Exists(f"experiment '{name}' already exists{hint}")


@call("/experiments/create")
def create_experiment(parts: Parts, args: Arguments) -> Answer:
    """Create an experiment."""
    name, tags = _name(args, "name"), args.pairs("tags", 100)
    with writing(parts.engine) as connection:
        _check_name_free(connection, name)
        return {"experiment_id": str(insert_experiment(connection, name, tags, time.time()))}


@call("/experiments/get", "GET")
def get_experiment(parts: Parts, args: Arguments) -> Answer:
    """Return an experiment by its ID."""
    with reading(parts.engine) as connection:
        experiment = experiment_of(connection, args)
    _join(parts, args, experiment)
    return {"experiment": described(experiment)}


@call("/experiments/get-by-name", "GET")
def get_experiment_by_name(parts: Parts, args: Arguments) -> Answer:
    """Return an experiment by its name."""
    name = args.text("experiment_name", most=LONGEST_NAME)
    with reading(parts.engine) as connection:
        experiment = find_experiment_named(connection, name)
    if experiment is None:
        raise NotFound(f"no experiment named '{name}'")
    _join(parts, args, experiment)
    return {"experiment": described(experiment)}


def _join(parts: Parts, args: Arguments, experiment: ExperimentRecord) -> None:
    """Let the run of a command follow ``mlflow.set_experiment``: the client continues no run of another experiment."""
    if args.within and experiment.deleted_at is None:
        join_experiment(parts, args.within, experiment)


@call("/experiments/search", "GET", "POST")
def search_experiments(parts: Parts, args: Arguments) -> Answer:
    """Search experiments, page by page."""
    sql = Sql()
    conditions = [experiment_condition(args.text("filter", "", most=10_000), sql)]
    conditions += {"ACTIVE_ONLY": ["deleted_at IS NULL"], "DELETED_ONLY": ["deleted_at IS NOT NULL"]}.get(
        view_of(args, "view_type"), []
    )
    order = order_of_experiments([str(each) for each in args.items("order_by", 20)])
    most, offset = args.whole("max_results", 1000, least=1, most=MOST_EXPERIMENTS), offset_of(args)
    with reading(parts.engine) as connection:
        records = list_experiments(connection, " AND ".join(conditions), sql.values, order, most + 1, offset)
    page = [described(experiment) for experiment in records[:most]]
    return {"experiments": page} | next_token(offset, most, len(records))


def view_of(args: Arguments, field: str) -> str:
    """Return the requested lifecycle stages; protobuf's JSON uses names or numbers."""
    value = args.text(field, "ACTIVE_ONLY", most=20).upper()
    view = {"1": "ACTIVE_ONLY", "2": "DELETED_ONLY", "3": "ALL"}.get(value, value)
    if view not in ("ACTIVE_ONLY", "DELETED_ONLY", "ALL"):
        raise Invalid(f"{field} must be one of ACTIVE_ONLY, DELETED_ONLY, ALL")
    return view


@call("/experiments/update")
def update_experiment(parts: Parts, args: Arguments) -> Answer:
    """Rename an experiment."""
    name = _name(args, "new_name")
    with writing(parts.engine) as connection:
        experiment = _active(connection, args)
        _check_name_free(connection, name, experiment.id)
        change_experiment(connection, experiment.id, time.time(), name=name)
    return {}


def _active(connection: Connection, args: Arguments) -> ExperimentRecord:
    experiment = experiment_of(connection, args)
    if experiment.deleted_at is not None:
        raise Conflict(f"experiment '{experiment.name}' is in the trash; restore it first")
    return experiment


@call("/experiments/delete")
def delete_experiment(parts: Parts, args: Arguments) -> Answer:
    """Move an experiment to the trash; its runs stay in the run table."""
    with writing(parts.engine) as connection:
        experiment = _active(connection, args)
        if experiment.id == DEFAULT:
            raise Invalid("the default experiment cannot be deleted")
        change_experiment(connection, experiment.id, time.time(), deleted_at=time.time())
    return {}


@call("/experiments/restore")
def restore_experiment(parts: Parts, args: Arguments) -> Answer:
    """Restore an experiment from the trash."""
    with writing(parts.engine) as connection:
        experiment = experiment_of(connection, args)
        change_experiment(connection, experiment.id, time.time(), deleted_at=None)
    return {}


@call("/experiments/set-experiment-tag")
def set_experiment_tag(parts: Parts, args: Arguments) -> Answer:
    """Set a tag of an experiment."""
    key, value = args.text("key", most=250), args.text("value", "", most=8000)
    with writing(parts.engine) as connection:
        experiment = _active(connection, args)
        change_experiment(connection, experiment.id, time.time(), tags=experiment.tags | {key: value})
    return {}


@call("/experiments/delete-experiment-tag")
def delete_experiment_tag(parts: Parts, args: Arguments) -> Answer:
    """Remove a tag from an experiment."""
    key = args.text("key", most=250)
    with writing(parts.engine) as connection:
        experiment = _active(connection, args)
        if key not in experiment.tags:
            raise NotFound(f"experiment '{experiment.name}' has no tag '{key[:60]}'")
        rest = {name: value for name, value in experiment.tags.items() if name != key}
        change_experiment(connection, experiment.id, time.time(), tags=rest)
    return {}
