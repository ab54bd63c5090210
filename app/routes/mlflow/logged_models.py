"""/api/2.0/mlflow/logged-models: models that scripts log, and what is known about them."""

from __future__ import annotations

import re

from sqlalchemy import Connection, text

from app.actions import logged_models as acts
from app.actions.logged_models import NewModel
from app.contract.errors import Conflict, Invalid
from app.routes.mlflow.experiments import ARTIFACTS, experiment_of
from app.routes.mlflow.filters import Sql
from app.routes.mlflow.model_filters import LOGGED_MODELS, OfDataset, Order, condition, order
from app.routes.mlflow.pagination import next_token, offset_of
from app.routes.mlflow.protocol import Answer, Arguments, call, number_as_json
from app.routes.mlflow.runs import pairs
from app.store.database import reading
from app.store.logged_model import LoggedModelRecord, ModelPoint, Status, find_models, list_metrics
from app.web.dependencies import Parts

MOST_FOUND = 1000
LONGEST_NAME = 500
_THEIRS = {"PENDING": "LOGGED_MODEL_PENDING", "READY": "LOGGED_MODEL_READY", "FAILED": "LOGGED_MODEL_UPLOAD_FAILED"}
_STATUSES: dict[str, Status] = {
    "LOGGED_MODEL_PENDING": "PENDING",
    "LOGGED_MODEL_READY": "READY",
    "LOGGED_MODEL_UPLOAD_FAILED": "FAILED",
    "1": "PENDING",
    "2": "READY",
    "3": "FAILED",
}
_UNUSABLE = re.compile(r"[/:.%\"'\\]")


def artifacts_of(model: LoggedModelRecord) -> str:
    """Return the address of a model's files."""
    return f"{ARTIFACTS}{model.experiment}/models/{model.id}/artifacts"


def described(connection: Connection, models: list[LoggedModelRecord]) -> list[Answer]:
    """Return models as the protocol represents them."""
    metrics = list_metrics(connection, [model.id for model in models])
    answers: list[Answer] = [
        {
            "info": {
                "model_id": model.id,
                "experiment_id": str(model.experiment),
                "name": model.name,
                "artifact_uri": artifacts_of(model),
                "creation_timestamp_ms": round(model.created_at * 1000),
                "last_updated_timestamp_ms": round(model.updated_at * 1000),
                "status": _THEIRS[model.status],
                "source_run_id": model.run,
                "tags": pairs(model.tags),
            },
            "data": {
                "params": pairs(model.parameters),
                "metrics": [_metric(point) for point in metrics.get(model.id, [])],
            },
        }
        for model in models
    ]
    for model, answer in zip(models, answers, strict=True):
        # Clients take a blank one for a type.
        if model.kind:
            answer["info"]["model_type"] = model.kind
    return answers


def _metric(point: ModelPoint) -> Answer:
    metric = {
        "key": point.name,
        "value": number_as_json(point.value),
        "timestamp": round(point.at * 1000),
        "step": point.step,
        "model_id": point.model,
        "run_id": point.run,
    }
    named = {"dataset_name": point.dataset_name, "dataset_digest": point.dataset_digest}
    return metric | {key: value for key, value in named.items() if value}


def _answer(parts: Parts, model: LoggedModelRecord) -> Answer:
    with reading(parts.engine) as connection:
        return {"model": described(connection, [model])[0]}


def _id(args: Arguments) -> str:
    return args.text("model_id", most=80)


@call("/logged-models")
def create_model(parts: Parts, args: Arguments) -> Answer:
    """Create a model; its files follow."""
    name = args.text("name", "", most=LONGEST_NAME)
    if not name.isprintable() or _UNUSABLE.search(name) or (name and not name.strip()):
        raise Invalid(
            f"'{name[:60]!a}' cannot be the name of a model: leave out / : . % \" ' \\ and control characters"
        )
    with reading(parts.engine) as connection:
        experiment = experiment_of(connection, args)
    if experiment.deleted_at is not None:
        raise Conflict(f"experiment '{experiment.name}' is in the trash; restore it first")
    new = NewModel(
        experiment,
        name,
        args.text("model_type", "", most=500),
        args.text("source_run_id", "", most=80),
        args.pairs("tags", acts.MAX_TAGS),
        args.pairs("params", acts.MAX_PARAMETERS),
    )
    return _answer(parts, acts.create(parts, new, args.within))


@call("/logged-models/{model_id}", "GET")
def get_model(parts: Parts, args: Arguments) -> Answer:
    """Return a model; one that was deleted only if that is requested."""
    deleted = args.text("allow_deleted", "", most=10).lower() == "true"
    return _answer(parts, acts.find(parts, _id(args), deleted=deleted))


@call("/logged-models/{model_id}", "PATCH")
def finalize_model(parts: Parts, args: Arguments) -> Answer:
    """Say whether all files of a model have arrived."""
    status = args.text("status", most=40).upper()
    if status not in _STATUSES:
        raise Invalid(f"no status '{status}'; statuses: {', '.join(_THEIRS.values())}")
    return _answer(parts, acts.finish(parts, _id(args), _STATUSES[status]))


@call("/logged-models/{model_id}", "DELETE")
def delete_model(parts: Parts, args: Arguments) -> Answer:
    """Delete a model; its files stay with its run."""
    acts.delete(parts, _id(args))
    return {}


@call("/logged-models/{model_id}/params")
def log_parameters(parts: Parts, args: Arguments) -> Answer:
    """Add parameters to a model."""
    acts.describe(parts, _id(args), args.pairs("params", acts.MAX_PARAMETERS))
    return {}


@call("/logged-models/{model_id}/tags", "PATCH")
def set_tags(parts: Parts, args: Arguments) -> Answer:
    """Set tags of a model."""
    acts.tag(parts, _id(args), args.pairs("tags", acts.MAX_TAGS))
    return _answer(parts, acts.find(parts, _id(args)))


@call("/logged-models/{model_id}/tags/{tag_key:path}", "DELETE")
def delete_tag(parts: Parts, args: Arguments) -> Answer:
    """Remove a tag from a model."""
    acts.untag(parts, _id(args), args.text("tag_key", most=250))
    return {}


@call("/logged-models/search")
def search_models(parts: Parts, args: Arguments) -> Answer:
    """Search the models of experiments with a filter, page by page."""
    sql = Sql()
    experiments = [str(each) for each in args.items("experiment_ids", 1000)]
    ids = ", ".join(
        sql.bind(int(each)) for each in experiments if each.isascii() and each.isdecimal() and len(each) < 16
    )
    orders = [
        Order(
            f"{each.text('field_name', most=500)} {'ASC' if each.flag('ascending', True) else 'DESC'}", _dataset(each)
        )
        for each in args.parts("order_by", 20)
    ]
    wanted = condition(
        LOGGED_MODELS,
        args.text("filter", "", most=10_000),
        sql,
        [_dataset(each) for each in args.parts("datasets", 20)],
    )
    by = order(LOGGED_MODELS, orders, sql)
    most, offset = args.whole("max_results", 100, least=1, most=MOST_FOUND), offset_of(args)
    # Without those of runs in the trash: their files cannot be changed, and may be removed for good soon.
    statement = (
        f"SELECT id FROM logged_model WHERE experiment IN ({ids}) AND deleted_at IS NULL AND {wanted}"
        " AND NOT EXISTS (SELECT 1 FROM run WHERE run.id = logged_model.run AND run.deleted_at IS NOT NULL)"
        f" ORDER BY {by} LIMIT :page_limit OFFSET :page_offset"
    )
    values = sql.values | {"page_limit": most + 1, "page_offset": offset}
    with reading(parts.engine) as connection:
        matches = [str(model) for model in connection.execute(text(statement), values).scalars()]
        models = described(connection, find_models(connection, matches[:most]))
    return {"models": models} | next_token(offset, most, len(matches))


def _dataset(args: Arguments) -> OfDataset:
    return OfDataset(args.text("dataset_name", "", most=500), args.text("dataset_digest", "", most=100))
