"""Runs that programs log with Runyard's Python client, in parts; a part that is sent again adds nothing.

A program logs a run of its own, or the one that executes its command. Several programs may log to the latter.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from app.actions import tracking
from app.actions.run_imports import CurvePart, experiment_named, new_points, stored_points
from app.contract.errors import Conflict
from app.services import pubsub
from app.store.database import next_commit, writing
from app.store.experiment import find_experiment
from app.store.metric import Curve, add_curves, merge_chunks
from app.store.received_points import add_received, count_received
from app.store.run import TERMINAL
from app.store.tracked_run import (
    PYTHON,
    LoggedRunRecord,
    NewLoggedRun,
    end_logged,
    insert_logged,
    move_to_experiment,
    record_activity,
    rename,
    write_parameters,
    write_tags,
)
from app.web.dependencies import Parts


@dataclass(frozen=True)
class ScriptPart:
    """What a program logs. ``key`` identifies the program; ``user``, ``source`` and ``tags`` count when it begins."""

    key: str
    experiment: str
    name: str
    user: str = ""
    source: str = ""
    tags: Sequence[str] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, CurvePart] = field(default_factory=dict)

    @property
    def known_tags(self) -> dict[str, str]:
        """Its tags, and those that say who started what."""
        said = {"mlflow.user": self.user, "mlflow.source.name": self.source}
        return {name: value for name, value in said.items() if value} | dict.fromkeys(self.tags, "")


@dataclass(frozen=True)
class ScriptRunPart(ScriptPart):
    """A part of a run that a program logs alone; times in seconds since 1970.

    ``name`` counts when the run begins. ``outcome``: how it ended, at ``ended``; "" while it runs.
    """

    started: float = 0.0
    outcome: str = ""
    ended: float | None = None


# A run of its own ----------------------------------------------------------------------------------------------------


def log_part(parts: Parts, part: ScriptRunPart) -> tuple[str, int, bool]:
    """Add what is new in a part of a run; returns the run's ID and number, and whether it begins with this part.

    Raises Conflict, Invalid and then adds nothing.
    """
    now = time.time()
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        run, begins = _find_or_begin(connection, parts, part, commit, now)
        changed = {"progress"}
        logged = tracking.writable(connection, run)
        if logged.row["status_commit"] == commit:
            changed.add("status")
        if fresh := tracking.new_parameters(logged, part.parameters):
            write_parameters(connection, logged, fresh, commit)
            changed.add("status")
        curves = new_points(run, stored_points(connection, run), part.curves)
        changed |= _add(connection, parts, logged, curves, commit, now)
        if part.outcome and logged.row["status"] not in TERMINAL:
            end_logged(connection, run, part.outcome, commit, part.ended or now)
            merge_chunks(connection, run, commit, ended=True)
            changed.add("status")
        else:
            tracking.merge_sometimes(connection, run, commit)
        number = int(logged.row["number"])
    pubsub.notify_servers(parts.redis, commit, {run: changed})
    return run, number, begins


def _find_or_begin(
    connection: Connection, parts: Parts, part: ScriptRunPart, commit: int, now: float
) -> tuple[str, bool]:
    key = f"{PYTHON}:{part.key}"
    existing = connection.execute(text("SELECT id FROM run WHERE idempotency_key = :key"), {"key": key}).scalar()
    if existing is not None:
        return str(existing), False
    new_run = NewLoggedRun(
        experiment=experiment_named(connection, part.experiment, now),
        family=part.experiment,
        name=part.name,
        started_at=part.started,
        origin=PYTHON,
        user=part.user,
        tags=part.known_tags,
        key=key,
    )
    return insert_logged(connection, new_run, commit, now, tracking.silence_seconds(parts)), True


def _add(
    connection: Connection,
    parts: Parts,
    logged: LoggedRunRecord,
    curves: Mapping[tuple[str, str], Curve],
    commit: int,
    now: float,
) -> set[str]:
    """Add new points, and note that the run is alive; returns what has changed."""
    if curves:
        tracking.check_number_of_metrics(connection, logged.id, curves)
        add_curves(connection, curves, commit)
    step = max((int(curve.steps[-1]) for curve in curves.values()), default=None)
    record_activity(connection, logged, step, commit, now, tracking.silence_seconds(parts))
    return {"progress", "metrics"} if curves else {"progress"}


# The run of its command ----------------------------------------------------------------------------------------------


def log_to_command(parts: Parts, run: str, part: ScriptPart) -> tuple[int, list[str]]:
    """Add what is new in a part from a program of a command to the command's run, also after it ended.

    Returns the run's number, and sentences about parameters that other programs have set to other values before.
    Raises NotFound, Conflict, Invalid and then adds nothing.
    """
    now = time.time()
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        received = count_received(connection, run, part.key)
        logged = tracking.writable(connection, run, late=True)
        if not logged.executed:
            raise Conflict(f"run {run} executes no command: only programs of `runyard exec` can log to its run")
        if not received:
            _join(connection, logged, part, commit, now)
            logged = tracking.writable(connection, run, late=True)
        settled = {name: logged.parameters.get(name, value) for name, value in part.parameters.items()}
        if fresh := tracking.new_parameters(logged, settled):
            write_parameters(connection, logged, fresh, commit)
            logged = tracking.writable(connection, run, late=True)
        curves = new_points(run, received, part.curves)
        changed = _add(connection, parts, logged, curves, commit, now)
        add_received(connection, run, part.key, {name: len(curve.steps) for (_, name), curve in curves.items()})
        if logged.row["status_commit"] == commit:
            changed.add("status")
        if logged.row["status"] in TERMINAL:
            merge_chunks(connection, run, commit, ended=True)
        else:
            tracking.merge_sometimes(connection, run, commit)
    pubsub.notify_servers(parts.redis, commit, {run: changed})
    refused = [
        f"parameter '{name}' is already '{settled[name][:100]}' in this run and stays so, not '{value[:100]}'"
        for name, value in part.parameters.items()
        if settled[name] != value
    ]
    return int(logged.row["number"]), refused


def _join(connection: Connection, logged: LoggedRunRecord, part: ScriptPart, commit: int, now: float) -> None:
    """Add what a program says of the run when it begins; what was said before stays."""
    if part.experiment and logged.untouched:
        experiment = find_experiment(connection, experiment_named(connection, part.experiment, now))
        assert experiment is not None
        move_to_experiment(connection, logged.id, experiment, commit)
    if part.name and not logged.config["name"]:
        rename(connection, logged.id, {"name": part.name}, commit)
    new = {name: value for name, value in part.known_tags.items() if name not in logged.tags}
    if new:
        write_tags(connection, logged, new, commit)
