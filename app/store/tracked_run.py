"""Runs trained by a script that logs to them, or imported. No worker owns them, except commands (app/store/command.py).

Such a run has no lease. It ends when its script says so or, after a long silence, at its deadline, which every update
extends. Its parameters are stored as the ``options`` of its configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, Index, bindparam, text
from sqlmodel import Field, SQLModel

from app.contract.tracked_run import logged_settings
from app.store.experiment import Experiment as Experiment
from app.store.experiment import ExperimentRecord
from app.store.run import COMMAND, OWNED, TERMINAL, UNTRAINED, insert_row, new_id, next_number, transition

MLFLOW, TENSORBOARD, PYTHON = "mlflow", "tensorboard", "python"
"""Values of ``run.origin``: how such a run got here."""
NO_UPDATE = "no update from its script"
PARAMETER_COLUMNS = ("lr", "epochs", "batch_size", "seed")
"""Columns of ``run`` with the parameter of that name, if it is a number."""


class LoggedRun(SQLModel, table=True):
    """What only a logged run has: tags with values, and the inputs that its script logged, as JSON.

    ``told_end``: its script reported its end, and may still add to it. A run that ended otherwise accepts no updates.
    """

    __tablename__ = "logged_run"
    __table_args__ = (Index("ix_logged_run_experiment", "experiment", "run"),)

    run: str = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    experiment: int = Field(foreign_key="experiment.id")
    user: str = ""
    tags: str = "{}"
    inputs: str = "[]"
    told_end: bool = False


@dataclass(frozen=True)
class NewLoggedRun:
    """A run that a script starts; ``key`` identifies an import, so that repeating it finds the same run."""

    experiment: int
    family: str
    name: str
    started_at: float
    origin: str = MLFLOW
    user: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None


@dataclass(frozen=True)
class LoggedRunRecord:
    """A logged run with the columns that only it has."""

    row: Mapping[str, Any]
    config: dict[str, Any]
    tags: dict[str, str]
    inputs: list[Any]

    @property
    def id(self) -> str:
        """The run's id."""
        return str(self.row["id"])

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters logged by its script."""
        return dict(self.config.get("options", {}))

    @property
    def chosen_values(self) -> dict[str, str]:
        """The values of a program or of placeholders: its parameters until its script logs others of these names."""
        return dict(self.config.get("values") or self.config.get("program_values", {}))

    @property
    def executed(self) -> bool:
        """Whether Runyard executes its script, whose exit status decides how it ended."""
        return bool(self.row["origin"] == COMMAND)

    @property
    def untouched(self) -> bool:
        """Whether it executes a command whose script has logged nothing yet."""
        return self.executed and self.row["status"] not in TERMINAL and "heard" not in from_json(self.row["progress"])

    @property
    def closed(self) -> bool:
        """Whether it was ended by something other than its script, so that no further updates are accepted."""
        return self.row["status"] in TERMINAL and not self.row["told_end"]


def insert_logged(connection: Connection, new: NewLoggedRun, commit: int, now: float, silence_seconds: float) -> str:
    """Add a run that is trained elsewhere; returns its id."""
    run = new_id(now)
    config = {"family": new.family, "name": new.name, "options": dict(new.parameters)}
    values = UNTRAINED | {
        "id": run,
        "number": next_number(connection),
        "status": "running",
        "family": new.family,
        "name": new.name,
        "config": to_json(config).decode(),
        "attempt": 1,
        "created_at": now,
        "queued_at": now,
        "started_at": new.started_at,
        "deadline": now + silence_seconds,
        "status_commit": commit,
        "progress_commit": commit,
        "rank": now,
        "origin": new.origin,
        "idempotency_key": new.key,
    }
    insert_row(connection, values)
    insert_logged_row(connection, run, new.experiment, new.user)
    logged = find_logged(connection, run)
    assert logged is not None
    _write_config(connection, run, config)
    write_tags(connection, logged, new.tags, commit)
    return run


def insert_logged_row(connection: Connection, run: str, experiment: int, user: str) -> None:
    """Add what only a logged run has; the run exists already."""
    connection.execute(
        text(
            'INSERT INTO logged_run (run, experiment, "user", tags, inputs, told_end)'
            " VALUES (:run, :experiment, :user, '{}', '[]', :no)"
        ),
        {"run": run, "experiment": experiment, "user": user, "no": False},
    )


_COLUMNS = (
    "SELECT run.id, run.number, run.name, run.status, run.reason, run.origin, run.created_at, run.started_at,"
    " run.ended_at, run.environment, run.deleted_at, run.status_commit, run.config, run.progress, logged.experiment,"
    ' logged."user", logged.tags, logged.inputs, logged.told_end FROM logged_run logged'
    " JOIN run ON run.id = logged.run"
)
_FIND = text(f"{_COLUMNS} WHERE run.id = :run")
_FIND_MANY = text(f"{_COLUMNS} WHERE run.id IN :runs").bindparams(bindparam("runs", expanding=True))


def find_logged(connection: Connection, run: str) -> LoggedRunRecord | None:
    """A logged run, even if in the trash."""
    row = connection.execute(_FIND, {"run": run}).mappings().one_or_none()
    return None if row is None else _read(row)


def find_many_logged(connection: Connection, runs: list[str]) -> list[LoggedRunRecord]:
    """Logged runs in the order of these ids."""
    by_id = {row["id"]: _read(row) for row in connection.execute(_FIND_MANY, {"runs": runs}).mappings()}
    return [by_id[run] for run in runs if run in by_id]


def _read(row: Any) -> LoggedRunRecord:
    return LoggedRunRecord(row, from_json(row["config"]), from_json(row["tags"]), from_json(row["inputs"]))


def record_activity(
    connection: Connection, logged: LoggedRunRecord, step: int | None, commit: int, now: float, silence: float
) -> None:
    """Record an update from the script: extend the deadline and note the progress."""
    progress = from_json(logged.row["progress"])
    if step is not None:
        known = progress.get("step")
        progress["step"] = step if known is None else max(step, known)
    # The lease of its worker says whether a command still runs.
    until = now + silence if logged.row["status"] not in TERMINAL else None
    connection.execute(
        _SET_ACTIVITY,
        {
            "run": logged.id,
            "progress": to_json(progress | {"heard": round(now, 3)}).decode(),
            "commit": commit,
            "deadline": until,
            "command": COMMAND,
        },
    )


_SET_ACTIVITY = text(
    "UPDATE run SET progress = :progress, progress_commit = :commit,"
    " deadline = CASE origin WHEN :command THEN deadline ELSE :deadline END WHERE id = :run"
)


def write_parameters(
    connection: Connection, logged: LoggedRunRecord, parameters: Mapping[str, str], commit: int
) -> None:
    """Add parameters. The caller has checked that none of them has a different value already."""
    config = logged.config | {"options": logged.parameters | dict(parameters)}
    _write_config(connection, logged.id, config)
    _mark_changed(connection, logged.id, commit)


def _write_config(connection: Connection, run: str, config: Mapping[str, Any]) -> None:
    """Write the configuration, along with the columns by which the run table is sorted."""
    known = logged_settings(config.get("options", {})) | {"config": to_json(dict(config)).decode()}
    columns = [name for name in (*PARAMETER_COLUMNS, "config") if name in known]
    assignments = ", ".join(f"{column} = :{column}" for column in columns)
    connection.execute(text(f"UPDATE run SET {assignments} WHERE id = :run"), known | {"run": run})


def write_tags(connection: Connection, logged: LoggedRunRecord, tags: Mapping[str, str], commit: int) -> None:
    """Set tags; those that correspond to name, notes or dataset also set these."""
    _replace_tags(connection, logged, logged.tags | dict(tags), commit)
    known = {"mlflow.runName": "name", "mlflow.note.content": "notes", "dataset": "dataset"}
    columns = {column: tags[tag] for tag, column in known.items() if tag in tags}
    if columns:
        rename(connection, logged.id, columns, commit)


def remove_tag(connection: Connection, logged: LoggedRunRecord, key: str, commit: int) -> None:
    """Remove a tag."""
    _replace_tags(connection, logged, {name: value for name, value in logged.tags.items() if name != key}, commit)


def _replace_tags(connection: Connection, logged: LoggedRunRecord, tags: Mapping[str, str], commit: int) -> None:
    if tags == logged.tags:
        return
    at = {"run": logged.id}
    connection.execute(
        text("UPDATE logged_run SET tags = :tags WHERE run = :run"), at | {"tags": to_json(dict(tags)).decode()}
    )
    before, labels = set(tag_labels(logged.tags)), tag_labels(tags)
    # Tags added on a page stay.
    for label in before - set(labels):
        connection.execute(text("DELETE FROM run_tag WHERE run = :run AND tag = :tag"), at | {"tag": label})
    for label in labels:
        connection.execute(
            text("INSERT INTO run_tag (run, tag) VALUES (:run, :tag) ON CONFLICT DO NOTHING"), at | {"tag": label}
        )
    environment = from_json(logged.row["environment"])
    for name in SYSTEM_TAGS:
        environment.pop(name.removeprefix("mlflow."), None)
    environment |= {name.removeprefix("mlflow."): value for name, value in tags.items() if name in SYSTEM_TAGS}
    connection.execute(
        text("UPDATE run SET environment = :environment WHERE id = :run"),
        at | {"environment": to_json(environment).decode()},
    )
    _mark_changed(connection, logged.id, commit)


SYSTEM_TAGS = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")
LONGEST_TAG = 50


def tag_labels(tags: Mapping[str, str]) -> list[str]:
    """Convert tags with values to plain tags; skips MLflow's system tags and long ones."""
    labels = (
        name if value in ("", "true", "True") else f"{name}={value}"
        for name, value in tags.items()
        if not name.startswith("mlflow.")
    )
    return [label for label in labels if 0 < len(label) <= LONGEST_TAG]


def rename(connection: Connection, run: str, changes: Mapping[str, str], commit: int) -> None:
    """Change a run's name, notes, dataset or family."""
    config = from_json(connection.execute(text("SELECT config FROM run WHERE id = :run"), {"run": run}).scalar_one())
    sets = dict(changes) | {"config": to_json(config | dict(changes)).decode(), "commit": commit}
    assignments = "".join(f"{column} = :{column}, " for column in changes)
    connection.execute(
        text(f"UPDATE run SET {assignments}config = :config, status_commit = :commit WHERE id = :run"),
        sets | {"run": run},
    )


def move_to_experiment(connection: Connection, run: str, experiment: ExperimentRecord, commit: int) -> None:
    """Move a run to another experiment, whose name is the run's family."""
    connection.execute(
        text("UPDATE logged_run SET experiment = :experiment WHERE run = :run"),
        {"experiment": experiment.id, "run": run},
    )
    rename(connection, run, {"family": experiment.name}, commit)


def write_inputs(connection: Connection, logged: LoggedRunRecord, inputs: list[Any], commit: int) -> None:
    """Add logged inputs, of each dataset the first; the first one becomes the run's dataset if it has none."""
    unique: dict[tuple[str, str], Any] = {}
    for entry in logged.inputs + inputs:
        unique.setdefault(_dataset_key(entry), entry)
    content = to_json(list(unique.values())).decode()
    connection.execute(
        text("UPDATE logged_run SET inputs = :inputs WHERE run = :run"), {"inputs": content, "run": logged.id}
    )
    names = [_dataset_key(entry)[0] for entry in inputs]
    if names and names[0] and not logged.config.get("dataset"):
        rename(connection, logged.id, {"dataset": names[0][:80]}, commit)
    _mark_changed(connection, logged.id, commit)


def _dataset_key(entry: Any) -> tuple[str, str]:
    dataset = entry.get("dataset") if isinstance(entry, dict) else None
    known = dataset if isinstance(dataset, dict) else {}
    return str(known.get("name") or ""), str(known.get("digest") or "")


def _mark_changed(connection: Connection, run: str, commit: int) -> None:
    connection.execute(text("UPDATE run SET status_commit = :commit WHERE id = :run"), {"commit": commit, "run": run})


# Its end -------------------------------------------------------------------------------------------------------------


def end_logged(connection: Connection, run: str, outcome: str, commit: int, ended_at: float, reason: str = "") -> bool:
    """End a run as reported by its script; False if it had ended before."""
    if not transition(connection, run, outcome, commit, reason=reason, ended_at=ended_at):
        return False
    connection.execute(text("UPDATE logged_run SET told_end = :yes WHERE run = :run"), {"yes": True, "run": run})
    return True


def end_again(connection: Connection, run: str, outcome: str, commit: int, ended_at: float) -> None:
    """Change the outcome of a run that its script has ended, continued and ended again."""
    connection.execute(
        text(
            "UPDATE run SET status = :outcome, ended_at = :ended_at, reason = '', status_commit = :commit"
            " WHERE id = :run AND EXISTS (SELECT 1 FROM logged_run WHERE run = :run AND told_end)"
        ),
        {"run": run, "outcome": outcome, "commit": commit, "ended_at": ended_at},
    )


def end_silent(connection: Connection, commit: int, now: float) -> list[str]:
    """Fail logged runs that were silent until their deadline; returns their ids."""
    silent = connection.execute(
        text(f"SELECT id, deadline, progress FROM run WHERE NOT {OWNED} AND status = 'running' AND deadline < :now"),
        {"now": now},
    ).all()
    for row in silent:
        heard = from_json(row.progress).get("heard")
        hours = (now - heard) / 3600 if heard else 0.0
        reason = f"{NO_UPDATE} for {hours:.0f} h" if hours >= 1 else f"{NO_UPDATE} in time"
        transition(connection, row.id, "failed", commit, reason=reason, ended_at=heard or now)
    return [str(row.id) for row in silent]
