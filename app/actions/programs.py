"""Programs: add and remove one with its owner's signature, and launch one with values."""

from __future__ import annotations

import time
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import from_json
from sqlalchemy import Connection, text

from app.actions.concurrent_launches import until_inserted
from app.actions.runs import find_run
from app.contract.command_key import KeyFileError, ensure_key, is_program_signed, is_removal_signed, read_key
from app.contract.command_template import Value
from app.contract.errors import Conflict, Forbidden, Invalid, NotFound, to_field_errors
from app.contract.program import SEED, Program, ProgramCall, ProgramLaunch, ProgramValueError
from app.contract.program_checks import check_program
from app.contract.program_values import check_values, command_of
from app.contract.spec import FieldError
from app.contract.timestamps import iso
from app.contract.tracked_run import CommandConfig
from app.services import pubsub
from app.store import program as program_store
from app.store.command import ExperimentDeleted, NewCommand, find_or_insert_experiment, insert_command, load_command
from app.store.database import next_commit, reading, writing
from app.store.program import ProgramRecord
from app.store.run import Origin, RunRecord
from app.web.dependencies import Parts

UNSIGNED = (
    "only `runyard program add` on the server's machine can do this: it needs a signature with the key in the data"
    " folder of this server"
)
HOW_TO_ADD = "add one on the server's machine with `runyard program add FILE.toml`"


# Looking them up -----------------------------------------------------------------------------------------------------


def list_programs(parts: Parts) -> list[ProgramRecord]:
    """Return all programs by name."""
    with reading(parts.engine) as connection:
        return program_store.list_programs(connection)


def find_program(parts: Parts, name: str) -> ProgramRecord:
    """Return a program. Raises NotFound with the names that exist."""
    with reading(parts.engine) as connection:
        found = program_store.find_program(connection, name)
        known = ", ".join(each.name for each in program_store.list_programs(connection))
    if found is None:
        raise NotFound(f"no program '{name[:60]}'; {f'programs: {known}' if known else HOW_TO_ADD}")
    return found


def trouble_of(parts: Parts, record: ProgramRecord) -> str:
    """Return why a program cannot be launched; "" if it can."""
    again = f"add it again with `runyard program add`, or remove it with `runyard program rm {record.name}`"
    program = record.program
    if program is None or program.name != record.name:
        return f"program '{record.name}' cannot be read; {again}"
    try:
        key = _key(parts)
    except Forbidden as error:
        return error.message
    if not is_program_signed(key, program):
        return f"program '{record.name}' is not signed with the key in the data folder of this server; {again}"
    try:
        check_program(program)
    except ValueError as error:
        return f"program '{record.name}' is not accepted any more: {error}; {again}"
    return ""


def _key(parts: Parts) -> bytes:
    try:
        return read_key(ensure_key(parts.settings.data_dir))
    except KeyFileError as error:
        raise Forbidden(f"this server accepts no programs: {error}") from error


# Adding and removing -------------------------------------------------------------------------------------------------


def add_program(parts: Parts, program: Program, replace: bool) -> tuple[ProgramRecord, str]:
    """Add a signed program; also returns "added", "replaced" or "unchanged".

    Raises Forbidden without a valid signature, Invalid, and Conflict if another one has this name, unless ``replace``.
    """
    if not is_program_signed(_key(parts), program):
        raise Forbidden(UNSIGNED)
    try:
        check_program(program)
    except ValueError as error:
        raise Invalid(str(error), [FieldError("command", str(error))]) from error
    with writing(parts.engine) as connection:
        known = program_store.find_program(connection, program.name)
        if known is not None and known.program == program:
            return known, "unchanged"
        if known is not None and not replace:
            raise Conflict(
                f"another program is named '{program.name}'; replace it with `runyard program add --replace`"
            )
        program_store.put_program(connection, program, time.time())
        stored = program_store.find_program(connection, program.name)
    assert stored is not None
    return stored, "added" if known is None else "replaced"


def remove_program(parts: Parts, name: str, signature: str) -> None:
    """Remove a program; its runs stay. Raises NotFound, and Forbidden without its owner's proof."""
    changed = iso(find_program(parts, name).changed_at) or ""
    if not is_removal_signed(_key(parts), name, changed, signature):
        raise Forbidden(UNSIGNED)
    with writing(parts.engine) as connection:
        program_store.delete_program(connection, name)


# Launching -----------------------------------------------------------------------------------------------------------


def launchable(parts: Parts, name: str) -> Program:
    """Return a program that can be launched. Raises NotFound, Conflict."""
    record = find_program(parts, name)
    if trouble := trouble_of(parts, record):
        raise Conflict(trouble)
    assert record.program is not None
    return record.program


def launch_program(
    parts: Parts, name: str, request: ProgramLaunch, idempotency_key: str | None = None, relation: str = "clone"
) -> list[str]:
    """Queue a run of a program for each seed, wake workers, and return the runs' IDs.

    A repeated ``idempotency_key`` returns the runs that it launched before. ``relation``: that to the run in
    ``request.source``. Raises NotFound, Invalid for values that the program does not accept, and Conflict.
    """
    program = launchable(parts, name)
    calls = [ProgramCall(program=program, values=values) for values in values_by_seed(program, request)]
    origin = None
    if request.source:
        values_of_run(parts, request.source, program)
        origin = Origin(parent=request.source, relation=relation)
    return until_inserted(lambda: _insert(parts, calls, request, idempotency_key, origin))


def launch_again(parts: Parts, run: RunRecord, relation: str, changes: dict[str, Any], key: str | None = None) -> str:
    """Queue a run of the same program, as it is now, with other values, and return its ID.

    ``changes``: its ``values`` by field, where null stands for the default, and fields of a ProgramLaunch; all others
    are those of the run. ``key``: its idempotency key. Raises NotFound, Invalid, Conflict.
    """
    program = launchable(parts, cast(CommandConfig, run.config).program)
    known = program.by_name
    kept = {name: value for name, value in values_of_run(parts, run.id, program).items() if name in known}
    asked = from_json(run.row["config"])
    fields = {name: asked[name] for name in ("name", "tags", "notes", "priority", "device")} | changes
    values = changes["values"]
    fields |= {"values": kept | values if isinstance(values, dict) else values, "source": run.id}
    try:
        request = ProgramLaunch.model_validate(fields)
    except ValidationError as error:
        errors = to_field_errors(error.errors(include_url=False))
        raise Invalid("; ".join(each.message for each in errors), errors) from error
    return launch_program(parts, program.name, request, key, relation)[0]


def values_of_run(parts: Parts, run_id: str, program: Program) -> dict[str, Value]:
    """Return the values of a run of a program. Raises NotFound if it is none."""
    run, _ = find_run(parts, run_id)
    call = None
    if run.executed:
        with reading(parts.engine) as connection:
            call = load_command(connection, run.id)
    if not isinstance(call, ProgramCall) or call.program.name != program.name:
        raise NotFound(f"run #{run.number} is no run of program '{program.name}'")
    return dict(call.values)


def values_by_seed(program: Program, request: ProgramLaunch) -> list[dict[str, Value]]:
    """Return the complete values of each run. Raises Invalid with an error for each wrong field."""
    try:
        values = check_values(program, request.values)
        command_of(ProgramCall(program=program, values=values))
    except ProgramValueError as error:
        raise Invalid(str(error), error.errors) from error
    if request.seeds == 1:
        return [values]
    if not program.takes_seeds:
        message = f"seeds must be 1: program '{program.name}' has no field 'seed' for whole numbers"
        raise Invalid(message, [FieldError("seeds", message)])
    first = int(values[SEED])
    try:
        return [check_values(program, values | {SEED: first + index}) for index in range(request.seeds)]
    except ProgramValueError as error:
        message = f"{request.seeds} seeds beginning at {first} are too many: {error}"
        raise Invalid(message, [FieldError("seeds", message)]) from error


def _insert(
    parts: Parts, calls: list[ProgramCall], request: ProgramLaunch, key: str | None, origin: Origin | None
) -> list[str]:
    program = calls[0].program
    experiment_name = program.experiment or program.name
    with writing(parts.engine) as connection:
        now = time.time()
        keys = [key if key is None or index == 0 else f"{key}#{index + 1}" for index in range(len(calls))]
        if key is not None and (known := _launched_before(connection, keys, calls)):
            return known
        try:
            experiment, family = find_or_insert_experiment(connection, experiment_name, now)
        except ExperimentDeleted as error:
            raise Conflict(
                f"experiment '{experiment_name}' is in the trash; restore it, or use another in the program"
            ) from error
        fields: dict[str, Any] = request.model_dump(include={"name", "tags", "notes", "priority", "device"})
        fields |= {"experiment": experiment, "family": family}
        fields |= {"worker": program.worker, "restarts": program.restarts}
        runs = [
            insert_command(connection, NewCommand(command=call, **fields), now, each, origin)
            for call, each in zip(calls, keys, strict=True)
        ]
        commit = next_commit(connection)
    pubsub.wake_workers(parts.redis, parts.celery, len(runs))
    for run in runs:
        pubsub.announce(parts.redis, commit, run, "status")
    return runs


def _launched_before(connection: Connection, keys: list[str | None], calls: list[ProgramCall]) -> list[str]:
    """The runs that these keys launched; none if the first is new. Raises Conflict if they were others."""
    found = [
        connection.execute(
            text(
                "SELECT r.id, c.content FROM run r LEFT JOIN run_command c ON c.run = r.id WHERE idempotency_key = :key"
            ),
            {"key": key},
        ).one_or_none()
        for key in keys
    ]
    if found[0] is None:
        return []
    runs = []
    for row, call in zip(found, calls, strict=True):
        if row is None or row.content != call.model_dump_json():
            raise Conflict(f"this Idempotency-Key already launched a different run, {found[0].id}; use a new key")
        runs.append(str(row.id))
    return runs


_BY_KEY = text("SELECT r.id, c.content FROM run r LEFT JOIN run_command c ON c.run = r.id WHERE idempotency_key = :key")
