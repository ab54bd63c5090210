"""/api/2.0/mlflow/model-versions: the versions of registered models."""

from __future__ import annotations

from sqlalchemy import Connection

from app.actions import model_registry as acts
from app.actions.model_registry import NewVersion
from app.contract.errors import NotFound
from app.routes.mlflow.experiments import ARTIFACTS
from app.routes.mlflow.filters import Sql
from app.routes.mlflow.logged_models import artifacts_of
from app.routes.mlflow.model_filters import VERSIONS, Order, condition, order
from app.routes.mlflow.pagination import next_token, offset_of
from app.routes.mlflow.protocol import Answer, Arguments, call
from app.routes.mlflow.runs import pairs
from app.store.database import reading
from app.store.logged_model import find_model
from app.store.registered_model import ModelVersionRecord, list_versions
from app.store.run_file import is_folder
from app.store.tracked_run import find_logged
from app.web.dependencies import Parts

MOST_FOUND = 200_000


def described(connection: Connection, version: ModelVersionRecord) -> Answer:
    """Return a version as the protocol represents it; one without files is one that failed."""
    ready = is_folder(connection, version.run, version.folder)
    answer: Answer = {
        "name": version.name,
        "version": str(version.version),
        "creation_timestamp": round(version.created_at * 1000),
        "last_updated_timestamp": round(version.updated_at * 1000),
        "current_stage": "None",
        "description": version.description,
        "source": version.source,
        "run_id": version.run,
        "status": "READY" if ready else "FAILED_REGISTRATION",
        "status_message": "" if ready else "the files of this version were deleted or have not arrived",
        "tags": pairs(version.tags),
        "run_link": version.run_link,
        "aliases": list(version.aliases),
    }
    return answer | ({"model_id": version.logged_model} if version.logged_model else {})


def number_of(args: Arguments) -> int:
    """Return the number of the requested version."""
    return args.whole("version", least=0, most=2**31 - 1)


def _name(args: Arguments) -> str:
    return args.text("name", most=1000)


def _answer(parts: Parts, version: ModelVersionRecord) -> Answer:
    with reading(parts.engine) as connection:
        return {"model_version": described(connection, version)}


@call("/model-versions/create")
def create_model_version(parts: Parts, args: Arguments) -> Answer:
    """Add a version to a registered model."""
    new = NewVersion(
        args.text("source", most=2000),
        args.text("model_id", "", most=80),
        args.text("run_link", "", most=500),
        args.text("description", "", most=acts.MAX_DESCRIPTION),
        args.pairs("tags", acts.MAX_TAGS),
    )
    return _answer(parts, acts.add_version(parts, _name(args), new))


@call("/model-versions/get", "GET")
def get_model_version(parts: Parts, args: Arguments) -> Answer:
    """Return a version."""
    with reading(parts.engine) as connection:
        return {"model_version": described(connection, acts.load_version(connection, _name(args), number_of(args)))}


@call("/model-versions/get-download-uri", "GET")
def get_download_address(parts: Parts, args: Arguments) -> Answer:
    """Return where the files of a version are."""
    with reading(parts.engine) as connection:
        version = acts.load_version(connection, _name(args), number_of(args))
        model = find_model(connection, version.logged_model) if version.logged_model else None
        if model is not None and (version.folder + "/").startswith(model.folder + "/"):
            return {"artifact_uri": artifacts_of(model) + version.folder.removeprefix(model.folder)}
        logged = find_logged(connection, version.run)
        if logged is None:
            raise NotFound(f"no run '{version.run}'")
        return {"artifact_uri": f"{ARTIFACTS}{logged.row['experiment']}/{version.run}/artifacts/{version.folder}"}


@call("/model-versions/update", "PATCH")
def update_model_version(parts: Parts, args: Arguments) -> Answer:
    """Set the description of a version."""
    description = args.text("description", "", most=acts.MAX_DESCRIPTION)
    return _answer(parts, acts.edit_version(parts, _name(args), number_of(args), description=description))


@call("/model-versions/delete", "DELETE")
def delete_model_version(parts: Parts, args: Arguments) -> Answer:
    """Remove a version with its aliases; its files stay with their run."""
    acts.remove_version(parts, _name(args), number_of(args))
    return {}


@call("/model-versions/search", "GET")
def search_model_versions(parts: Parts, args: Arguments) -> Answer:
    """Search versions with a filter, page by page."""
    sql = Sql()
    wanted = condition(VERSIONS, args.text("filter", "", most=10_000), sql)
    by = order(VERSIONS, [Order(str(each)) for each in args.items("order_by", 20)], sql)
    most, offset = args.whole("max_results", 10_000, least=1, most=MOST_FOUND), offset_of(args)
    with reading(parts.engine) as connection:
        found = list_versions(connection, wanted, sql.values, by, most + 1, offset)
        versions = [described(connection, version) for version in found[:most]]
    return {"model_versions": versions} | next_token(offset, most, len(found))


@call("/model-versions/set-tag")
def set_model_version_tag(parts: Parts, args: Arguments) -> Answer:
    """Set a tag of a version."""
    tags = {args.text("key", most=250): args.text("value", "", most=8000)}
    acts.edit_version(parts, _name(args), number_of(args), tags=tags)
    return {}


@call("/model-versions/delete-tag", "DELETE")
def delete_model_version_tag(parts: Parts, args: Arguments) -> Answer:
    """Remove a tag of a version."""
    acts.untag_version(parts, _name(args), number_of(args), args.text("key", most=250))
    return {}
