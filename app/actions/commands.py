"""Runs that execute a command: submit one with a signature, and queue it again."""

from __future__ import annotations

import time
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json
from sqlalchemy import text

from app.actions.concurrent_launches import until_inserted
from app.actions.programs import launch_again
from app.contract.command import CommandRequest
from app.contract.command_key import KeyFileError, ensure_key, is_signed, read_key
from app.contract.errors import Conflict, Forbidden, Invalid, to_field_errors
from app.contract.program import ProgramValueError
from app.contract.spec import FieldError
from app.contract.tracked_run import CommandConfig
from app.services import pubsub
from app.store.command import ExperimentDeleted, NewCommand, copy_command, find_or_insert_experiment, insert_command
from app.store.database import next_commit, writing
from app.store.run import Origin, RunRecord
from app.web.dependencies import Parts

CHANGEABLE = ("name", "tags", "notes", "priority", "device", "worker")
UNSIGNED = (
    "only `runyard exec` can submit a command: the command is not signed with the key in the data folder of this server"
)


def check_signature(parts: Parts, request: CommandRequest) -> None:
    """Check that the command comes from someone who can read the key in the data folder. Raises Forbidden."""
    try:
        key = read_key(ensure_key(parts.settings.data_dir))
    except KeyFileError as error:
        raise Forbidden(f"this server accepts no commands: {error}") from error
    if not is_signed(key, request.command):
        raise Forbidden(UNSIGNED)


def execute(parts: Parts, request: CommandRequest, idempotency_key: str | None = None) -> str:
    """Queue a run that executes a command, wake a worker, and return the run's ID.

    A repeated ``idempotency_key`` returns the run that it launched before. Raises Forbidden without a valid signature,
    Invalid for values that are not signed, and Conflict if the experiment is in the trash or that run had another
    command.
    """
    check_signature(parts, request)
    try:
        request.command.filled()
    except ValueError as error:
        raise Invalid(str(error), [FieldError("command", str(error))]) from error
    return until_inserted(lambda: _insert(parts, request, idempotency_key))


def _insert(parts: Parts, request: CommandRequest, idempotency_key: str | None) -> str:
    with writing(parts.engine) as connection:
        now = time.time()
        known = connection.execute(
            text(
                "SELECT r.id, c.content FROM run r LEFT JOIN run_command c ON c.run = r.id WHERE idempotency_key = :key"
            ),
            {"key": idempotency_key},
        ).one_or_none()
        if known is not None:
            if known.content != request.command.model_dump_json():
                raise Conflict(f"this Idempotency-Key already launched a different run, {known.id}; use a new key")
            return str(known.id)
        try:
            experiment, family = find_or_insert_experiment(connection, request.experiment, now)
        except ExperimentDeleted as error:
            raise Conflict(f"experiment '{request.experiment}' is in the trash; restore it, or use another") from error
        fields = request.model_dump(exclude={"command", "experiment"})
        new = NewCommand(command=request.command, experiment=experiment, family=family, **fields)
        run_id = insert_command(connection, new, now, idempotency_key)
        commit = next_commit(connection)
    pubsub.wake_workers(parts.redis, parts.celery, 1)
    pubsub.announce(parts.redis, commit, run_id, "status")
    return run_id


def repeat_command(parts: Parts, run: RunRecord, relation: str, changes: dict[str, Any], key: str | None = None) -> str:
    """Queue exactly the same command again and return the new run's ID; ``changes``: fields in CHANGEABLE.

    Other ``values`` of a program launch the program as it is now. A repeated idempotency ``key`` returns the run that
    it made before. Raises Invalid, Conflict.
    """
    if "values" in changes and isinstance(run.config, CommandConfig) and run.config.program:
        return launch_again(parts, run, relation, changes, key)
    for name in changes:
        if name not in CHANGEABLE:
            message = (
                f"{name} cannot be changed: a command stays as it was signed; submit another with `runyard exec`."
                f" These can be changed: {', '.join(CHANGEABLE)}"
            )
            raise Invalid(message, [FieldError(name, message)])
    given = {name: value for name, value in changes.items() if value is not None}
    try:
        # Validates the fields alone; the stored command was validated when it was submitted.
        checked = CommandRequest.model_validate(
            {"command": {"argv": ["true"], "folder": "/", "url": "http://localhost"}} | given
        )
    except ValidationError as error:
        errors = to_field_errors(error.errors(include_url=False))
        raise Invalid("; ".join(each.message for each in errors), errors) from error
    fields = {name: getattr(checked, name) for name in changes}
    return until_inserted(lambda: _insert_again(parts, run, relation, fields, key))


def _insert_again(parts: Parts, run: RunRecord, relation: str, fields: dict[str, Any], key: str | None) -> str:
    with writing(parts.engine) as connection:
        known = connection.execute(
            text("SELECT id, parent, relation, config FROM run WHERE idempotency_key = :key"), {"key": key}
        ).one_or_none()
        if known is not None:
            before = from_json(known.config)
            changed = any(before.get(name) != value for name, value in fields.items())
            if changed or (known.parent, known.relation) != (run.id, relation):
                raise Conflict(f"this Idempotency-Key already launched a different run, {known.id}; use a new key")
            return str(known.id)
        origin = Origin(parent=run.id, relation=relation)
        try:
            run_id = copy_command(connection, run.id, origin, time.time(), key, **fields)
        except ProgramValueError as error:
            raise Conflict(f"this run cannot be repeated: {error}") from error
        commit = next_commit(connection)
    pubsub.wake_workers(parts.redis, parts.celery, 1)
    pubsub.announce(parts.redis, commit, run_id, "status")
    return run_id
