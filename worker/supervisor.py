"""Claims runs and trains them: one trainer process per slot, with heartbeats, stop requests and shutdown.

A run that executes a command has a process beside the command instead of a trainer; everything else is the same.

The supervisor lives in the worker process, which never imports torch: trainers are forked from a warm server that has
everything imported and has computed nothing, so a start takes a fraction of a second and a GPU is never shared with a
parent.
"""

from __future__ import annotations

import json
import logging
import math
import multiprocessing
import multiprocessing.connection
import os
import queue
import secrets
import signal
import socket
import threading
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from _runyard import __version__
from app.contract import broker
from app.contract.command_key import key_id
from app.contract.disk_space import DiskSpace, is_disk_full, measure
from app.contract.events import (
    Claim,
    DeviceInfo,
    Ended,
    Goodbye,
    Grant,
    Heartbeat,
    Outcome,
    OwnedRun,
    PendingChanges,
    Renewal,
)
from app.contract.logs import concerning, set_process_concern
from app.contract.protocol import PROTOCOL, Speaker, skew
from app.contract.settings import Settings
from worker.active_run import ActiveRun, exit_reason, out_of_memory_reason, stopped_outcome
from worker.dataset_importer import DatasetImporter
from worker.idle_slots import IdleSlots
from worker.job import (
    CANCEL,
    DISK_FULL_EXIT,
    INTERRUPT,
    NUMBERS,
    PRELOAD,
    CommandJob,
    Control,
    Job,
    command_job,
    execute,
    probe_device,
    train,
    training_job,
)
from worker.memory import out_of_memory_kills
from worker.process import kill_group, kill_orphan, prepare
from worker.reporting.sender import Sender
from worker.reporting.spool import Spool, leftovers
from worker.suspension import asleep_seconds

logger = logging.getLogger("runyard.worker")

POLL_SECONDS = 0.2
BEAT_SECONDS = 2.0
CLAIM_SECONDS = 10
# How long a stopping worker waits for a recorder that commits nothing.
SHUTDOWN_SECONDS = 10.0
# How much longer than a trainer the process beside a command may take to stop.
COMMAND_SECONDS = 3.0


class Supervisor:
    """Everything one worker process does besides Celery."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.id = f"{socket.gethostname()}-{secrets.token_hex(3)}"
        set_process_concern(worker=self.id)
        self.redis = self._client()
        self.device: DeviceInfo
        self.versions: dict[str, str] = {}
        # For commands, without what tunes trainers.
        self._environment = dict(os.environ)
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._active: dict[tuple[str, int], ActiveRun] = {}
        self._lock = threading.Lock()
        self._slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._stopped_at = math.inf
        self._gone = threading.Event()
        self._beating = threading.Thread(target=self._send_heartbeats, name="send_heartbeats", daemon=True)
        self._beats = 0
        self._disk: DiskSpace | None = None
        self._refused = ""
        self._renewed_at = time.monotonic()
        self._idle = IdleSlots(self._slots.qsize, self.work)

    def _client(self) -> Redis:
        return Redis.from_url(self.settings.redis, socket_timeout=30, socket_connect_timeout=2)

    # The worker's life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Warm up the fork server, probe the device, and start the background threads."""
        self._context.set_forkserver_preload([PRELOAD])
        # Inherited by the fork server, which starts now, and so by every trainer.
        prepare(os.environ)
        self.device, versions = probe_device(self._context, self.settings.device)
        self.versions = {"runyard": __version__} | versions
        for slot in range(self.settings.slots):
            self._slots.put(slot)
        importer = DatasetImporter(self.settings.datasets, self._stopping)
        threading.Thread(target=importer.run, name="dataset_importer", daemon=True).start()
        self._beating.start()
        for task in (self._listen_for_control, self._recover_spools):
            threading.Thread(target=task, name=task.__name__.strip("_"), daemon=True).start()

    def stop(self) -> None:
        """Interrupt all runs, which return to the queue with a checkpoint; does not wait for them."""
        if not self._stopping.is_set():
            self._stopped_at = time.monotonic()
        self._stopping.set()
        self._interrupt_all()

    def leave(self) -> None:
        """Tell the server that this worker is gone; call it when Celery has no run left."""
        self._idle.join()
        self._gone.set()
        # A heartbeat after the goodbye would bring the worker back for the length of a lease.
        self._beating.join(BEAT_SECONDS)
        try:
            self._send(self.redis, "goodbye", Goodbye(worker=self.id))
        except (RedisError, OSError) as error:
            logger.info("could not tell the server that this worker stopped (%s)", error)

    # Threads ----------------------------------------------------------------------------------------------------------

    def _send_heartbeats(self) -> None:
        redis = Redis.from_url(self.settings.redis, socket_timeout=BEAT_SECONDS, socket_connect_timeout=BEAT_SECONDS)
        while not self._gone.is_set():
            try:
                self._send(redis, "heartbeat", self._heartbeat())
                renewal, disk_full = redis.mget(broker.renewal_key(self.id), broker.DISK_FULL)
                if disk_full is not None:
                    # The recorder lives, but can neither renew a lease nor grant the run to another worker.
                    self._renewed_at = time.monotonic()
                self._apply_renewal(renewal)
                self._idle.look(redis)
            except (RedisError, OSError) as error:
                self._note_failed_heartbeat(error)
            if time.monotonic() - self._renewed_at > self.settings.orphan_seconds:
                self._interrupt_all()
            self._gone.wait(self.settings.heartbeat_seconds)

    def _note_failed_heartbeat(self, error: Exception) -> None:
        if is_disk_full(error):
            # Redis lives, but takes nothing, so the recorder learns nothing: no lease is renewed, and none expires.
            self._renewed_at = time.monotonic()
        logger.warning("Redis does not respond (%s); training continues", error)

    def _heartbeat(self) -> Heartbeat:
        self._beats += 1
        self._disk = measure(self.settings, self._disk.state if self._disk else "ok")
        with self._lock:
            runs = [OwnedRun(run=run.run, fence=run.fence) for run in self._active.values()]
            waiting = [run.run for run in self._active.values() if run.control.waiting]
        return Heartbeat(
            worker=self.id,
            beat=self._beats,
            host=socket.gethostname(),
            pid=os.getpid(),
            slots=self.settings.slots,
            device=self.device,
            versions=self.versions,
            runs=runs,
            asleep_seconds=asleep_seconds(),
            disk=self._disk,
            waiting=waiting,
            time=time.time(),
            **self._identity(),
        )

    def _identity(self) -> dict[str, Any]:
        """What decides which runs this worker gets. The key of commands is created with the first one."""
        return {"protocol": PROTOCOL, "command_key": key_id(self.settings.data_dir)}

    def _apply_renewal(self, message: Any) -> None:
        if message is None:
            return
        renewal = Renewal.model_validate_json(message)
        refused = skew(Speaker(renewal.version, renewal.protocol), Speaker(__version__))
        if refused != self._refused and refused:
            logger.error("%s", refused)
        self._refused = refused
        if self._beats - renewal.beat <= self.settings.lease_seconds / self.settings.heartbeat_seconds:
            self._renewed_at = time.monotonic()
        with self._lock:
            for holding in renewal.cancel:
                if run := self._active.get((holding.run, holding.fence)):
                    run.command(CANCEL)
            for holding in renewal.drop:
                if run := self._active.get((holding.run, holding.fence)):
                    run.dropped = True
        for requested in renewal.asked:
            self._deliver(requested)

    def _interrupt_all(self) -> None:
        with self._lock:
            for run in self._active.values():
                run.command(INTERRUPT)

    def _listen_for_control(self) -> None:
        """Receive stop requests and changes at once; the next heartbeat would bring them too."""
        while not self._gone.is_set():
            redis = self._client()
            try:
                with redis.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]
                    subscription.subscribe(broker.CONTROL)
                    while not self._gone.is_set():
                        message = subscription.get_message(timeout=1.0)
                        if message is not None:
                            self._handle_control(json.loads(message["data"]))
            except (RedisError, OSError):
                self._gone.wait(0.5)
            finally:
                redis.close()

    def _handle_control(self, message: dict[str, Any]) -> None:
        if "cancel" in message:
            self._cancel(message["cancel"])
        if "asked" in message:
            self._deliver(PendingChanges.model_validate(message["asked"]))

    def _cancel(self, run_id: str) -> None:
        with self._lock:
            for run in self._active.values():
                if run.run == run_id:
                    run.command(CANCEL)

    def _deliver(self, requested: PendingChanges) -> None:
        with self._lock:
            for run in self._active.values():
                if run.run == requested.run and not run.dropped:
                    run.deliver(requested)

    def _recover_spools(self) -> None:
        """Send what trainers of an earlier worker could not send before they died."""
        redis = self._client()
        for run, fence in leftovers(self.settings.spool):
            try:
                self._drain(redis, Spool(self.settings.spool, run, fence))
            except BlockingIOError:  # its trainer is still running
                continue
            except (RedisError, OSError) as error:
                logger.warning("could not send unsent reports of %s (%s); the next start retries", run, error)
        redis.close()

    # One slot ---------------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Train one run after another in a free slot until no run is queued; returns at once if no slot is free."""
        if self._refused:
            return
        try:
            slot = self._slots.get_nowait()
        except queue.Empty:
            return
        redis = self._client()
        try:
            while not self._stopping.is_set():
                grant = self._claim(redis, slot)
                if grant is None or (grant.config is None and grant.command is None):
                    return
                with concerning(run=grant.run):
                    self._train(redis, slot, grant)
        except (RedisError, OSError) as error:
            logger.warning("slot %d: Redis does not respond (%s); retrying at the next wake-up", slot, error)
        finally:
            redis.close()
            self._slots.put(slot)

    def _claim(self, redis: Redis, slot: int) -> Grant | None:
        claim = secrets.token_hex(8)
        reply = f"runyard:reply:{claim}"
        request = Claim(claim=claim, worker=self.id, slot=slot, device=self.device, reply=reply, **self._identity())
        self._send(redis, "claim", request)
        response: Any = redis.blpop([reply], timeout=CLAIM_SECONDS)
        if response is None:
            return None
        grant = Grant.model_validate_json(response[1])
        return grant if grant.run else None

    def _train(self, redis: Redis, slot: int, grant: Grant) -> None:
        shared = self._context.RawArray("q", NUMBERS)
        changes, inbox = self._context.Pipe(duplex=False)
        delivered = {change.id for change in grant.changes}
        executes = grant.command is not None
        run = ActiveRun(grant.run, grant.fence, slot, Control(shared), inbox, delivered, executes)
        with self._lock:
            self._active[(run.run, run.fence)] = run
        if self._stopping.is_set():
            run.command(INTERRUPT)
        target = execute if executes else train
        if executes:
            job: Job | CommandJob = command_job(grant, self.settings, self.device, self._environment)
        else:
            job = training_job(grant, self.settings, self.device)
        process = self._context.Process(target=target, args=(job, shared, changes), name=grant.run, daemon=True)
        logger.info("starting %s in slot %d (attempt %d)", grant.run, slot, grant.attempt)
        kills = out_of_memory_kills()
        try:
            process.start()
            changes.close()
            self._watch(process, run)
            if executes and (process.exitcode or 0) < 0 and not run.control.child:
                kill_orphan(run.run, grant.attempt)
            if process.exitcode == -signal.SIGKILL and not run.kill_reason:
                run.out_of_memory = out_of_memory_kills() > kills
                # Whoever killed it, it was not the run's fault: it resumes from its checkpoint, but not endlessly.
                run.outcome = "failed" if run.out_of_memory else "killed"
            self._report_end(redis, run, process.exitcode, grant.config.batch_size if grant.config else None)
        finally:
            with self._lock:
                self._active.pop((run.run, run.fence), None)
                inbox.close()

    def _watch(self, process: ForkServerProcess, run: ActiveRun) -> None:
        """Wait until the trainer ends; kill it when it stalls, ignores a stop, or lost its lease."""
        # The process beside a command kills the command itself, and then reports how it ended.
        patience = self.settings.cancel_seconds + (COMMAND_SECONDS if run.executes else 0.0)
        while not multiprocessing.connection.wait([process.sentinel], timeout=POLL_SECONDS):
            now = time.monotonic()
            pulse = run.control.pulse
            if pulse != run.pulse:
                run.pulse, run.pulse_at = pulse, now
            if run.dropped:
                self._kill(process, run, "another attempt now owns this run", "failed")
            elif run.commanded_at is not None and now - run.commanded_at > patience:
                outcome: Outcome = "cancelled" if run.control.command == CANCEL else "interrupted"
                seconds = self.settings.cancel_seconds
                self._kill(process, run, f"killed because it did not stop within {seconds:.0f} s", outcome)
            elif now - run.pulse_at > self.settings.stall_seconds:
                seconds = self.settings.stall_seconds
                reason = f"killed because it completed no training step for {seconds:.0f} s (RUNYARD_STALL_SECONDS)"
                self._kill(process, run, reason, "failed")
        process.join()
        self._kill_command(run)

    def _kill_command(self, run: ActiveRun) -> None:
        """Kill what a command left running; nothing does if the process beside it could do that itself."""
        if run.executes and run.control.child:
            kill_group(run.control.child, signal.SIGKILL)

    def _kill(self, process: ForkServerProcess, run: ActiveRun, reason: str, outcome: Outcome) -> None:
        if not run.kill_reason:
            logger.warning("%s: %s", run.run, reason)
            run.kill_reason, run.outcome = reason, outcome
        self._kill_command(run)
        if process.pid is not None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                process.kill()  # it has not created its own process group yet

    def _report_end(self, redis: Redis, run: ActiveRun, exitcode: int | None, batch_size: int | None) -> None:
        """Send what the trainer left in its spool, and its end if it could not report that itself."""
        try:
            spool: Spool | None = Spool(self.settings.spool, run.run, run.fence)
        except OSError as error:
            if not is_disk_full(error):
                raise
            spool = None  # the trainer had no room for one either
        if (spool is not None and not self._drain(redis, spool)) or run.dropped:
            return
        if exitcode == 0 and not run.kill_reason:
            logger.info("%s ended", run.run)
            return
        process = "the process that watches the command" if run.executes else "the trainer"
        reason = run.kill_reason or exit_reason(exitcode, process, self._full_folder())
        if exitcode == DISK_FULL_EXIT:
            run.outcome = stopped_outcome(run.control.command)
        if run.out_of_memory:
            reason = out_of_memory_reason(batch_size)
        ended = Ended(run=run.run, fence=run.fence, outcome=run.outcome, reason=reason)
        logger.warning("%s: %s", run.run, reason)
        field = broker.committed_field(run.run, run.fence) + ":ended"
        began = time.monotonic()
        down = False
        while self._may_wait(began, down):
            try:
                self._send(redis, "ended", ended)
                if self._confirmed(redis, field):
                    redis.hdel(broker.COMMITTED, field)
                    return
                down = False
            except (RedisError, OSError):
                down = True
                self._gone.wait(0.5)
        logger.warning("could not report the end of %s; it resumes once its lease has expired", run.run)

    def _full_folder(self) -> str:
        """The folder that has no room left; empty if there is room."""
        disk = measure(self.settings)
        return disk.folder if disk is not None and disk.state == "full" else ""

    def _confirmed(self, redis: Redis, field: str) -> bool:
        for _ in range(20):
            if redis.hget(broker.COMMITTED, field):
                return True
            self._gone.wait(0.1)
        return False

    def _drain(self, redis: Redis, spool: Spool) -> bool:
        """Send a spool until all of it is committed, then remove it; False if the worker ends first.

        The next worker sends whatever remains.
        """
        sender = Sender(redis, spool)
        sender.recover()
        began = time.monotonic()
        while not sender.push():
            if not self._may_wait(began, sender.down):
                logger.warning("unsent reports of %s stay on disk until the next start", spool.run)
                spool.close()
                return False
            self._gone.wait(0.05)
        spool.remove()
        redis.hdel(broker.COMMITTED, broker.committed_field(spool.run, spool.fence))
        return True

    def _may_wait(self, began: float, down: bool) -> bool:
        """Whether to keep waiting for a commit: a stopping worker does not wait for a Redis that is gone."""
        if not self._stopping.is_set():
            return True
        return not (self._gone.is_set() or down or time.monotonic() - max(began, self._stopped_at) > SHUTDOWN_SECONDS)

    def _send(self, redis: Redis, kind: str, message: Any) -> None:
        redis.xadd(broker.EVENTS, {"k": kind, "b": message.model_dump_json()})
