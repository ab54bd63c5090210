"""Import of runs recorded elsewhere; a repeated import adds only new points and parameters."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic_core import to_json
from sqlalchemy import Connection, text

from app.actions.tracking import Points
from app.contract.errors import Conflict
from app.services import pubsub
from app.store.database import next_commit, writing
from app.store.experiment import change_experiment, find_experiment_named, insert_experiment
from app.store.metric import Curve, add_curves, merge_chunks
from app.store.tracked_run import TENSORBOARD, NewLoggedRun, end_logged, find_logged, insert_logged, write_parameters
from app.web.dependencies import Parts

UNKNOWN_OUTCOME = "imported from TensorBoard event files, which do not record the outcome"


@dataclass(frozen=True)
class CurvePart:
    """Consecutive points of one metric; ``offset`` is the number of earlier points."""

    offset: int
    points: Points


@dataclass(frozen=True)
class ImportedRun:
    """A run, or a part of it. ``key`` identifies the run across imports; times are in seconds since 1970.

    ``damaged``: number of places in its files with damaged records; ``left_out``: number of invalid points.
    """

    key: str
    experiment: str
    name: str
    started: float
    ended: float
    outcome: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, CurvePart] = field(default_factory=dict)
    damaged: int = 0
    left_out: int = 0


def import_run(parts: Parts, imported: ImportedRun) -> tuple[str, int]:
    """Add the new points of an imported run; returns its ID and the number of new points. Raises Conflict."""
    now = time.time()
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        run = _find_or_insert(connection, imported, commit, now)
        new = new_points(run, stored_points(connection, run), imported.curves)
        add_curves(connection, new, commit)
        merge_chunks(connection, run, commit, ended=True)
        _update(connection, run, imported, commit)
    pubsub.announce(parts.redis, commit, run, "status")
    return run, sum(len(curve.steps) for curve in new.values())


def _find_or_insert(connection: Connection, imported: ImportedRun, commit: int, now: float) -> str:
    key = f"{TENSORBOARD}:{imported.key}"
    existing = connection.execute(
        text("SELECT id, deleted_at FROM run WHERE idempotency_key = :key"), {"key": key}
    ).first()
    if existing is not None:
        if existing.deleted_at is not None:
            raise Conflict(
                f"'{imported.name}' was already imported as {existing.id}, which is in the trash; restore it first"
            )
        return str(existing.id)
    new_run = NewLoggedRun(
        experiment=experiment_named(connection, imported.experiment, now),
        family=imported.experiment,
        name=imported.name,
        started_at=imported.started,
        origin=TENSORBOARD,
        parameters=imported.parameters,
        key=key,
    )
    run = insert_logged(connection, new_run, commit, now, 0.0)
    reason = "" if imported.outcome else UNKNOWN_OUTCOME
    end_logged(connection, run, imported.outcome or "succeeded", commit, imported.ended, reason)
    return run


def experiment_named(connection: Connection, name: str, now: float) -> int:
    """Return the experiment with this name, which begins or is restored if need be."""
    experiment = find_experiment_named(connection, name)
    if experiment is None:
        return insert_experiment(connection, name, {}, now)
    if experiment.deleted_at is not None:
        change_experiment(connection, experiment.id, now, deleted_at=None)
    return experiment.id


def stored_points(connection: Connection, run: str) -> dict[str, int]:
    """Number of points of each metric of a run."""
    found = connection.execute(text("SELECT name, points FROM metric_series WHERE run = :run"), {"run": run})
    return {row.name: row.points for row in found}


def new_points(run: str, known: Mapping[str, int], curves: Mapping[str, CurvePart]) -> dict[tuple[str, str], Curve]:
    """Return the points that a run does not have yet. Raises Conflict if points before them are missing.

    ``known``: how many points of each metric it has from the same source.
    """
    new = {}
    for name, part in curves.items():
        stored = known.get(name, 0)
        if part.offset > stored:
            points = f"{stored:,} point{'' if stored == 1 else 's'}"
            raise Conflict(f"{name} has only {points}; cannot add points at offset {part.offset:,}")
        rest = slice(stored - part.offset, None)
        fresh = Points(part.points.steps[rest], part.points.values[rest], part.points.times[rest])
        if fresh.steps:
            new[run, name] = fresh.curve()
    return new


def _update(connection: Connection, run: str, imported: ImportedRun, commit: int) -> None:
    """Update the run's end and what was skipped, and add parameters that were recorded since the last import."""
    step = connection.execute(text("SELECT max(last_step) FROM metric_series WHERE run = :run"), {"run": run}).scalar()
    skipped = {"damaged": imported.damaged, "left_out": imported.left_out}
    progress = {"step": step or 0} | {name: number for name, number in skipped.items() if number}
    connection.execute(
        text(
            "UPDATE run SET ended_at = CASE WHEN ended_at > :ended THEN ended_at ELSE :ended END,"
            " status_commit = :commit, progress = :progress WHERE id = :run"
        ),
        {"ended": imported.ended, "commit": commit, "run": run, "progress": to_json(progress).decode()},
    )
    logged = find_logged(connection, run)
    assert logged is not None
    fresh = {key: value for key, value in imported.parameters.items() if key not in logged.parameters}
    if fresh:
        write_parameters(connection, logged, fresh, commit)
