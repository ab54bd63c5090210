"""Runs that a program logs with Runyard's Python client, in parts; a part that is sent again adds nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from app.actions import tracking
from app.actions.run_imports import CurvePart, experiment_named, new_points
from app.services import pubsub
from app.store.database import next_commit, writing
from app.store.metric import add_curves, merge_chunks
from app.store.run import TERMINAL
from app.store.tracked_run import PYTHON, NewLoggedRun, end_logged, insert_logged, record_activity, write_parameters
from app.web.dependencies import Parts


@dataclass(frozen=True)
class ScriptRunPart:
    """A part of a run; times in seconds since 1970.

    ``key`` identifies the run. ``name``, ``user``, ``source`` and ``tags`` count when it begins. ``outcome``: how it
    ended, at ``ended``; "" while it runs.
    """

    key: str
    experiment: str
    name: str
    started: float
    user: str = ""
    source: str = ""
    tags: Sequence[str] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, CurvePart] = field(default_factory=dict)
    outcome: str = ""
    ended: float | None = None


def log_part(parts: Parts, part: ScriptRunPart) -> tuple[str, int]:
    """Add what is new in a part of a run, which begins with its first part; returns the run's ID and number.

    Raises Conflict, Invalid and then adds nothing.
    """
    now = time.time()
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        run, changed = _find_or_begin(connection, parts, part, commit, now), {"progress"}
        logged = tracking.writable(connection, run)
        if logged.row["status_commit"] == commit:
            changed.add("status")
        if fresh := tracking.new_parameters(logged, part.parameters):
            write_parameters(connection, logged, fresh, commit)
            changed.add("status")
        if curves := new_points(connection, run, part.curves):
            tracking.check_number_of_metrics(connection, run, curves)
            add_curves(connection, curves, commit)
            changed.add("metrics")
        step = max((int(curve.steps[-1]) for curve in curves.values()), default=None)
        record_activity(connection, logged, step, commit, now, tracking.silence_seconds(parts))
        if part.outcome and logged.row["status"] not in TERMINAL:
            end_logged(connection, run, part.outcome, commit, part.ended or now)
            merge_chunks(connection, run, commit, ended=True)
            changed.add("status")
        else:
            tracking.merge_sometimes(connection, run, commit)
        number = int(logged.row["number"])
    pubsub.notify_servers(parts.redis, commit, {run: changed})
    return run, number


def _find_or_begin(connection: Connection, parts: Parts, part: ScriptRunPart, commit: int, now: float) -> str:
    key = f"{PYTHON}:{part.key}"
    existing = connection.execute(text("SELECT id FROM run WHERE idempotency_key = :key"), {"key": key}).scalar()
    if existing is not None:
        return str(existing)
    known = {"mlflow.user": part.user, "mlflow.source.name": part.source}
    new_run = NewLoggedRun(
        experiment=experiment_named(connection, part.experiment, now),
        family=part.experiment,
        name=part.name,
        started_at=part.started,
        origin=PYTHON,
        user=part.user,
        tags={name: value for name, value in known.items() if value} | dict.fromkeys(part.tags, ""),
        key=key,
    )
    return insert_logged(connection, new_run, commit, now, tracking.silence_seconds(parts))
