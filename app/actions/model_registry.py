"""What users do with registered models: name models, add versions, move aliases; independent of the protocol.

A version is a folder of a run's files. The run cannot be deleted while the version exists.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from app.actions.tracking import load_logged
from app.contract.errors import Conflict, Invalid, NotFound
from app.contract.run_files import checked_path
from app.store.database import reading, writing
from app.store.logged_model import find_model
from app.store.registered_model import (
    ModelVersionRecord,
    RegisteredModelRecord,
    change_registered,
    change_version,
    delete_registered,
    delete_version,
    drop_alias,
    find_registered,
    find_version,
    insert_registered,
    insert_version,
    put_alias,
    restore_version,
)
from app.store.run_file import is_folder
from app.store.undo import record_act
from app.web.dependencies import Parts

MAX_NAME: Final = 256
MAX_ALIAS: Final = 255
MAX_DESCRIPTION: Final = 5000
MAX_TAGS: Final = 1000
_ALIAS = re.compile(r"[\w-]+")
_NUMBER = re.compile(r"v\d+", re.IGNORECASE)
_FILES = re.compile(
    r"mlflow-artifacts:/+\d{1,18}/(?:models/(?P<model>m-[^/]+)|(?P<run>[^/]+))/artifacts(?:/(?P<path>.*))?"
)
_RUN = re.compile(r"runs:/+(?P<run>[^/]+)(?:/(?P<path>.*))?")
_MODEL = re.compile(r"models:/+(?P<model>m-[^/@]+)")
_VERSION = re.compile(r"models:/+(?P<name>[^/@]+)/(?P<version>\d{1,9})")


class NameTaken(Conflict):
    """The name of a registered model is already in use."""

    title = "Already exists"


@dataclass(frozen=True)
class NewVersion:
    """Files that are to become a version. ``source``: how MLflow names them."""

    source: str
    logged_model: str = ""
    run_link: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


# Names ---------------------------------------------------------------------------------------------------------------


def checked_name(name: str) -> str:
    """Return the name of a registered model. Raises Invalid for one that no address could contain."""
    if not name.strip() or len(name) > MAX_NAME:
        raise Invalid(f"the name of a model must have from 1 to {MAX_NAME} characters")
    if name in (".", "..") or not name.isprintable() or any(mark in name for mark in "/:@"):
        raise Invalid(
            f"'{name[:60]!a}' cannot be the name of a registered model: leave out / : @ and control characters"
        )
    return name


def checked_alias(alias: str) -> str:
    """Return the alias of a version. Raises Invalid for one that MLflow would read as something else."""
    if not _ALIAS.fullmatch(alias) or len(alias) > MAX_ALIAS:
        raise Invalid(f"an alias has letters, digits, _ and -, at most {MAX_ALIAS}")
    if alias.lower() == "latest" or _NUMBER.fullmatch(alias):
        raise Invalid(f"'{alias[:40]}' cannot be an alias: MLflow reads it as the newest version, or as a number")
    return alias


def load_registered(connection: Connection, name: str) -> RegisteredModelRecord:
    """Return the registered model with this name. Raises NotFound."""
    found = find_registered(connection, name)
    if found is None:
        raise NotFound(f"no registered model '{name[:100]}'")
    return found


def create(parts: Parts, name: str, description: str, tags: Mapping[str, str]) -> RegisteredModelRecord:
    """Add a name. Raises Invalid and NameTaken."""
    checked_name(name)
    with writing(parts.engine) as connection:
        _check_free(connection, name)
        return insert_registered(connection, name, description, tags, time.time())


def _check_free(connection: Connection, name: str) -> None:
    if find_registered(connection, name) is not None:
        raise NameTaken(f"registered model '{name}' already exists")


def rename(parts: Parts, name: str, new_name: str) -> RegisteredModelRecord:
    """Change a name; versions and aliases stay. Raises NotFound, Invalid and NameTaken."""
    checked_name(new_name)
    with writing(parts.engine) as connection:
        model = load_registered(connection, name)
        if new_name != name:
            _check_free(connection, new_name)
        change_registered(connection, model.id, time.time(), name=new_name)
        return load_registered(connection, new_name)


def edit(
    parts: Parts, name: str, *, description: str | None = None, tags: Mapping[str, str] | None = None
) -> RegisteredModelRecord:
    """Set the description, or tags. Raises NotFound, and Invalid for too many tags."""
    with writing(parts.engine) as connection:
        model = load_registered(connection, name)
        changes: dict[str, object] = {} if description is None else {"description": description}
        if tags is not None:
            changes["tags"] = _merged(model.tags, tags)
        change_registered(connection, model.id, time.time(), **changes)
        return load_registered(connection, name)


def _merged(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    merged = dict(old) | dict(new)
    if len(merged) > MAX_TAGS:
        raise Invalid(f"there can be at most {MAX_TAGS:,} tags")
    return merged


def untag(parts: Parts, name: str, key: str) -> None:
    """Remove a tag, if it is there. Raises NotFound."""
    with writing(parts.engine) as connection:
        model = load_registered(connection, name)
        rest = {each: value for each, value in model.tags.items() if each != key}
        change_registered(connection, model.id, time.time(), tags=rest)


def delete(parts: Parts, name: str) -> None:
    """Remove a name with its versions and aliases; the files stay with their runs. Raises NotFound."""
    with writing(parts.engine) as connection:
        delete_registered(connection, load_registered(connection, name).id)


# Versions ------------------------------------------------------------------------------------------------------------


def load_version(connection: Connection, name: str, version: int) -> ModelVersionRecord:
    """Return a version. Raises NotFound."""
    found = find_version(connection, load_registered(connection, name).id, version)
    if found is None:
        raise NotFound(f"registered model '{name[:100]}' has no version {version}")
    return found


def add_version(parts: Parts, name: str, new: NewVersion) -> ModelVersionRecord:
    """Add a version with the next number.

    Raises NotFound, Conflict if the run of the files is in the trash, and Invalid for files that Runyard does not have.
    """
    now = time.time()
    with writing(parts.engine) as connection:
        model = load_registered(connection, name)
        run, folder, logged_model = _files_of(connection, new)
        logged = load_logged(connection, run)
        if logged.row["deleted_at"] is not None:
            raise Conflict(f"run {run} is in the trash; restore it first")
        number = insert_version(
            connection,
            ModelVersionRecord(
                model.id,
                0,
                run,
                folder,
                logged_model,
                new.source,
                new.run_link,
                new.description,
                dict(new.tags),
                now,
                now,
                name,
            ),
        )
        return load_version(connection, name, number)


def _files_of(connection: Connection, new: NewVersion) -> tuple[str, str, str]:
    """Run, folder and logged model of the files that a version is made of; the last is blank if they are none."""
    source = new.source
    if found := _VERSION.fullmatch(source):
        other = load_version(connection, found["name"], int(found["version"]))
        return other.run, other.folder, other.logged_model
    found = _MODEL.fullmatch(source) or _FILES.fullmatch(source) or _RUN.fullmatch(source)
    if found is None:
        raise Invalid(
            f"a version cannot be made of '{source[:100]}': only of a logged model or of files of a run that are in"
            " Runyard"
        )
    names = found.groupdict()
    path = (names.get("path") or "").strip("/")
    if names.get("model"):
        model = find_model(connection, names["model"])
        if model is None or model.deleted_at is not None:
            raise NotFound(f"no logged model '{names['model'][:60]}'")
        return model.run, f"{model.folder}/{checked_path(path)}" if path else model.folder, model.id
    run = names["run"]
    load_logged(connection, run)
    if not is_folder(connection, run, checked_path(path)):
        raise NotFound(f"run {run} has no files in '{path[:100]}'")
    return run, path, new.logged_model


def edit_version(
    parts: Parts, name: str, version: int, *, description: str | None = None, tags: Mapping[str, str] | None = None
) -> ModelVersionRecord:
    """Set the description, or tags, of a version. Raises NotFound, and Invalid for too many tags."""
    with writing(parts.engine) as connection:
        found = load_version(connection, name, version)
        changes: dict[str, object] = {} if description is None else {"description": description}
        if tags is not None:
            changes["tags"] = _merged(found.tags, tags)
        change_version(connection, found.model, version, time.time(), **changes)
        return load_version(connection, name, version)


def untag_version(parts: Parts, name: str, version: int, key: str) -> None:
    """Remove a tag of a version, if it is there. Raises NotFound."""
    with writing(parts.engine) as connection:
        found = load_version(connection, name, version)
        rest = {each: value for each, value in found.tags.items() if each != key}
        change_version(connection, found.model, version, time.time(), tags=rest)


def remove_version(parts: Parts, name: str, version: int) -> str:
    """Remove a version with its aliases; its files stay with their run. Returns the action's ID. Raises NotFound."""
    now = time.time()
    with writing(parts.engine) as connection:
        found = load_version(connection, name, version)
        delete_version(connection, found.model, version, now)
        return record_act(connection, "remove version", f"Version {version} of {name} removed.", found.__dict__, now)


def bring_back_version(connection: Connection, version: ModelVersionRecord) -> None:
    """Add a removed version again, with those of its aliases that are free. Raises NotFound and Conflict."""
    model = load_registered(connection, version.name)
    if model.id != version.model or model.created_at > version.created_at:
        raise Conflict(f"'{version.name[:100]}' names another model now")
    if load_logged(connection, version.run).row["deleted_at"] is not None:
        raise Conflict(f"run {version.run} is in the trash; restore it first")
    restore_version(connection, version, time.time())


# Aliases -------------------------------------------------------------------------------------------------------------


def set_alias(parts: Parts, name: str, alias: str, version: int) -> None:
    """Let an alias point to a version; one that exists moves. Raises NotFound and Invalid."""
    checked_alias(alias)
    with writing(parts.engine) as connection:
        found = load_version(connection, name, version)
        put_alias(connection, found.model, alias, version, time.time())


def remove_alias(parts: Parts, name: str, alias: str) -> None:
    """Remove an alias, if it is there; the version stays. Raises NotFound."""
    with writing(parts.engine) as connection:
        drop_alias(connection, load_registered(connection, name).id, alias, time.time())


def version_of_alias(parts: Parts, name: str, alias: str) -> ModelVersionRecord:
    """Return the version that an alias points to. Raises NotFound, and Invalid without such an alias."""
    with reading(parts.engine) as connection:
        version = load_registered(connection, name).aliases.get(alias)
        if version is None:
            # What MLflow's own server answers, and not that it does not exist.
            raise Invalid(f"registered model '{name[:100]}' has no alias '{alias[:60]}'")
        return load_version(connection, name, version)
