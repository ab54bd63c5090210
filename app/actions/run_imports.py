"""Import of runs recorded elsewhere; a repeated import adds only new points and parameters."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic_core import to_json
from sqlalchemy import Connection, bindparam, text

from app.actions import tracking
from app.actions.step_records import RecordsPart, keep_records
from app.actions.tracking import Points
from app.contract.errors import Conflict
from app.services import pubsub
from app.store.database import next_commit, writing
from app.store.experiment import change_experiment, find_experiment_named, insert_experiment
from app.store.imported_entry import Entries, KnownEntries, find_imported, read_entries, write_entries
from app.store.imported_entry import Kind as EntryKind
from app.store.metric import Curve, add_curves, merge_chunks
from app.store.step_record import Kind as RecordKind
from app.store.tracked_run import (
    TENSORBOARD,
    LoggedRunRecord,
    NewLoggedRun,
    end_logged,
    find_logged,
    insert_logged,
    write_parameters,
)
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

    ``file``: identifies the file that curves, histograms and texts are from; their offsets count what is in this file.
    ``files``: all files of the run. ``live``: more will come, so the run goes on.
    ``damaged``: number of places in its files with damaged records; ``left_out``: number of invalid points.
    ``not_kept``: number of values that are left out, by what they are.
    """

    key: str
    experiment: str
    name: str
    started: float
    ended: float
    outcome: str = ""
    file: str = ""
    files: Sequence[str] = ()
    live: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, CurvePart] = field(default_factory=dict)
    histograms: Mapping[str, RecordsPart] = field(default_factory=dict)
    texts: Mapping[str, RecordsPart] = field(default_factory=dict)
    damaged: int = 0
    left_out: int = 0
    not_kept: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Imported:
    """What an import did: the run, its status, and what is new: numbers of points, histograms and texts.

    ``begins``: the run was not known before.
    """

    run: str
    status: str
    points: int
    histograms: int
    texts: int
    begins: bool = False


def import_run(parts: Parts, imported: ImportedRun) -> Imported:
    """Add what is new of an imported run. Raises Conflict, Invalid and then adds nothing."""
    now = time.time()
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        run, begins = _find_or_insert(connection, parts, imported, commit, now)
        changed = {"progress"}
        known = read_entries(connection, run, imported.file)
        if imported.file:
            known.take("file", "", 0, 0)
        curves = _new_curves(run, imported.curves, known)
        add_curves(connection, curves, commit)
        histograms = keep_records(connection, run, "histogram", _new_records("histogram", imported.histograms, known))
        texts = keep_records(connection, run, "text", _new_records("text", imported.texts, known))
        write_entries(connection, run, imported.file, known)
        logged = find_logged(connection, run)
        assert logged is not None
        if logged.row["status_commit"] == commit:
            changed.add("status")
        if imported.live:
            tracking.merge_sometimes(connection, run, commit)
        else:
            reason = "" if imported.outcome else UNKNOWN_OUTCOME
            end_logged(connection, run, imported.outcome or "succeeded", commit, imported.ended, reason)
            merge_chunks(connection, run, commit, ended=True)
            changed.add("status")
        status = _update(connection, parts, logged, imported, commit, now)
    if curves:
        changed.add("metrics")
    pubsub.notify_servers(parts.redis, commit, {run: changed})
    return Imported(run, status, sum(len(curve.steps) for curve in curves.values()), histograms, texts, begins)


def _find_or_insert(
    connection: Connection, parts: Parts, imported: ImportedRun, commit: int, now: float
) -> tuple[str, bool]:
    key = f"{TENSORBOARD}:{imported.key}"
    found = _find_by_key(connection, [imported.key])
    # A file that was created later may be the first by its name.
    if found is None and imported.files:
        found = find_imported(connection, imported.files) or _find_by_key(connection, imported.files)
    if found is not None:
        _check_accepts(connection, str(found), imported.name)
        return str(found), False
    new_run = NewLoggedRun(
        experiment=experiment_named(connection, imported.experiment, now),
        family=imported.experiment,
        name=imported.name,
        started_at=imported.started,
        origin=TENSORBOARD,
        parameters=imported.parameters,
        key=key,
    )
    return insert_logged(connection, new_run, commit, now, tracking.silence_seconds(parts)), True


_BY_KEY = text("SELECT min(id) FROM run WHERE idempotency_key IN :keys").bindparams(bindparam("keys", expanding=True))


def _find_by_key(connection: Connection, keys: Sequence[str]) -> str | None:
    found: str | None = connection.execute(_BY_KEY, {"keys": [f"{TENSORBOARD}:{key}" for key in keys]}).scalar()
    return found


def _check_accepts(connection: Connection, run: str, name: str) -> None:
    """Raise Conflict if a run is in the trash or was stopped here."""
    logged = find_logged(connection, run)
    assert logged is not None
    if logged.row["deleted_at"] is not None:
        raise Conflict(f"'{name}' was already imported as {run}, which is in the trash; restore it first")
    if logged.closed and logged.row["status"] == "cancelled":
        raise Conflict(f"run {run} of '{name}' was stopped here, so nothing more is imported")
    if logged.closed:
        # Nothing came for so long that it failed, but its files are still what happened.
        connection.execute(text("UPDATE logged_run SET told_end = :yes WHERE run = :run"), {"yes": True, "run": run})


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
    stored: Entries = {("metric", name): points for name, points in known.items()}
    return _new_curves(run, curves, KnownEntries(stored))


def _new_curves(run: str, curves: Mapping[str, CurvePart], known: KnownEntries) -> dict[tuple[str, str], Curve]:
    new = {}
    for name, part in curves.items():
        rest = _new_part("metric", name, part.offset, len(part.points.steps), known)
        fresh = Points(part.points.steps[rest], part.points.values[rest], part.points.times[rest])
        if fresh.steps:
            new[run, name] = fresh.curve()
    return new


def _new_records(kind: RecordKind, records: Mapping[str, RecordsPart], known: KnownEntries) -> dict[str, RecordsPart]:
    new = {}
    for name, part in records.items():
        rest = _new_part(kind, name, part.offset, len(part.steps), known)
        if part.steps[rest]:
            new[name] = RecordsPart(part.offset, part.steps[rest], part.times[rest], part.contents[rest])
    return new


def _new_part(kind: EntryKind, name: str, offset: int, count: int, known: KnownEntries) -> slice:
    """Which entries of a part are new. Raises Conflict if entries before the part are missing."""
    received = known.take(kind, name, offset, count)
    if received is None:
        word = "point" if kind == "metric" else kind
        stored = known.entries.get((kind, name), 0)
        have = f"{stored:,} {word}{'' if stored == 1 else 's'}"
        raise Conflict(f"{name} has only {have}; cannot add {word}s at offset {offset:,}")
    return slice(received, None)


_UPDATE = text(
    "UPDATE run SET started_at = CASE WHEN started_at > :started THEN :started ELSE started_at END,"
    " ended_at = CASE WHEN ended_at < :ended THEN :ended ELSE ended_at END, progress = :progress,"
    " deadline = CASE WHEN deadline IS NULL THEN NULL ELSE :deadline END,"
    " progress_commit = :commit WHERE id = :run RETURNING status"
)


def _update(
    connection: Connection, parts: Parts, logged: LoggedRunRecord, imported: ImportedRun, commit: int, now: float
) -> str:
    """Update the run's times and what was skipped, and add parameters recorded since the last import: its status."""
    step = connection.execute(
        text("SELECT max(last_step) FROM metric_series WHERE run = :run"), {"run": logged.id}
    ).scalar()
    skipped = {"damaged": imported.damaged, "left_out": imported.left_out, "not_kept": dict(imported.not_kept)}
    progress = {"step": step or 0} | {name: found for name, found in skipped.items() if found}
    if imported.live:
        progress["heard"] = round(now, 3)
    fresh = {key: value for key, value in imported.parameters.items() if key not in logged.parameters}
    if fresh:
        write_parameters(connection, logged, fresh, commit)
    status: str = connection.execute(
        _UPDATE,
        {
            "run": logged.id,
            "started": imported.started,
            "ended": imported.ended,
            "progress": to_json(progress).decode(),
            "deadline": now + tracking.silence_seconds(parts),
            "commit": commit,
        },
    ).scalar_one()
    return status
