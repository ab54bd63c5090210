"""Models that scripts log: create, finish, describe, delete; independent of the protocol.

A model always belongs to a run. One that is logged outside of a run gets a run for itself, which ends with it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from sqlalchemy import Connection

from app.actions.tracking import adopt, end, silence_seconds, writable
from app.contract.errors import Invalid, NotFound
from app.services import pubsub
from app.store.database import next_commit, reading, writing
from app.store.experiment import ExperimentRecord
from app.store.logged_model import (
    LoggedModelRecord,
    Status,
    change_model,
    count_models,
    find_model,
    folder_for,
    insert_model,
)
from app.store.tracked_run import NewLoggedRun, insert_logged, record_activity
from app.web.dependencies import Parts

MAX_MODELS: Final = 10_000
"""Models of one run."""
MAX_PARAMETERS: Final = 2000
MAX_TAGS: Final = 1000


@dataclass(frozen=True)
class NewModel:
    """A model that a script is about to log. ``run``: that makes it; blank if the script has begun none."""

    experiment: ExperimentRecord
    name: str = ""
    kind: str = ""
    run: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


def create(parts: Parts, new: NewModel, within: str = "") -> LoggedModelRecord:
    """Begin a model, whose files are still to come. ``within``: the run of the command that its script executes.

    Raises NotFound, Conflict and Invalid; nothing has changed then.
    """
    id, now = f"m-{secrets.token_hex(16)}", time.time()
    name = new.name or f"model-{id[2:8]}"
    own = NewLoggedRun(new.experiment.id, new.experiment.name, name, now)
    if not new.run and within:
        # A model does not name the run of a command.
        adopt(parts, within, replace(own, name=""), new.experiment)
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        run = new.run or within or insert_logged(connection, own, commit, now, silence_seconds(parts))
        logged = writable(connection, run)
        if count_models(connection, run) >= MAX_MODELS:
            raise Invalid(f"a run can have at most {MAX_MODELS:,} models")
        model = LoggedModelRecord(
            id,
            run,
            new.experiment.id,
            name,
            folder_for(id, name),
            new.kind,
            "PENDING",
            dict(new.tags),
            dict(new.parameters),
            not new.run and not within,
            now,
            now,
        )
        insert_model(connection, model)
        record_activity(connection, logged, None, commit, now, silence_seconds(parts))
    pubsub.announce(parts.redis, commit, run, "status" if model.own_run else "progress")
    return model


def find(parts: Parts, model: str, *, deleted: bool = False) -> LoggedModelRecord:
    """Return a model; ``deleted``: also one that was deleted. Raises NotFound."""
    with reading(parts.engine) as connection:
        return _load(connection, model, deleted=deleted)


def _load(connection: Connection, model: str, *, deleted: bool = False) -> LoggedModelRecord:
    found = find_model(connection, model)
    if found is None or (found.deleted_at is not None and not deleted):
        was = " any more; it was deleted" if found else ""
        raise NotFound(f"no logged model '{model[:60]}'{was}")
    return found


def _load_writable(connection: Connection, model: str) -> LoggedModelRecord:
    """Return a model that can be changed. Raises NotFound, and Conflict if its run is in the trash."""
    found = _load(connection, model)
    writable(connection, found.run, metadata_only=True)
    return found


def finish(parts: Parts, model: str, status: Status) -> LoggedModelRecord:
    """Set whether a model is complete. Raises NotFound and Conflict."""
    with writing(parts.engine) as connection:
        found = _load_writable(connection, model)
        change_model(connection, model, time.time(), status=status)
    if found.own_run and status != "PENDING":
        end(parts, found.run, "succeeded" if status == "READY" else "failed", None, None)
    return find(parts, model)


def delete(parts: Parts, model: str) -> None:
    """Delete a model; its files stay with its run. Raises NotFound and Conflict."""
    with writing(parts.engine) as connection:
        _load_writable(connection, model)
        change_model(connection, model, time.time(), deleted=True)


def describe(parts: Parts, model: str, parameters: Mapping[str, str]) -> None:
    """Add parameters. Raises NotFound, Conflict, and Invalid if one would change or for too many; adds none then."""
    with writing(parts.engine) as connection:
        known = _load_writable(connection, model).parameters
        changed = next((key for key, value in parameters.items() if known.get(key, value) != value), None)
        if changed is not None:
            raise Invalid(f"parameter '{changed[:100]}' of this model is already '{known[changed][:100]}'")
        merged = known | dict(parameters)
        if len(merged) > MAX_PARAMETERS:
            raise Invalid(f"a model can have at most {MAX_PARAMETERS:,} parameters")
        change_model(connection, model, time.time(), parameters=merged)


def tag(parts: Parts, model: str, tags: Mapping[str, str]) -> None:
    """Set tags. Raises NotFound, Conflict, and Invalid for too many."""
    with writing(parts.engine) as connection:
        merged = _load_writable(connection, model).tags | dict(tags)
        if len(merged) > MAX_TAGS:
            raise Invalid(f"a model can have at most {MAX_TAGS:,} tags")
        change_model(connection, model, time.time(), tags=merged)


def untag(parts: Parts, model: str, key: str) -> None:
    """Remove a tag. Raises NotFound if the model does not have it, and Conflict."""
    with writing(parts.engine) as connection:
        tags = _load_writable(connection, model).tags
        if key not in tags:
            raise NotFound(f"this model has no tag '{key[:60]}'")
        rest = {name: value for name, value in tags.items() if name != key}
        change_model(connection, model, time.time(), tags=rest)
