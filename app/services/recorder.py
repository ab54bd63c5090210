"""Writes what workers report to the database, exactly once: reads events, commits them, then acknowledges them.

The only writer of these reports. Each trainer numbers its events from 1 without gaps, and the run's row stores the last
applied number in the same transaction as the event's effects. So a repeated event changes nothing, and an event that
arrives too early (because Redis lost some) is left for the trainer to send again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from sqlalchemy import Connection, Engine, bindparam, text
from sqlalchemy.exc import OperationalError

from _runyard import __version__
from app.contract import broker, command_key
from app.contract.disk_space import is_disk_full
from app.contract.events import (
    SUPERVISOR_EVENTS,
    TRAINER_EVENTS,
    Changed,
    Checkpoint,
    Claim,
    Ended,
    Finishing,
    Goodbye,
    Grant,
    Heartbeat,
    Log,
    OwnedRun,
    Points,
    PredictionsKept,
    Progress,
    Renewal,
    Result,
    Started,
    unpack_points,
)
from app.contract.packed_steps import unpack_steps
from app.contract.protocol import PROTOCOL
from app.contract.settings import Settings
from app.services import pubsub
from app.services.housekeeper import Housekeeper
from app.services.jobs_at_end import queue_jobs
from app.services.sharing import SharedArchitectures
from app.services.stream_reply import Entry, first_stream, milliseconds
from app.services.waiting_runs import WaitingRuns
from app.store import command, lease, lineage, live_change, log, metric, prediction_file, run, training_time, worker
from app.store.database import next_commit, writing
from app.store.turn import QueueRules

logger = logging.getLogger("runyard.recorder")

BATCH = 2000
# A commit costs as much for one entry as for twenty: what comes so soon after the last one goes into the next.
GATHER_SECONDS = 0.02
# The two clocks are read one after the other, so a shorter difference is not a suspension.
SHORTEST_SLEEP_SECONDS = 1.0

_HEADS = text("SELECT id, fence, applied, attempt FROM run WHERE id IN :runs").bindparams(
    bindparam("runs", expanding=True)
)
_SET_APPLIED = text("UPDATE run SET applied = :applied WHERE id = :run AND fence = :fence")
_SET_PROGRESS = text("UPDATE run SET progress = :progress, progress_commit = :commit WHERE id = :run")


@dataclass
class _Batch:
    """What one transaction changes, and what to announce once it is committed."""

    commit: int
    now: float
    committed: dict[str, int] = field(default_factory=dict)
    replies: list[tuple[str, BaseModel]] = field(default_factory=list)
    renewals: dict[str, Renewal] = field(default_factory=dict)
    changed: dict[str, set[str]] = field(default_factory=dict)
    points: dict[tuple[str, str], list[tuple[float, Points]]] = field(default_factory=dict)
    heads: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    workers_changed: bool = False

    def note(self, run_id: str, what: str) -> None:
        self.changed.setdefault(run_id, set()).add(what)


class Recorder:
    """Processes the event stream; ``step`` handles one batch."""

    def __init__(
        self, settings: Settings, engine: Engine, redis: Redis, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.redis = redis
        self.clock = clock
        self.celery = broker.celery_client(settings.redis)
        self.architectures = SharedArchitectures(settings)
        self.housekeeper = Housekeeper(settings, engine, redis, self.celery, clock)
        self._backlog = True
        self._waiting = WaitingRuns()

    # The loop --------------------------------------------------------------------------------------------------------

    def run(self, stop: Event) -> None:
        """Record until ``stop`` is set; survives Redis restarts and a locked or full database."""
        connected = False
        while not stop.is_set():
            try:
                if not connected:
                    self.connect()
                    connected = True
                began = time.monotonic()
                if 0 < self.step(block_milliseconds=200) < BATCH:
                    stop.wait(began + GATHER_SECONDS - time.monotonic())
            except (RedisError, OSError) as error:
                if connected or not isinstance(error, RedisConnectionError):
                    logger.warning("Redis does not respond (%s); retrying", error)
                connected = False
                stop.wait(0.2)
            except OperationalError as error:
                logger.error("could not write to the database (%s); no data is lost; retrying", error.orig)
                if is_disk_full(error):
                    pubsub.tell_disk_full(self.redis)
                # Once it can write again, workers get time to renew their leases.
                connected = False
                stop.wait(0.5)

    def connect(self) -> None:
        """Join the event stream and give workers time to renew their leases."""
        try:
            self.redis.xgroup_create(broker.EVENTS, broker.GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._backlog = True
        self.housekeeper.take_over()

    def step(self, block_milliseconds: int = 0) -> int:
        """Apply new entries, then do the housekeeping that is due; returns the number of entries."""
        entries = self._read(block_milliseconds)
        if entries:
            self.apply(entries)
        self.housekeeper.step()
        return len(entries)

    def _read(self, block_milliseconds: int) -> list[Entry]:
        # What was delivered but never acknowledged comes first: it was read by a recorder that died before its commit.
        start = "0" if self._backlog else ">"
        try:
            reply: Any = self.redis.xreadgroup(
                broker.GROUP, "recorder", {broker.EVENTS: start}, count=BATCH, block=block_milliseconds or None
            )
        except ResponseError as error:
            if "NOGROUP" in str(error):
                raise RedisConnectionError("the event stream no longer exists; Redis was flushed") from error
            raise
        entries: list[Entry] = first_stream(reply)
        if self._backlog and not entries:
            self._backlog = False
            return self._read(block_milliseconds)
        return entries

    # One batch -------------------------------------------------------------------------------------------------------

    def apply(self, entries: list[Entry]) -> None:
        """Commit these entries in one transaction; then acknowledge, answer and announce them."""
        server_now = self._server_now(entries)
        with writing(self.engine) as connection:
            batch = _Batch(next_commit(connection), self.clock())
            self._load_heads(connection, batch, entries)
            for entry_id, fields in entries:
                try:
                    self._apply_one(connection, batch, fields, server_now - milliseconds(entry_id) / 1000)
                except (ValidationError, ValueError, KeyError) as error:
                    self._set_aside(fields, entry_id.decode(), error)
            self._write_points(connection, batch, list(batch.points))
            self._write_heads(connection, batch)
        self._announce(batch, [entry_id for entry_id, _ in entries])

    def _server_now(self, entries: list[Entry]) -> float:
        """Redis' time, which dates supervisor events; 0 if the batch has none."""
        if all(b"r" in fields for _, fields in entries):
            return 0.0
        seconds, microseconds = self.redis.time()
        newest = max(milliseconds(entry_id) for entry_id, _ in entries) / 1000
        return max(newest, float(seconds) + float(microseconds) / 1e6)

    def _apply_one(self, connection: Connection, batch: _Batch, fields: dict[bytes, bytes], age: float) -> None:
        if not fields:  # acknowledged and removed, but delivered again
            return
        kind = fields[b"k"].decode()
        if b"r" in fields:
            self._apply_report(connection, batch, kind, fields)
            return
        event = SUPERVISOR_EVENTS[kind].model_validate_json(fields[b"b"])
        match event:
            case Claim():
                if age <= broker.REPLY_SECONDS - 5:
                    self._grant(connection, batch, event)
            case Heartbeat():
                if age <= self.settings.lease_seconds:
                    self._renew_leases(connection, batch, event)
            case Ended():
                self._flush_points(connection, batch, event.run)
                if lease.end(connection, event.run, event.fence, event.outcome, event.reason, batch.commit, batch.now):
                    batch.note(event.run, "status")
                # The supervisor repeats this until it learns that it was committed.
                batch.committed[broker.committed_field(event.run, event.fence) + ":ended"] = 1
            case Goodbye():
                worker.forget(connection, event.worker)
                batch.workers_changed = True

    def _apply_report(self, connection: Connection, batch: _Batch, kind: str, fields: dict[bytes, bytes]) -> None:
        run_id, fence, sequence = fields[b"r"].decode(), int(fields[b"f"]), int(fields[b"s"])
        head = self._head(connection, batch, run_id)
        if head is None or head[0] != fence:
            # From an older attempt or a purged run: acknowledge everything, so that the trainer truncates its spool.
            batch.committed[broker.committed_field(run_id, fence)] = 2**53
            return
        applied, attempt = head[1], head[2]
        batch.committed[broker.committed_field(run_id, fence)] = applied
        if sequence != applied + 1:
            return
        try:
            if kind == "metrics":
                self._collect_points(batch, run_id, fields[b"b"])
            else:
                self._apply_event(connection, batch, run_id, fence, attempt, kind, fields[b"b"])
        except (ValidationError, ValueError, KeyError) as error:
            # Do not block later events: the trainer would resend this one forever.
            self._set_aside(fields, f"{run_id} #{sequence}", error)
        batch.heads[run_id] = (fence, sequence, attempt)
        batch.committed[broker.committed_field(run_id, fence)] = sequence

    def _collect_points(self, batch: _Batch, run_id: str, body: bytes) -> None:
        base_time, series = unpack_points(body)
        offsets = np.frombuffer(b"".join(points.offsets for points in series), "<f4")
        if not np.isfinite(base_time) or not np.isfinite(offsets).all():
            raise ValueError("the times of metric points must be finite")
        for points in series:
            batch.points.setdefault((run_id, points.name), []).append((base_time, points))
        batch.note(run_id, "metrics")
        self.housekeeper.unmerged.add(run_id)

    def _set_aside(self, fields: dict[bytes, bytes], which: str, error: Exception) -> None:
        logger.error("could not read entry %s; moved it to %s: %s", which, broker.UNREADABLE, error)
        self.redis.xadd(broker.UNREADABLE, dict(fields), maxlen=1000)  # type: ignore[arg-type]

    def _load_heads(self, connection: Connection, batch: _Batch, entries: list[Entry]) -> None:
        """Load the progress of the runs that these entries belong to."""
        runs = {fields[b"r"].decode(errors="replace") for _, fields in entries if b"r" in fields}
        for row in connection.execute(_HEADS, {"runs": sorted(runs)}) if runs else ():
            batch.heads[row.id] = (row.fence, row.applied, row.attempt)

    def _head(self, connection: Connection, batch: _Batch, run_id: str) -> tuple[int, int, int] | None:
        if run_id not in batch.heads:  # granted again in this batch, or purged
            row = connection.execute(_HEADS, {"runs": [run_id]}).one_or_none()
            if row is None:
                return None
            batch.heads[run_id] = (row.fence, row.applied, row.attempt)
        return batch.heads[run_id]

    def _apply_event(
        self, connection: Connection, batch: _Batch, run_id: str, fence: int, attempt: int, kind: str, body: bytes
    ) -> None:
        event = TRAINER_EVENTS[kind].model_validate_json(body)
        at = {"run": run_id, "commit": batch.commit}
        match event:
            case Started():
                self._flush_points(connection, batch, run_id)
                if not event.keeps:
                    tested = lineage.delete_test_metrics(connection, run_id)
                    if metric.cut_after(connection, run_id, event.step, batch.commit) or tested:
                        connection.execute(text("UPDATE run SET reset_commit = :commit WHERE id = :run"), at)
                lease.begin(connection, run_id, fence, event, batch.commit, batch.now)
                if attempt > 1:
                    label = (
                        f"attempt {attempt} resumed from step {event.step:,}" if event.step else f"attempt {attempt}"
                    )
                    step = command.last_step(connection, run_id) if event.keeps else event.step
                    live_change.cut(connection, run_id, step)
                    live_change.mark(connection, run_id, "restart", step, label, batch.commit, batch.now)
                lineage.save_capture(connection, run_id, event.capture)
                if event.batch_size:
                    lineage.set_batch_size(connection, run_id, event.batch_size)
                batch.note(run_id, "status")
            case Progress():
                connection.execute(_SET_PROGRESS, at | {"progress": event.model_dump_json()})
                batch.note(run_id, "progress")
            case Log():
                log.add_lines(connection, run_id, attempt, event.lines, batch.commit)
                batch.note(run_id, "log")
                for line in event.lines:
                    if line.level == "warning":
                        live_change.warn(connection, run_id, line.text, batch.commit, line.time)
            case Changed():
                if live_change.settle(connection, run_id, event, batch.commit, batch.now):
                    batch.note(run_id, "mark")
            case Checkpoint() if event.kept:
                lineage.save_checkpoint(connection, run_id, event)
                label = (
                    f"checkpoint in epoch {event.epoch + 1}"
                    if event.within
                    else f"checkpoint after epoch {event.epoch}"
                )
                live_change.mark(connection, run_id, "checkpoint", event.step, label, batch.commit, batch.now)
                batch.note(run_id, "mark")
            case Checkpoint():
                if event.best:
                    label = f"best so far, epoch {event.epoch}"
                    live_change.mark(connection, run_id, "best", event.step, label, batch.commit, batch.now)
                    batch.note(run_id, "mark")
                column = "best_checkpoint" if event.best else "checkpoint"
                connection.execute(
                    text(f"UPDATE run SET {column} = :checkpoint WHERE id = :run"),
                    {"run": run_id, "checkpoint": event.model_dump_json()},
                )
            case PredictionsKept():
                prediction_file.record_file(connection, run_id, fence, event, batch.now)
            case Finishing():
                if run.transition(connection, run_id, "finishing", batch.commit, fence=fence):
                    batch.note(run_id, "status")
            case Result():
                self._flush_points(connection, batch, run_id)
                if event.exit_status is not None:
                    command.save_exit_status(connection, run_id, fence, event.exit_status)
                ended = lease.end(connection, run_id, fence, event.outcome, event.reason, batch.commit, batch.now)
                if ended and event.outcome == "cancelled":
                    live_change.record_stop(connection, run_id, batch.commit, batch.now)
                if ended and event.outcome == "succeeded" and queue_jobs(connection, run_id, batch.now):
                    batch.note(run_id, "job")
                batch.note(run_id, "status")

    def _flush_points(self, connection: Connection, batch: _Batch, run_id: str) -> None:
        """Write a run's points before an event that depends on them."""
        self._write_points(connection, batch, [key for key in batch.points if key[0] == run_id])

    def _write_points(self, connection: Connection, batch: _Batch, keys: list[tuple[str, str]]) -> None:
        curves = {key: _curve(batch.points.pop(key)) for key in keys}
        metric.add_curves(connection, curves, batch.commit)

    def _write_heads(self, connection: Connection, batch: _Batch) -> None:
        heads = [
            {"run": run_id, "fence": fence, "applied": applied} for run_id, (fence, applied, _) in batch.heads.items()
        ]
        if heads:
            connection.execute(_SET_APPLIED, heads)

    # Workers ---------------------------------------------------------------------------------------------------------

    def _grant(self, connection: Connection, batch: _Batch, claim: Claim) -> None:
        until = batch.now + self.settings.lease_seconds
        granted = None
        if claim.protocol == PROTOCOL:
            granted = lease.claim_next(
                *(connection, claim.claim, claim.worker, claim.slot, claim.device, batch.commit, until),
                rules=QueueRules.of(self.settings),
                commands=self._has_command_key(claim.command_key),
            )
        if granted is None:
            batch.replies.append((claim.reply, Grant()))
            return
        batch.heads.pop(granted.run, None)
        batch.note(granted.run, "status")
        grant = Grant(
            run=granted.run,
            fence=granted.fence,
            attempt=granted.attempt,
            config=granted.config,
            command=granted.command,
            resume=granted.resume,
            changes=live_change.changes_for_attempt(connection, granted.run),
            architectures=self.architectures.now() if granted.config else None,
        )
        batch.replies.append((claim.reply, grant))

    def _has_command_key(self, name: str | None) -> bool:
        """Whether a worker checks commands with this server's key. One that does not say might."""
        return name is None or (name != "" and name == command_key.key_id(self.settings.data_dir))

    def _renew_leases(self, connection: Connection, batch: _Batch, beat: Heartbeat) -> None:
        asleep, since = worker.time_asleep(connection, beat)
        if worker.record_heartbeat(connection, beat, batch.now, self._has_command_key(beat.command_key)):
            batch.workers_changed = True
        for run_id in self._waiting.note(connection, beat, batch.commit):
            batch.note(run_id, "status")
        cancel: list[OwnedRun] = []
        drop: list[OwnedRun] = []
        for holding in beat.runs:
            status = lease.renew(connection, holding.run, holding.fence, batch.now + self.settings.lease_seconds)
            if status is None:
                drop.append(holding)
            elif status == "cancelling":
                cancel.append(holding)
            if status is not None and asleep >= SHORTEST_SLEEP_SECONDS:
                training_time.leave_out(connection, holding.run, since, asleep, batch.commit)
                batch.note(holding.run, "status")
        lost = {holding.run for holding in drop}
        requested = live_change.pending_changes(
            connection, [holding.run for holding in beat.runs if holding.run not in lost]
        )
        batch.renewals[beat.worker] = Renewal(
            beat=beat.beat, protocol=PROTOCOL, version=__version__, cancel=cancel, drop=drop, asked=requested
        )

    # After the commit ------------------------------------------------------------------------------------------------

    def _announce(self, batch: _Batch, entry_ids: list[bytes]) -> None:
        pipe = self.redis.pipeline(transaction=False)
        if batch.committed:
            pipe.hset(broker.COMMITTED, mapping=batch.committed)  # type: ignore[arg-type]
        for key, reply in batch.replies:
            pipe.rpush(key, reply.model_dump_json())
            pipe.expire(key, broker.REPLY_SECONDS)
        for worker_id, renewal in batch.renewals.items():
            pipe.set(broker.renewal_key(worker_id), renewal.model_dump_json(), ex=60)
        pubsub.publish_commit(pipe, batch.commit, batch.changed, batch.workers_changed)
        for start in range(0, len(entry_ids), 500):
            ids = entry_ids[start : start + 500]
            pipe.xack(broker.EVENTS, broker.GROUP, *ids)
            pipe.xdel(broker.EVENTS, *ids)
        pipe.execute()


def _curve(parts: list[tuple[float, Points]]) -> metric.Curve:
    """What several entries say of one metric, by each entry's base time."""
    if len(parts) == 1:
        ((base, points),) = parts
        times = np.frombuffer(points.offsets, "<f4").astype("<f8") + base
        return metric.Curve(unpack_steps([points.steps], [points.count]), np.frombuffer(points.values, "<f8"), times)
    return metric.Curve(
        unpack_steps([points.steps for _, points in parts], [points.count for _, points in parts]),
        np.frombuffer(b"".join(points.values for _, points in parts), "<f8"),
        np.concatenate([np.frombuffer(points.offsets, "<f4").astype("<f8") + base for base, points in parts]),
    )
