"""Runs that were trained elsewhere: a script logs them while it trains, or they are imported. No worker holds them.

Such a run has no lease: it ends by the word of its script, or, when that was silent for long, by the deadline that
every word of it puts off. Its parameters are the ``options`` of its configuration, which holds what was said.
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
from app.store.run import TERMINAL, Run, new_id, transition

MLFLOW, TENSORBOARD = "mlflow", "tensorboard"
"""What ``run.origin`` says of such runs: by which way they came."""
NO_WORD = "no word from its script"


class LoggedRun(SQLModel, table=True):
    """What only a logged run has: tags with values, and the inputs that its script named, as JSON.

    ``told_end``: it ended by its script's own word, which may then add to it; else nothing more is taken.
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
class Begun:
    """A run as its script begins it; ``key`` is that of an import, by which it is found again."""

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
class Logged:
    """A logged run with what only it has."""

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
        """What its script said that it trained with."""
        return dict(self.config.get("options", {}))

    @property
    def closed(self) -> bool:
        """Whether it ended without its script's word, so that nothing more is taken."""
        return self.row["status"] in TERMINAL and not self.row["told_end"]


def insert_logged(connection: Connection, begun: Begun, commit: int, now: float, silence_seconds: float) -> str:
    """Add a run that is being trained elsewhere; returns its id."""
    run = new_id(now)
    number = connection.execute(text("SELECT coalesce(max(number), 0) + 1 FROM run")).scalar_one()
    config = {"family": begun.family, "name": begun.name, "options": dict(begun.parameters)}
    values = {
        "id": run,
        "number": number,
        "status": "running",
        "family": begun.family,
        "size": "",
        "dataset": "",
        "recipe": "",
        "seed": 0,
        "epochs": 0,
        "batch_size": 0,
        "lr": 0.0,
        "name": begun.name,
        "config": to_json(config).decode(),
        "asked": "{}",
        "attempt": 1,
        "created_at": now,
        "queued_at": now,
        "started_at": begun.started_at,
        "deadline": now + silence_seconds,
        "status_commit": commit,
        "progress_commit": commit,
        "rank": now,
        "origin": begun.origin,
        "idempotency_key": begun.key,
    }
    row = Run(**values).model_dump(exclude={"trained_seconds"})
    connection.execute(text(f"INSERT INTO run ({', '.join(row)}) VALUES (:{', :'.join(row)})"), row)
    connection.execute(
        text(
            'INSERT INTO logged_run (run, experiment, "user", tags, inputs, told_end)'
            " VALUES (:run, :experiment, :user, '{}', '[]', :no)"
        ),
        {"run": run, "experiment": begun.experiment, "user": begun.user, "no": False},
    )
    logged = find_logged(connection, run)
    assert logged is not None
    _write_config(connection, run, config)
    write_tags(connection, logged, begun.tags, commit)
    return run


_COLUMNS = (
    "SELECT run.id, run.number, run.name, run.status, run.reason, run.origin, run.started_at, run.ended_at,"
    ' run.deleted_at, run.config, run.progress, logged.experiment, logged."user", logged.tags, logged.inputs,'
    " logged.told_end FROM logged_run logged JOIN run ON run.id = logged.run"
)
_FIND = text(f"{_COLUMNS} WHERE run.id = :run")
_FIND_MANY = text(f"{_COLUMNS} WHERE run.id IN :runs").bindparams(bindparam("runs", expanding=True))


def find_logged(connection: Connection, run: str) -> Logged | None:
    """A logged run, the trash included."""
    row = connection.execute(_FIND, {"run": run}).mappings().one_or_none()
    return None if row is None else _read(row)


def find_many_logged(connection: Connection, runs: list[str]) -> list[Logged]:
    """These logged runs in this order."""
    found = {row["id"]: _read(row) for row in connection.execute(_FIND_MANY, {"runs": runs}).mappings()}
    return [found[run] for run in runs if run in found]


def _read(row: Any) -> Logged:
    return Logged(row, from_json(row["config"]), from_json(row["tags"]), from_json(row["inputs"]))


def hear(connection: Connection, logged: Logged, step: int | None, commit: int, now: float, silence: float) -> None:
    """Its script has said something: its deadline is put off, and how far it is noted."""
    progress = from_json(logged.row["progress"])
    if step is not None:
        progress["step"] = max(step, progress.get("step") or 0)
    live = logged.row["status"] not in TERMINAL
    connection.execute(
        _HEAR,
        {
            "run": logged.id,
            "progress": to_json(progress | {"heard": round(now, 3)}).decode(),
            "commit": commit,
            "deadline": now + silence if live else None,
        },
    )


_HEAR = text("UPDATE run SET progress = :progress, progress_commit = :commit, deadline = :deadline WHERE id = :run")


def write_parameters(connection: Connection, logged: Logged, parameters: Mapping[str, str], commit: int) -> None:
    """Add parameters. The caller knows that none of them has another value."""
    config = logged.config | {"options": logged.parameters | dict(parameters)}
    _write_config(connection, logged.id, config)
    _touch(connection, logged.id, commit)


def _write_config(connection: Connection, run: str, config: Mapping[str, Any]) -> None:
    """What was said, also in the columns that the run table is sorted by."""
    known = logged_settings(config.get("options", {})) | {"config": to_json(dict(config)).decode()}
    columns = [name for name in ("lr", "epochs", "batch_size", "seed", "config") if name in known]
    assignments = ", ".join(f"{column} = :{column}" for column in columns)
    connection.execute(text(f"UPDATE run SET {assignments} WHERE id = :run"), known | {"run": run})


def write_tags(connection: Connection, logged: Logged, tags: Mapping[str, str], commit: int) -> None:
    """Set tags; some say what has a place of its own here: the name, the notes, the dataset."""
    _replace_tags(connection, logged, logged.tags | dict(tags), commit)
    known = {"mlflow.runName": "name", "mlflow.note.content": "notes", "dataset": "dataset"}
    said = {column: tags[tag] for tag, column in known.items() if tag in tags}
    if said:
        rename(connection, logged.id, said, commit)


def remove_tag(connection: Connection, logged: Logged, key: str, commit: int) -> None:
    """Take a tag away."""
    _replace_tags(connection, logged, {name: value for name, value in logged.tags.items() if name != key}, commit)


def _replace_tags(connection: Connection, logged: Logged, tags: Mapping[str, str], commit: int) -> None:
    if tags == logged.tags:
        return
    at = {"run": logged.id}
    connection.execute(
        text("UPDATE logged_run SET tags = :tags WHERE run = :run"), at | {"tags": to_json(dict(tags)).decode()}
    )
    before, words = set(tag_words(logged.tags)), tag_words(tags)
    # Those that were given here, on a page, stay.
    for word in before - set(words):
        connection.execute(text("DELETE FROM run_tag WHERE run = :run AND tag = :tag"), at | {"tag": word})
    for word in words:
        connection.execute(
            text("INSERT INTO run_tag (run, tag) VALUES (:run, :tag) ON CONFLICT DO NOTHING"), at | {"tag": word}
        )
    environment = {name.removeprefix("mlflow."): value for name, value in tags.items() if name in SYSTEM_TAGS}
    connection.execute(
        text("UPDATE run SET environment = :environment WHERE id = :run"),
        at | {"environment": to_json(environment).decode()},
    )
    _touch(connection, logged.id, commit)


SYSTEM_TAGS = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")
LONGEST_TAG = 50


def tag_words(tags: Mapping[str, str]) -> list[str]:
    """Tags with values as the words that runs are tagged with here; those of the client's own and long ones are not."""
    words = (
        name if value in ("", "true", "True") else f"{name}={value}"
        for name, value in tags.items()
        if not name.startswith("mlflow.")
    )
    return [word for word in words if 0 < len(word) <= LONGEST_TAG]


def rename(connection: Connection, run: str, said: Mapping[str, str], commit: int) -> None:
    """Change name, notes or dataset of a run."""
    found = from_json(connection.execute(text("SELECT config FROM run WHERE id = :run"), {"run": run}).scalar_one())
    sets = dict(said) | {"config": to_json(found | dict(said)).decode(), "commit": commit}
    assignments = "".join(f"{column} = :{column}, " for column in said)
    connection.execute(
        text(f"UPDATE run SET {assignments}config = :config, status_commit = :commit WHERE id = :run"),
        sets | {"run": run},
    )


def write_inputs(connection: Connection, logged: Logged, inputs: list[Any], commit: int) -> None:
    """Add inputs that a script named; the first dataset stands as the run's, where nothing else does."""
    said = to_json(logged.inputs + inputs).decode()
    connection.execute(
        text("UPDATE logged_run SET inputs = :inputs WHERE run = :run"), {"inputs": said, "run": logged.id}
    )
    names = [str(each.get("dataset", {}).get("name") or "") for each in inputs if isinstance(each, dict)]
    if names and names[0] and not logged.config.get("dataset"):
        rename(connection, logged.id, {"dataset": names[0][:80]}, commit)
    _touch(connection, logged.id, commit)


def _touch(connection: Connection, run: str, commit: int) -> None:
    connection.execute(text("UPDATE run SET status_commit = :commit WHERE id = :run"), {"commit": commit, "run": run})


# Its end -------------------------------------------------------------------------------------------------------------


def end_logged(connection: Connection, run: str, outcome: str, commit: int, ended_at: float, reason: str = "") -> bool:
    """A script says how its run ended; False where it had ended before."""
    if not transition(connection, run, outcome, commit, reason=reason, ended_at=ended_at):
        return False
    connection.execute(text("UPDATE logged_run SET told_end = :yes WHERE run = :run"), {"yes": True, "run": run})
    return True


def end_silent(connection: Connection, commit: int, now: float) -> list[str]:
    """Fail the logged runs of which nothing was heard until their deadline; returns their ids."""
    silent = connection.execute(
        text("SELECT id, deadline, progress FROM run WHERE origin != '' AND status = 'running' AND deadline < :now"),
        {"now": now},
    ).all()
    for row in silent:
        heard = from_json(row.progress).get("heard")
        hours = (now - heard) / 3600 if heard else 0.0
        reason = f"{NO_WORD} for {hours:.0f} h" if hours >= 1 else f"{NO_WORD} until its time was up"
        transition(connection, row.id, "failed", commit, reason=reason, ended_at=heard or now)
    return [str(row.id) for row in silent]
