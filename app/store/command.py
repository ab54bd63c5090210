"""Commands that runs execute: what is started, where, with which environment, and how often again.

Such a run is queued, leased and stopped like one in training, and logged to like one of a script
(app/store/tracked_run.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json
from sqlalchemy import Connection, text
from sqlmodel import Field, SQLModel

from app.contract.command import command_title, hide_secrets
from app.contract.command_template import value_text
from app.contract.program import ProgramCall, Startable
from app.contract.program_values import call_title, command_of, shown_values
from app.contract.tracked_run import logged_settings
from app.store.database import next_commit
from app.store.experiment import DEFAULT, find_experiment, find_experiment_named, insert_experiment
from app.store.run import COMMAND, UNTRAINED, Origin, insert_row, new_id, next_number
from app.store.tracked_run import PARAMETER_COLUMNS, insert_logged_row

_STARTABLE: TypeAdapter[Startable] = TypeAdapter(Startable)


class RunCommand(SQLModel, table=True):
    """The signed command of a run, or its signed program with values, as JSON.

    ``restarts``: how often it may start again after its worker was lost.
    """

    __tablename__ = "run_command"

    run: str = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    content: str
    restarts: int = 0


@dataclass(frozen=True)
class NewCommand:
    """A run that executes a command; fields mean the same as those of a CommandRequest."""

    command: Startable
    experiment: int
    family: str
    name: str = ""
    tags: Sequence[str] = ()
    notes: str = ""
    priority: int = 0
    device: str = "auto"
    worker: str = ""
    restarts: int = 0


class ExperimentDeleted(ValueError):
    """The experiment is in the trash."""


def find_or_insert_experiment(connection: Connection, name: str, now: float) -> tuple[int, str]:
    """The id and name of the experiment with this name, "Default" for the default one. Raises ExperimentDeleted."""
    found = find_experiment(connection, DEFAULT) if name == "Default" else find_experiment_named(connection, name)
    if found is None:
        return insert_experiment(connection, name, {}, now), name
    if found.deleted_at is not None:
        raise ExperimentDeleted(name)
    return found.id, found.name


def insert_command(
    connection: Connection,
    new: NewCommand,
    now: float,
    idempotency_key: str | None = None,
    origin: Origin | None = None,
) -> str:
    """Add a queued run that executes a command and return its id.

    The values of a program or of placeholders are its first parameters. Raises ValueError for values that are not
    signed.
    """
    origin = origin or Origin()
    commit = next_commit(connection)
    run = origin.id or new_id(now)
    call = new.command if isinstance(new.command, ProgramCall) else None
    command = command_of(new.command) if isinstance(new.command, ProgramCall) else new.command
    filled = hide_secrets(command.filled())
    template = hide_secrets(command.argv) if command.placeholders else []
    filled_in = {name: value_text(value) for name, value in command.values.items()}
    parameters = shown_values(call.values) if call else filled_in
    # A sweep's values stand beside the title of its runs.
    if call:
        title = call_title(call, origin.sweep_values if origin.sweep is not None else ())
    else:
        title = command_title(template if template and origin.sweep is not None else filled)
    shown: dict[str, Any] = {
        "argv": filled,
        "template": template,
        "values": filled_in,
        "folder": command.folder,
        "variables": sorted(command.environment),
        "restarts": new.restarts,
    }
    if call:
        shown |= {"program": call.program.name, "program_title": title, "program_values": parameters}
    settings = {"name": new.name, "notes": new.notes, "priority": new.priority}
    config = {"family": new.family, "tags": list(new.tags), "device": new.device, "worker": new.worker} | settings
    known = {name: value for name, value in logged_settings(parameters).items() if name in PARAMETER_COLUMNS}
    values: dict[str, Any] = UNTRAINED | {
        "id": run,
        "number": next_number(connection),
        "status": "queued",
        "family": new.family,
        "device_wanted": new.device,
        "worker_wanted": new.worker,
        "config": to_json(config | shown | {"options": parameters}).decode(),
        "created_at": now,
        "queued_at": now,
        "status_commit": commit,
        "progress_commit": commit,
        "idempotency_key": idempotency_key,
        "rank": now if origin.rank is None else origin.rank,
        "parent": origin.parent,
        "relation": origin.relation,
        "sweep": origin.sweep,
        "sweep_values": to_json(origin.sweep_values).decode(),
        "origin": COMMAND,
    }
    # Found and sorted by what pages show.
    insert_row(connection, values | settings | known | origin.author | {"name": new.name or title}, new.tags)
    insert_logged_row(connection, run, new.experiment, "")
    connection.execute(
        text("INSERT INTO run_command (run, content, restarts) VALUES (:run, :content, :restarts)"),
        {"run": run, "content": new.command.model_dump_json(), "restarts": new.restarts},
    )
    return run


def load_command(connection: Connection, run: str) -> Startable:
    """The command of a run, or its program with values."""
    content = connection.execute(text("SELECT content FROM run_command WHERE run = :run"), {"run": run}).scalar_one()
    return _STARTABLE.validate_json(content)


def restarts_of(connection: Connection, run: str) -> int | None:
    """How often a run's command may start again after its worker was lost; None if it executes no command."""
    restarts = connection.execute(text("SELECT restarts FROM run_command WHERE run = :run"), {"run": run}).scalar()
    return None if restarts is None else int(restarts)


def copy_command(
    connection: Connection, run: str, origin: Origin, now: float, key: str | None = None, **changes: Any
) -> str:
    """Queue the command of a run again as a new run; ``changes``: fields of NewCommand that differ.

    ``key``: its idempotency key.
    """
    row = connection.execute(
        text(
            "SELECT r.config, l.experiment, c.content, c.restarts FROM run r JOIN logged_run l ON l.run = r.id"
            " JOIN run_command c ON c.run = r.id WHERE r.id = :run"
        ),
        {"run": run},
    ).one()
    config = from_json(row.config)
    kept = {name: config[name] for name in ("family", "name", "tags", "notes", "priority", "device", "worker")}
    fields = kept | {"experiment": row.experiment, "restarts": row.restarts} | changes
    return insert_command(
        connection, NewCommand(command=_STARTABLE.validate_json(row.content), **fields), now, key, origin
    )


def last_step(connection: Connection, run: str) -> int:
    """The last step that a run's script has logged."""
    progress = connection.execute(text("SELECT progress FROM run WHERE id = :run"), {"run": run}).scalar_one()
    return int(from_json(progress).get("step") or 0)


def save_exit_status(connection: Connection, run: str, fence: int, exit_status: int) -> None:
    """Record how a command's process exited: its status, negative for the signal that killed it."""
    progress = connection.execute(
        text("SELECT progress FROM run WHERE id = :run AND fence = :fence"), {"run": run, "fence": fence}
    ).scalar()
    if progress is not None:
        content = to_json(from_json(progress) | {"exit_status": exit_status}).decode()
        connection.execute(text("UPDATE run SET progress = :content WHERE id = :run"), {"content": content, "run": run})
