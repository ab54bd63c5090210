"""Logging of runs that external scripts train: start, log, end; independent of the protocol.

Like in the recorder, one request is one transaction with one commit number and one message to the viewers.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection, bindparam, text

from app.contract.errors import Conflict, Invalid, NotFound
from app.contract.packed_steps import unpack_steps
from app.services import pubsub
from app.store.curve import in_order
from app.store.database import next_commit, reading, writing
from app.store.experiment import ExperimentRecord
from app.store.logged_model import ModelPoint, UsedModel, find_models, put_used, write_metrics
from app.store.metric import Curve, add_curves, merge_chunks, read_curves
from app.store.tracked_run import (
    LoggedRunRecord,
    NewLoggedRun,
    end_again,
    end_logged,
    find_logged,
    insert_logged,
    move_to_experiment,
    record_activity,
    remove_tag,
    rename,
    write_inputs,
    write_parameters,
    write_tags,
)
from app.web.dependencies import Parts

MOST_PARAMETERS = 2000
MOST_METRICS = 2000
MERGE_SECONDS = 5.0
PARENT_TAG, NAME_TAG = "mlflow.parentRunId", "mlflow.runName"


@dataclass
class Points:
    """Points of one metric in the order received; times in seconds since 1970."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def add(self, step: int, value: float, at: float) -> None:
        """Add a point."""
        self.steps.append(step)
        self.values.append(value)
        self.times.append(at)

    def curve(self) -> Curve:
        """Return the points sorted by step, each once; points of the same step stay in the order received."""
        steps, values, times = np.array(self.steps, np.int64), np.array(self.values, "<f8"), np.array(self.times, "<f8")
        curve = in_order(Curve(steps, values, times))
        if not np.count_nonzero(curve.steps[1:] == curve.steps[:-1]):
            return curve
        first = sorted({point: at for at, point in reversed(list(enumerate(_bits(curve))))}.values())
        return Curve(curve.steps[first], curve.values[first], curve.times[first])


@dataclass(frozen=True)
class LogBatch:
    """The entries that one request logs to a run. ``model_points``: those of ``points`` that belong to a model too."""

    points: Mapping[str, Points] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[object] = ()
    model_points: Sequence[ModelPoint] = ()
    models: Sequence[UsedModel] = ()


def begin(parts: Parts, new_run: NewLoggedRun) -> str:
    """Start a run for a script and return its ID."""
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        run = insert_logged(connection, new_run, commit, time.time(), silence_seconds(parts))
    pubsub.announce(parts.redis, commit, run, "status")
    return run


def silence_seconds(parts: Parts) -> float:
    """Return how long a run may be silent before it counts as lost."""
    return parts.settings.silence_hours * 3600


def find(parts: Parts, run: str) -> LoggedRunRecord:
    """Return a logged run, including runs in the trash. Raises NotFound, Conflict."""
    with reading(parts.engine) as connection:
        return load_logged(connection, run)


def load_logged(connection: Connection, run: str) -> LoggedRunRecord:
    """Return a logged run, including runs in the trash. Raises NotFound, Conflict."""
    logged = find_logged(connection, run)
    if logged is None:
        launched = connection.execute(text("SELECT 1 FROM run WHERE id = :run"), {"run": run}).scalar()
        if launched:
            raise Conflict(f"run {run[:40]} was launched by Runyard; only its worker can log to it")
        raise NotFound(f"no run '{run[:40]}'")
    return logged


def writable(connection: Connection, run: str, *, metadata_only: bool = False, late: bool = False) -> LoggedRunRecord:
    """Return a run that accepts entries; ``metadata_only``: name, tags and outcome, also after it ended.

    ``late``: what a command's program logged before it was killed, which may arrive after the run has ended.
    """
    logged = load_logged(connection, run)
    if logged.row["deleted_at"] is not None:
        raise Conflict(f"run {run} is in the trash; restore it first")
    if logged.closed and not metadata_only and not (late and logged.executed):
        outcome = ": ".join(filter(None, (logged.row["status"], logged.row["reason"])))
        raise Conflict(f"run {run} has ended ({outcome}) and accepts no more data; start a new run")
    return logged


def log(parts: Parts, run: str, batch: LogBatch, *, now: float | None = None) -> None:
    """Add points, parameters, tags and inputs to a run. Raises NotFound, Conflict, Invalid and then adds nothing."""
    now = time.time() if now is None else now
    with writing(parts.engine) as connection:
        logged = writable(connection, run)
        fresh = new_parameters(logged, batch.parameters)
        _check_models(
            connection, [*(each.model for each in batch.model_points), *(each.model for each in batch.models)]
        )
        curves = {(run, name): points.curve() for name, points in batch.points.items() if points.steps}
        curves = _without_repeats(connection, run, curves)
        curves = _without_links(connection, run, curves, {each.name for each in batch.model_points})
        commit = next_commit(connection)
        check_number_of_metrics(connection, run, curves)
        add_curves(connection, curves, commit)
        write_metrics(connection, batch.model_points)
        put_used(connection, batch.models)
        if fresh:
            write_parameters(connection, logged, fresh, commit)
            logged = load_logged(connection, run)
        if batch.inputs:
            write_inputs(connection, logged, list(batch.inputs), commit)
            logged = load_logged(connection, run)
        if batch.tags:
            write_tags(connection, logged, batch.tags, commit)
        step = max((int(curve.steps[-1]) for curve in curves.values()), default=None)
        record_activity(connection, logged, step, commit, now, silence_seconds(parts))
        merge_sometimes(connection, run, commit)
    changed = {"progress"} | ({"metrics"} if curves else set())
    if fresh or batch.tags or batch.inputs:
        changed.add("status")
    pubsub.notify_servers(parts.redis, commit, {run: changed})


def _check_models(connection: Connection, models: Sequence[str]) -> None:
    """Raises NotFound if one of these models does not exist."""
    wanted = sorted(set(models))
    known = {model.id for model in find_models(connection, wanted)} if wanted else set()
    missing = next((model for model in wanted if model not in known), None)
    if missing is not None:
        raise NotFound(f"no logged model '{missing[:60]}'")


def tag(parts: Parts, run: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run, even after it ended."""
    with writing(parts.engine) as connection:
        logged = writable(connection, run, metadata_only=True)
        commit = next_commit(connection)
        write_tags(connection, logged, tags, commit)
    pubsub.announce(parts.redis, commit, run, "status")


def untag(parts: Parts, run: str, key: str) -> None:
    """Remove a tag from a run. Raises NotFound if the run does not have it."""
    with writing(parts.engine) as connection:
        logged = writable(connection, run, metadata_only=True)
        if key not in logged.tags:
            raise NotFound(f"run {run} has no tag '{key[:60]}'")
        commit = next_commit(connection)
        remove_tag(connection, logged, key, commit)
    pubsub.announce(parts.redis, commit, run, "status")


def join_experiment(parts: Parts, run: str, experiment: ExperimentRecord) -> None:
    """Move a command's run to the experiment that its script sets, unless the script has logged something before."""
    with writing(parts.engine) as connection:
        logged = find_logged(connection, run)
        if logged is None or not logged.untouched or logged.row["experiment"] == experiment.id:
            return
        commit = next_commit(connection)
        move_to_experiment(connection, run, experiment, commit)
    pubsub.announce(parts.redis, commit, run, "status")


def adopt(parts: Parts, run: str, new_run: NewLoggedRun, experiment: ExperimentRecord) -> bool:
    """Let the first run that a command's script starts be the run that executes the command; False if it is not.

    It is another run if the script has logged something before, or if it is a child of another run.
    """
    with writing(parts.engine) as connection:
        logged = find_logged(connection, run)
        if logged is None or not logged.untouched or PARENT_TAG in new_run.tags:
            return False
        now = time.time()
        commit = next_commit(connection)
        move_to_experiment(connection, run, experiment, commit)
        tags = {name: value for name, value in new_run.tags.items() if name != NAME_TAG}
        write_tags(connection, logged, tags, commit)
        if new_run.name and not logged.config["name"]:
            rename(connection, run, {"name": new_run.name}, commit)
        record_activity(connection, logged, None, commit, now, silence_seconds(parts))
    pubsub.announce(parts.redis, commit, run, "status")
    return True


def end(parts: Parts, run: str, outcome: str | None, ended_at: float | None, name: str | None) -> None:
    """Set a run's outcome or name, also of a run that its script has ended before: it was continued.

    The outcome of a run that executes a command does not change, nor that of a run that its script did not end.
    """
    with writing(parts.engine) as connection:
        logged = writable(connection, run, metadata_only=True)
        commit = next_commit(connection)
        # A name that was given to `runyard exec` stays.
        if name is not None and name != logged.row["name"] and not (logged.executed and logged.config["name"]):
            rename(connection, run, {"name": name}, commit)
        # The exit status of a command decides, and it is still running.
        if outcome is not None and not logged.executed and not logged.closed:
            if not end_logged(connection, run, outcome, commit, ended_at or time.time()):
                end_again(connection, run, outcome, commit, ended_at or time.time())
            merge_chunks(connection, run, commit, ended=True)
            _merged.pop(run, None)
    pubsub.announce(parts.redis, commit, run, "status")


def new_parameters(logged: LoggedRunRecord, given: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that a run does not have yet. Raises Invalid if one would change, or for too many.

    What a script logs replaces the value with which its command was filled: it may write True for true.
    """
    known, chosen = logged.parameters, logged.chosen_values
    known = {key: value for key, value in known.items() if key not in given or chosen.get(key) != value}
    for key, value in given.items():
        if known.get(key, value) != value:
            raise Invalid(
                f"parameter '{key}' of run {logged.id} is already '{known[key][:100]}' and cannot change"
                f" to '{value[:100]}'"
            )
    fresh = {key: value for key, value in given.items() if key not in known and logged.parameters.get(key) != value}
    if len(known) + len(fresh) > MOST_PARAMETERS:
        raise Invalid(f"a run can have at most {MOST_PARAMETERS:,} parameters")
    return fresh


def check_number_of_metrics(connection: Connection, run: str, curves: Mapping[tuple[str, str], Curve]) -> None:
    """Raises Invalid if a run would have too many metrics."""
    if len(curves) < MOST_METRICS // 4:
        return
    known = set(connection.execute(text("SELECT name FROM metric_series WHERE run = :run"), {"run": run}).scalars())
    if len(known | {name for _, name in curves}) > MOST_METRICS:
        raise Invalid(f"a run can have at most {MOST_METRICS:,} metrics")


# After a lost response, a client sends its last points again: a curve that equals the end of what came last (steps,
# values and milliseconds) is such a repeat.
_ENDS = text("SELECT id, name, last_step, last_time FROM metric_series WHERE run = :run AND name IN :names").bindparams(
    bindparam("names", expanding=True)
)
_NEWEST = text(
    "SELECT points, steps, point_values, times FROM metric_chunk WHERE series = :series ORDER BY commit_number DESC,"
    " id DESC LIMIT 1"
)


def _without_repeats(
    connection: Connection, run: str, curves: dict[tuple[str, str], Curve]
) -> dict[tuple[str, str], Curve]:
    if not curves:
        return curves
    for row in connection.execute(_ENDS, {"run": run, "names": [name for _, name in curves]}).all():
        curve = curves.get((run, row.name))
        if curve is None or (int(curve.steps[-1]), float(curve.times[-1])) > (row.last_step, row.last_time):
            continue
        stored = connection.execute(_NEWEST, {"series": row.id}).one_or_none()
        if stored is None:
            continue
        old_bytes = (unpack_steps([stored.steps], [stored.points]).tobytes(), stored.point_values, stored.times)
        new_bytes = (curve.steps.tobytes(), curve.values.tobytes(), curve.times.tobytes())
        if all(old.endswith(new) for old, new in zip(old_bytes, new_bytes, strict=True)):
            del curves[run, row.name]
    return curves


def _without_links(
    connection: Connection, run: str, curves: dict[tuple[str, str], Curve], names: set[str]
) -> dict[tuple[str, str], Curve]:
    """Leave out points that the run has already, of metrics that the batch says something of a model with.

    A client that logs a model logs the points of its step again, with the model's ID.
    """
    for name in names & {name for _, name in curves}:
        curve = curves[run, name]
        within = int(curve.steps[0]), int(curve.steps[-1])
        stored = read_curves(connection, run, [name], 0, within).get(name)
        if stored is None:
            continue
        known = set(_bits(stored))
        fresh = [at for at, point in enumerate(_bits(curve)) if point not in known]
        if fresh:
            curves[run, name] = Curve(curve.steps[fresh], curve.values[fresh], curve.times[fresh])
        else:
            del curves[run, name]
    return curves


def _bits(curve: Curve) -> list[tuple[int, int, float]]:
    """Return the points of a curve, their values as bits: NaN equals itself."""
    return list(zip(curve.steps.tolist(), curve.values.view(np.int64).tolist(), curve.times.tolist(), strict=True))


_merged: dict[str, float] = {}


def merge_sometimes(connection: Connection, run: str, commit: int) -> None:
    """Merge chunks now and then: each request adds one, and the recorder merges only those that workers report."""
    now = time.monotonic()
    if now - _merged.setdefault(run, now) >= MERGE_SECONDS:
        _merged[run] = now
        merge_chunks(connection, run, commit)
