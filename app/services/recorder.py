"""Events -> rows, exactly once: reads what workers report, commits it, and only then acknowledges and announces it.

The only writer of what workers report. Each trainer numbers its entries from 1 without a gap, and the run's row keeps
the last number applied, in the same transaction as what the entry says: an entry that comes twice changes nothing, and
one that comes too early (Redis lost some) is left for the trainer to send again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
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

from app.contract import broker
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
    Holding,
    Log,
    Points,
    Progress,
    Renewal,
    Result,
    Started,
    unpack_points,
)
from app.contract.settings import Settings
from app.services import artifacts, signals
from app.store import lease, lineage, live_change, log, metric, queue, run, tracked_run, training_time, trash, worker
from app.store.database import next_commit, reading, writing

logger = logging.getLogger("runyard.recorder")

BATCH = 2000
# A commit costs as much for one entry as for twenty: what comes so soon after the last one goes into the next.
GATHER_SECONDS = 0.02
TICK_SECONDS = 0.5
MERGE_SECONDS = 5.0
LEFT_OVER_SECONDS = 3600.0
PURGE_SECONDS = 3600.0
# A pause shorter than this is no suspension: the two clocks are read one after the other.
SHORTEST_SLEEP_SECONDS = 1.0
Entry = tuple[bytes, dict[bytes, bytes]]

_HEADS = text("SELECT id, fence, applied, attempt FROM run WHERE id IN :runs").bindparams(
    bindparam("runs", expanding=True)
)
_SET_APPLIED = text("UPDATE run SET applied = :applied WHERE id = :run AND fence = :fence")
_SET_PROGRESS = text("UPDATE run SET progress = :progress, progress_commit = :commit WHERE id = :run")


@dataclass
class _Batch:
    """What one transaction will have said once it is committed."""

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
    """Reads the event stream for ever; ``step`` is one round of it."""

    def __init__(
        self, settings: Settings, engine: Engine, redis: Redis, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.redis = redis
        self.clock = clock
        self.celery = broker.celery_client(settings.redis)
        self._backlog = True
        self._next_tick = 0.0
        self._next_merge = 0.0
        self._next_purge = 0.0
        self._unmerged: set[str] = set()
        self._to_merge: list[str] = []

    # The loop --------------------------------------------------------------------------------------------------------

    def run(self, stop: Event) -> None:
        """Record until ``stop`` is set; outlives a Redis that restarts and a database that is locked or full."""
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
                    logger.warning("Redis does not answer (%s); trying again", error)
                connected = False
                stop.wait(0.2)
            except OperationalError as error:
                logger.error("the database could not be written (%s); nothing is lost, trying again", error.orig)
                self._backlog = True
                stop.wait(0.5)

    def connect(self) -> None:
        """Join the stream; leases get time to be renewed, since nobody listened until now."""
        try:
            self.redis.xgroup_create(broker.EVENTS, broker.GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._backlog = True
        with writing(self.engine) as connection:
            lease.postpone_leases(connection, self.clock() + self.settings.lease_seconds)
            # Of the ended ones, those whose last points another recorder may not have come to merge.
            found = connection.execute(
                text(f"SELECT id FROM run WHERE status IN {run.ACTIVE} OR ended_at > :since"),
                {"since": self.clock() - LEFT_OVER_SECONDS},
            )
            self._unmerged |= set(found.scalars())

    def step(self, block_milliseconds: int = 0) -> int:
        """Apply what has come in, and once in a while look after leases and the queue; returns the entries applied."""
        entries = self._read(block_milliseconds)
        if entries:
            self.apply(entries)
        now = self.clock()
        if now >= self._next_tick:
            self._next_tick = now + TICK_SECONDS
            self.reconcile()
        if self._to_merge:
            self._merge(self._to_merge.pop())
        return len(entries)

    def _read(self, block_milliseconds: int) -> list[Entry]:
        # What was delivered but never acknowledged comes first: it was read by a recorder that died before its commit.
        start = "0" if self._backlog else ">"
        try:
            found: Any = self.redis.xreadgroup(
                broker.GROUP, "recorder", {broker.EVENTS: start}, count=BATCH, block=block_milliseconds or None
            )
        except ResponseError as error:
            if "NOGROUP" in str(error):
                raise RedisConnectionError("the stream is gone: Redis was emptied") from error
            raise
        entries: list[Entry] = _first_stream(found)
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
            self._find_heads(connection, batch, entries)
            for entry_id, fields in entries:
                try:
                    self._apply_one(connection, batch, fields, server_now - _milliseconds(entry_id) / 1000)
                except (ValidationError, ValueError, KeyError) as error:
                    self._put_aside(fields, entry_id.decode(), error)
            self._write_points(connection, batch, list(batch.points))
            self._write_heads(connection, batch)
        self._announce(batch, [entry_id for entry_id, _ in entries])

    def _server_now(self, entries: list[Entry]) -> float:
        """Redis' time, by which the age of what supervisors say is told; 0 where none of them says anything."""
        if all(b"r" in fields for _, fields in entries):
            return 0.0
        seconds, microseconds = self.redis.time()
        newest = max(_milliseconds(entry_id) for entry_id, _ in entries) / 1000
        return max(newest, float(seconds) + float(microseconds) / 1e6)

    def _apply_one(self, connection: Connection, batch: _Batch, fields: dict[bytes, bytes], age: float) -> None:
        if not fields:  # acknowledged and removed, but delivered once more
            return
        kind = fields[b"k"].decode()
        if b"r" in fields:
            self._apply_report(connection, batch, kind, fields)
            return
        said = SUPERVISOR_EVENTS[kind].model_validate_json(fields[b"b"])
        match said:
            case Claim():
                if age <= broker.REPLY_SECONDS - 5:
                    self._grant(connection, batch, said)
            case Heartbeat():
                if age <= self.settings.lease_seconds:
                    self._hear(connection, batch, said)
            case Ended():
                self._settle_points(connection, batch, said.run)
                if lease.end(connection, said.run, said.fence, said.outcome, said.reason, batch.commit, batch.now):
                    batch.note(said.run, "status")
                # The supervisor repeats this until it hears that it was committed.
                batch.committed[broker.committed_field(said.run, said.fence) + ":ended"] = 1
            case Goodbye():
                worker.forget(connection, said.worker)
                batch.workers_changed = True

    def _apply_report(self, connection: Connection, batch: _Batch, kind: str, fields: dict[bytes, bytes]) -> None:
        run_id, fence, sequence = fields[b"r"].decode(), int(fields[b"f"]), int(fields[b"s"])
        head = self._head(connection, batch, run_id)
        if head is None or head[0] != fence:
            # An older attempt, or a run that was purged: say that all of it is settled, so that its spool is cut.
            batch.committed[broker.committed_field(run_id, fence)] = 2**53
            return
        applied, attempt = head[1], head[2]
        batch.committed[broker.committed_field(run_id, fence)] = applied
        if sequence != applied + 1:
            return
        try:
            if kind == "metrics":
                self._gather(batch, run_id, fields[b"b"])
            else:
                self._apply_said(connection, batch, run_id, fence, attempt, kind, fields[b"b"])
        except (ValidationError, ValueError, KeyError) as error:
            # What follows it is not held up: the trainer would send this one again for ever.
            self._put_aside(fields, f"{run_id} #{sequence}", error)
        batch.heads[run_id] = (fence, sequence, attempt)
        batch.committed[broker.committed_field(run_id, fence)] = sequence

    def _gather(self, batch: _Batch, run_id: str, body: bytes) -> None:
        base_time, series = unpack_points(body)
        offsets = np.frombuffer(b"".join(points.offsets for points in series), "<f4")
        if not np.isfinite(base_time) or not np.isfinite(offsets).all():
            raise ValueError("the times of metric points must be finite")
        for points in series:
            batch.points.setdefault((run_id, points.name), []).append((base_time, points))
        batch.note(run_id, "metrics")
        self._unmerged.add(run_id)

    def _put_aside(self, fields: dict[bytes, bytes], which: str, error: Exception) -> None:
        logger.error("entry %s cannot be read and is put aside in %s: %s", which, broker.DEAD, error)
        self.redis.xadd(broker.DEAD, dict(fields), maxlen=1000)  # type: ignore[arg-type]

    def _find_heads(self, connection: Connection, batch: _Batch, entries: list[Entry]) -> None:
        """How far the runs are that these entries are about."""
        runs = {fields[b"r"].decode(errors="replace") for _, fields in entries if b"r" in fields}
        for row in connection.execute(_HEADS, {"runs": sorted(runs)}) if runs else ():
            batch.heads[row.id] = (row.fence, row.applied, row.attempt)

    def _head(self, connection: Connection, batch: _Batch, run_id: str) -> tuple[int, int, int] | None:
        if run_id not in batch.heads:  # granted anew in this batch, or gone
            row = connection.execute(_HEADS, {"runs": [run_id]}).one_or_none()
            if row is None:
                return None
            batch.heads[run_id] = (row.fence, row.applied, row.attempt)
        return batch.heads[run_id]

    def _apply_said(
        self, connection: Connection, batch: _Batch, run_id: str, fence: int, attempt: int, kind: str, body: bytes
    ) -> None:
        said = TRAINER_EVENTS[kind].model_validate_json(body)
        at = {"run": run_id, "commit": batch.commit}
        match said:
            case Started():
                self._settle_points(connection, batch, run_id)
                tested = lineage.forget_tests(connection, run_id)
                if metric.cut_after(connection, run_id, said.step, batch.commit) or tested:
                    connection.execute(text("UPDATE run SET reset_commit = :commit WHERE id = :run"), at)
                lease.begin(connection, run_id, fence, said, batch.commit, batch.now)
                if attempt > 1:
                    words = f"attempt {attempt} goes on from step {said.step:,}" if said.step else f"attempt {attempt}"
                    live_change.cut(connection, run_id, said.step)
                    live_change.mark(connection, run_id, "restart", said.step, words, batch.commit, batch.now)
                lineage.save_capture(connection, run_id, said.capture)
                if said.batch_size:
                    lineage.set_batch_size(connection, run_id, said.batch_size)
                batch.note(run_id, "status")
            case Progress():
                connection.execute(_SET_PROGRESS, at | {"progress": said.model_dump_json()})
                batch.note(run_id, "progress")
            case Log():
                log.add_lines(connection, run_id, attempt, said.lines, batch.commit)
                batch.note(run_id, "log")
                for line in said.lines:
                    if line.level == "warning":
                        live_change.warn(connection, run_id, line.text, batch.commit, line.time)
            case Changed():
                if live_change.settle(connection, run_id, said, batch.commit, batch.now):
                    batch.note(run_id, "mark")
            case Checkpoint() if said.kept:
                lineage.keep(connection, run_id, said)
                words = (
                    f"checkpoint kept in epoch {said.epoch + 1}" if said.within else f"checkpoint of epoch {said.epoch}"
                )
                live_change.mark(connection, run_id, "checkpoint", said.step, words, batch.commit, batch.now)
                batch.note(run_id, "mark")
            case Checkpoint():
                if said.best:
                    words = f"best so far, epoch {said.epoch}"
                    live_change.mark(connection, run_id, "best", said.step, words, batch.commit, batch.now)
                    batch.note(run_id, "mark")
                column = "best_checkpoint" if said.best else "checkpoint"
                connection.execute(
                    text(f"UPDATE run SET {column} = :checkpoint WHERE id = :run"),
                    {"run": run_id, "checkpoint": said.model_dump_json()},
                )
            case Finishing():
                if run.transition(connection, run_id, "finishing", batch.commit, fence=fence):
                    batch.note(run_id, "status")
            case Result():
                self._settle_points(connection, batch, run_id)
                ended = lease.end(connection, run_id, fence, said.outcome, said.reason, batch.commit, batch.now)
                if ended and said.outcome == "cancelled":
                    live_change.stopped(connection, run_id, batch.commit, batch.now)
                batch.note(run_id, "status")

    def _settle_points(self, connection: Connection, batch: _Batch, run_id: str) -> None:
        """Write the points of a run before something that looks at them."""
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
        granted = lease.claim_next(connection, claim.claim, claim.worker, claim.slot, claim.device, batch.commit, until)
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
            resume=granted.resume,
            changes=live_change.to_train(connection, granted.run),
        )
        batch.replies.append((claim.reply, grant))

    def _hear(self, connection: Connection, batch: _Batch, beat: Heartbeat) -> None:
        asleep, since = worker.time_asleep(connection, beat)
        if worker.hear(connection, beat, batch.now):
            batch.workers_changed = True
        cancel: list[Holding] = []
        drop: list[Holding] = []
        for holding in beat.runs:
            status = lease.renew(connection, holding.run, holding.fence, batch.now + self.settings.lease_seconds)
            if status is None:
                drop.append(holding)
            elif status == "cancelling":
                cancel.append(holding)
            if status is not None and asleep >= SHORTEST_SLEEP_SECONDS:
                training_time.leave_out(connection, holding.run, since, asleep, batch.commit)
                batch.note(holding.run, "status")
        lost = {each.run for each in drop}
        asked = live_change.waiting(connection, [each.run for each in beat.runs if each.run not in lost])
        batch.renewals[beat.worker] = Renewal(beat=beat.beat, cancel=cancel, drop=drop, asked=asked)

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
        signals.publish_commit(pipe, batch.commit, batch.changed, batch.workers_changed)
        for start in range(0, len(entry_ids), 500):
            ids = entry_ids[start : start + 500]
            pipe.xack(broker.EVENTS, broker.GROUP, *ids)
            pipe.xdel(broker.EVENTS, *ids)
        pipe.execute()

    # Looking after leases and the queue ------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Find lost runs, wake workers for queued ones, merge old chunks, empty the trash."""
        now = self.clock()
        with reading(self.engine) as connection:
            overdue = lease.anything_overdue(connection, now) or worker.any_silent(connection, self._silent(now))
            wanted = self._wakes_wanted(connection, now)
        if overdue:
            self._settle(now)
        if wanted:
            signals.wake_workers(self.redis, self.celery, wanted)
        if now >= self._next_merge:
            self._next_merge = now + MERGE_SECONDS
            # One a step, so that nobody's points wait for all of them.
            self._to_merge = sorted(self._unmerged)
        if now >= self._next_purge:
            self._next_purge = now + PURGE_SECONDS
            self._purge(now)

    def _silent(self, now: float) -> float:
        return now - self.settings.lease_seconds

    def _settle(self, now: float) -> None:
        changed: dict[str, set[str]] = {}
        with writing(self.engine) as connection:
            commit = next_commit(connection)
            for run_id in lease.expire_leases(connection, commit, now):
                logger.warning("%s is lost: its lease ran out", run_id)
                changed[run_id] = {"status"}
            for run_id in lease.settle_lost(connection, commit, now, self.settings.max_attempts):
                changed[run_id] = {"status"}
            for run_id in tracked_run.end_silent(connection, commit, now):
                changed[run_id] = {"status"}
            gone = worker.forget_silent(connection, self._silent(now))
        signals.publish_commit(self.redis, commit, changed, bool(gone))

    def _wakes_wanted(self, connection: Connection, now: float) -> int:
        """How many claims could be granted now."""
        return queue.claimable(connection, lambda: worker.list_workers(connection, now, self.settings.lease_seconds))

    def _merge(self, run_id: str) -> None:
        with writing(self.engine) as connection:
            commit = connection.execute(text("SELECT value FROM commit_counter")).scalar_one()
            status = connection.execute(text("SELECT status FROM run WHERE id = :run"), {"run": run_id}).scalar()
            ended = status is None or status in run.TERMINAL
            merged = metric.merge_chunks(connection, run_id, commit, ended)
        if ended and not merged:
            self._unmerged.discard(run_id)

    def _purge(self, now: float) -> None:
        with writing(self.engine) as connection:
            purged = trash.purge_runs(connection, now - self.settings.trash_days * 86400)
        for run_id in purged:
            artifacts.remove(self.settings, run_id)


def _curve(parts: list[tuple[float, Points]]) -> metric.Curve:
    """What several entries say of one metric, by each entry's base time."""
    return metric.Curve(
        np.frombuffer(b"".join(points.steps for _, points in parts), "<u4"),
        np.frombuffer(b"".join(points.values for _, points in parts), "<f8"),
        np.concatenate([np.frombuffer(points.offsets, "<f4").astype("<f8") + base for base, points in parts]),
    )


def _first_stream(found: Any) -> list[Entry]:
    if not found:
        return []
    streams: Iterable[Any] = found.values() if isinstance(found, dict) else (part[1] for part in found)
    entries: list[Entry] = []
    for stream in streams:
        for part in stream:
            # RESP3 wraps the entries of a stream in one more list.
            entries += part if part and isinstance(part[0], list | tuple) else [part]
    return [(entry_id, fields or {}) for entry_id, fields in entries]


def _milliseconds(entry_id: bytes) -> int:
    return int(entry_id.split(b"-")[0])
