"""/api/2.0/mlflow/registered-models: names of models, with versions and aliases of these."""

from __future__ import annotations

from sqlalchemy import Connection

from app.actions import model_registry as acts
from app.routes.mlflow.filters import Sql
from app.routes.mlflow.model_filters import PROMPT, REGISTERED_MODELS, Order, condition, order
from app.routes.mlflow.model_versions import described as described_version
from app.routes.mlflow.model_versions import number_of
from app.routes.mlflow.pagination import next_token, offset_of
from app.routes.mlflow.protocol import Answer, Arguments, NotServed, call
from app.routes.mlflow.runs import pairs
from app.store.database import reading
from app.store.registered_model import RegisteredModelRecord, list_registered, newest_versions
from app.web.dependencies import Parts

MOST_FOUND = 1000


def described(connection: Connection, models: list[RegisteredModelRecord]) -> list[Answer]:
    """Return registered models as the protocol represents them."""
    newest = newest_versions(connection, [model.id for model in models])
    return [
        {
            "name": model.name,
            "creation_timestamp": round(model.created_at * 1000),
            "last_updated_timestamp": round(model.updated_at * 1000),
            "description": model.description,
            "latest_versions": [described_version(connection, newest[model.id])] if model.id in newest else [],
            "tags": pairs(model.tags),
            "aliases": [{"alias": alias, "version": str(version)} for alias, version in model.aliases.items()],
        }
        for model in models
    ]


def _answer(parts: Parts, model: RegisteredModelRecord) -> Answer:
    with reading(parts.engine) as connection:
        return {"registered_model": described(connection, [model])[0]}


def _name(args: Arguments) -> str:
    return args.text("name", most=1000)


@call("/registered-models/create")
def create_registered_model(parts: Parts, args: Arguments) -> Answer:
    """Add a name."""
    name, tags = _name(args), args.pairs("tags", acts.MAX_TAGS)
    if PROMPT in tags:
        raise NotServed("Runyard does not support MLflow's prompts, only its experiments, runs, files and models")
    description = args.text("description", "", most=acts.MAX_DESCRIPTION)
    return _answer(parts, acts.create(parts, name, description, tags))


@call("/registered-models/get", "GET")
def get_registered_model(parts: Parts, args: Arguments) -> Answer:
    """Return a registered model with its newest version."""
    with reading(parts.engine) as connection:
        model = acts.load_registered(connection, _name(args))
    return _answer(parts, model)


@call("/registered-models/rename")
def rename_registered_model(parts: Parts, args: Arguments) -> Answer:
    """Change a name; versions and aliases stay."""
    return _answer(parts, acts.rename(parts, _name(args), args.text("new_name", most=1000)))


@call("/registered-models/update", "PATCH")
def update_registered_model(parts: Parts, args: Arguments) -> Answer:
    """Set the description."""
    description = args.text("description", "", most=acts.MAX_DESCRIPTION)
    return _answer(parts, acts.edit(parts, _name(args), description=description))


@call("/registered-models/delete", "DELETE")
def delete_registered_model(parts: Parts, args: Arguments) -> Answer:
    """Remove a name with its versions and aliases; the files stay with their runs."""
    acts.delete(parts, _name(args))
    return {}


@call("/registered-models/search", "GET")
def search_registered_models(parts: Parts, args: Arguments) -> Answer:
    """Search registered models with a filter, page by page."""
    sql = Sql()
    wanted = condition(REGISTERED_MODELS, args.text("filter", "", most=10_000), sql)
    by = order(REGISTERED_MODELS, [Order(str(each)) for each in args.items("order_by", 20)], sql)
    most, offset = args.whole("max_results", 100, least=1, most=MOST_FOUND), offset_of(args)
    with reading(parts.engine) as connection:
        found = list_registered(connection, wanted, sql.values, by, most + 1, offset)
        models = described(connection, found[:most])
    return {"registered_models": models} | next_token(offset, most, len(found))


@call("/registered-models/get-latest-versions", "POST", "GET")
def get_latest_versions(parts: Parts, args: Arguments) -> Answer:
    """Return the newest version; none for a stage, which versions do not have here."""
    stages = {str(each).lower() for each in args.items("stages", 20)}
    with reading(parts.engine) as connection:
        model = acts.load_registered(connection, _name(args))
        newest = newest_versions(connection, [model.id]).get(model.id)
        fits = newest is not None and (not stages or "none" in stages)
        return {"model_versions": [described_version(connection, newest)] if newest and fits else []}


@call("/registered-models/set-tag")
def set_registered_model_tag(parts: Parts, args: Arguments) -> Answer:
    """Set a tag."""
    acts.edit(parts, _name(args), tags={args.text("key", most=250): args.text("value", "", most=8000)})
    return {}


@call("/registered-models/delete-tag", "DELETE")
def delete_registered_model_tag(parts: Parts, args: Arguments) -> Answer:
    """Remove a tag."""
    acts.untag(parts, _name(args), args.text("key", most=250))
    return {}


@call("/registered-models/alias")
def set_alias(parts: Parts, args: Arguments) -> Answer:
    """Let an alias point to a version."""
    acts.set_alias(parts, _name(args), args.text("alias", most=1000), number_of(args))
    return {}


@call("/registered-models/alias", "DELETE")
def delete_alias(parts: Parts, args: Arguments) -> Answer:
    """Remove an alias."""
    acts.remove_alias(parts, _name(args), args.text("alias", most=1000))
    return {}


@call("/registered-models/alias", "GET")
def get_by_alias(parts: Parts, args: Arguments) -> Answer:
    """Return the version that an alias points to."""
    version = acts.version_of_alias(parts, _name(args), args.text("alias", most=1000))
    with reading(parts.engine) as connection:
        return {"model_version": described_version(connection, version)}
