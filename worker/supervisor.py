"""The supervisor: claims runs, owns one trainer process a slot, keeps its lease, and ends it when it must end.

It lives in the worker process, which never imports torch: trainers are forked from a warm server that has everything
imported and has computed nothing, so a start takes a fraction of a second and a GPU is never shared with a parent.
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
import sys
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from app.contract import broker
from app.contract.events import (
    Asked,
    Claim,
    DeviceFacts,
    Ended,
    Goodbye,
    Grant,
    Heartbeat,
    Holding,
    Outcome,
    Renewal,
)
from app.contract.settings import Settings
from app.contract.spec import RunConfig
from worker.job import CANCEL, INTERRUPT, TRAINER, Control, Job, probe, train
from worker.memory import out_of_memory_kills
from worker.process import prepare
from worker.reporting.sender import Sender
from worker.reporting.spool import Spool, leftovers
from worker.suspension import asleep_seconds

logger = logging.getLogger("runyard.worker")

LOOK_SECONDS = 0.2
CLAIM_SECONDS = 10
# Longer, a worker that stops does not wait for a recorder that commits nothing.
LAST_SECONDS = 10.0


@dataclass(eq=False)
class Held:
    """A run that a slot trains, and what is to happen to it; ``told``: the changes that its trainer knows of."""

    run: str
    fence: int
    slot: int
    control: Control
    inbox: Connection
    told: set[int] = field(default_factory=set)
    dropped: bool = False
    commanded_at: float | None = None
    killed_because: str = ""
    outcome: Outcome = "failed"
    out_of_memory: bool = False
    pulse: int = 0
    pulse_at: float = field(default_factory=time.monotonic)

    def command(self, what: int) -> None:
        """Tell the trainer to stop; the first command stands."""
        if self.control.order(what):
            self.commanded_at = time.monotonic()

    def ask(self, asked: Asked) -> None:
        """Hand changes to the trainer, each once and in their order.

        The pipe holds all that can wait of a run, so that nobody waits for a trainer that does not read.
        """
        for change in asked.changes:
            if change.id in self.told:
                continue
            try:
                self.inbox.send_bytes(change.model_dump_json().encode())
            except OSError as error:
                logger.info("%s: a change comes too late for this attempt (%s)", self.run, error)
                return
            self.told.add(change.id)


class Supervisor:
    """All that one worker process does besides Celery."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.id = f"{socket.gethostname()}-{secrets.token_hex(3)}"
        self.redis = self._client()
        self.device: DeviceFacts
        self.versions: dict[str, str] = {}
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._held: dict[tuple[str, int], Held] = {}
        self._lock = threading.Lock()
        self._slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._stops_at = math.inf
        self._gone = threading.Event()
        self._beat = 0
        self._renewed_at = time.monotonic()

    def _client(self) -> Redis:
        return Redis.from_url(self.settings.redis, socket_timeout=30, socket_connect_timeout=2)

    # The worker's life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Warm the fork server, look at the device, and say that this worker is there."""
        self._context.set_forkserver_preload([TRAINER])
        # The fork server, which starts now, and with it every trainer inherits this.
        prepare(os.environ)
        self.device, self.versions = self._probe()
        for slot in range(self.settings.slots):
            self._slots.put(slot)
        for task in (self._heartbeats, self._nudges, self._recover_spools):
            threading.Thread(target=task, name=task.__name__.strip("_"), daemon=True).start()

    def _probe(self) -> tuple[DeviceFacts, dict[str, str]]:
        here, there = self._context.Pipe()
        process = self._context.Process(target=probe, args=(there, self.settings.device), daemon=True)
        process.start()
        there.close()
        try:
            facts = here.recv()
        except EOFError as error:
            process.join()
            raise RuntimeError(f"torch cannot be used here: the probe ended with {process.exitcode}") from error
        process.join()
        versions: dict[str, str] = facts.pop("versions")
        if self.settings.device.startswith("cuda") and facts["kind"] != "cuda":
            which = "no such GPU" if ":" in self.settings.device else "no GPU"
            raise RuntimeError(f"RUNYARD_DEVICE is {self.settings.device}, but torch finds {which} here")
        if self.settings.device == "cpu":
            facts |= {"kind": "cpu", "name": "cpu", "index": 0}
        return DeviceFacts(cores=len(os.sched_getaffinity(0)), **facts), versions

    def stop(self) -> None:
        """Interrupt every run; they go back to the queue with a checkpoint. Returns at once."""
        if not self._stopping.is_set():
            self._stops_at = time.monotonic()
        self._stopping.set()
        with self._lock:
            for held in self._held.values():
                held.command(INTERRUPT)

    def leave(self) -> None:
        """Say goodbye, when nothing is held any more."""
        self._gone.set()
        try:
            self._send(self.redis, "goodbye", Goodbye(worker=self.id))
        except (RedisError, OSError) as error:
            logger.info("left without a goodbye: %s", error)

    # Threads ----------------------------------------------------------------------------------------------------------

    def _heartbeats(self) -> None:
        redis = Redis.from_url(self.settings.redis, socket_timeout=2, socket_connect_timeout=2)
        while not self._gone.is_set():
            try:
                self._send(redis, "heartbeat", self._heartbeat())
                self._obey(redis.get(broker.renewal_key(self.id)))
            except (RedisError, OSError) as error:
                logger.warning("Redis does not answer (%s); training goes on", error)
            if time.monotonic() - self._renewed_at > self.settings.orphan_seconds:
                self._end_orphans()
            self._gone.wait(self.settings.heartbeat_seconds)

    def _heartbeat(self) -> Heartbeat:
        self._beat += 1
        with self._lock:
            runs = [Holding(run=held.run, fence=held.fence) for held in self._held.values()]
        return Heartbeat(
            worker=self.id,
            beat=self._beat,
            host=socket.gethostname(),
            pid=os.getpid(),
            slots=self.settings.slots,
            device=self.device,
            versions=self.versions,
            runs=runs,
            asleep_seconds=asleep_seconds(),
        )

    def _obey(self, answer: Any) -> None:
        if answer is None:
            return
        renewal = Renewal.model_validate_json(answer)
        if self._beat - renewal.beat <= self.settings.lease_seconds / self.settings.heartbeat_seconds:
            self._renewed_at = time.monotonic()
        with self._lock:
            for holding in renewal.cancel:
                if held := self._held.get((holding.run, holding.fence)):
                    held.command(CANCEL)
            for holding in renewal.drop:
                if held := self._held.get((holding.run, holding.fence)):
                    held.dropped = True
        for asked in renewal.asked:
            self._ask(asked)

    def _end_orphans(self) -> None:
        with self._lock:
            for held in self._held.values():
                held.command(INTERRUPT)

    def _nudges(self) -> None:
        """Hear at once of a stop or a change; the next heartbeat would tell of it too."""
        while not self._gone.is_set():
            redis = self._client()
            try:
                with redis.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]
                    subscription.subscribe(broker.CONTROL)
                    while not self._gone.is_set():
                        message = subscription.get_message(timeout=1.0)
                        if message is not None:
                            self._heed(json.loads(message["data"]))
            except (RedisError, OSError):
                self._gone.wait(0.5)
            finally:
                redis.close()

    def _heed(self, said: dict[str, Any]) -> None:
        if "cancel" in said:
            self._cancel(said["cancel"])
        if "asked" in said:
            self._ask(Asked.model_validate(said["asked"]))

    def _cancel(self, run: str) -> None:
        with self._lock:
            for held in self._held.values():
                if held.run == run:
                    held.command(CANCEL)

    def _ask(self, asked: Asked) -> None:
        with self._lock:
            for held in self._held.values():
                if held.run == asked.run and not held.dropped:
                    held.ask(asked)

    def _recover_spools(self) -> None:
        """Bring what an earlier worker's trainers could not send before they died."""
        redis = self._client()
        for run, fence in leftovers(self.settings.spool):
            try:
                self._drain(redis, Spool(self.settings.spool, run, fence))
            except BlockingIOError:  # its trainer lives
                continue
            except (RedisError, OSError) as error:
                logger.warning("what %s reported cannot be brought yet (%s)", run, error)
        redis.close()

    # One slot ---------------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Take a free slot and train one run after another until there is none; returns at once without a free slot."""
        try:
            slot = self._slots.get_nowait()
        except queue.Empty:
            return
        redis = self._client()
        try:
            while not self._stopping.is_set():
                grant = self._claim(redis, slot)
                if grant is None or grant.config is None:
                    return
                self._train(redis, slot, grant, grant.config)
        except (RedisError, OSError) as error:
            logger.warning("slot %d: Redis does not answer (%s); the next wake-up tries again", slot, error)
        finally:
            redis.close()
            self._slots.put(slot)

    def _claim(self, redis: Redis, slot: int) -> Grant | None:
        claim = secrets.token_hex(8)
        reply = f"runyard:reply:{claim}"
        asked = Claim(claim=claim, worker=self.id, slot=slot, device=self.device, reply=reply)
        self._send(redis, "claim", asked)
        answer: Any = redis.blpop([reply], timeout=CLAIM_SECONDS)
        if answer is None:
            return None
        grant = Grant.model_validate_json(answer[1])
        return grant if grant.run else None

    def _train(self, redis: Redis, slot: int, grant: Grant, config: RunConfig) -> None:
        shared = self._context.RawArray("q", 2)
        asked, inbox = self._context.Pipe(duplex=False)
        held = Held(grant.run, grant.fence, slot, Control(shared), inbox, told={change.id for change in grant.changes})
        with self._lock:
            self._held[(held.run, held.fence)] = held
        if self._stopping.is_set():
            held.command(INTERRUPT)
        threads = max(1, self.device.cores // self.settings.slots)
        job = Job(
            run=grant.run,
            fence=grant.fence,
            attempt=grant.attempt,
            config=config,
            resume=grant.resume,
            settings=self.settings,
            device=f"cuda:{self.device.index}" if self.device.kind == "cuda" else "cpu",
            threads=threads,
            command=tuple(sys.orig_argv),
            changes=tuple(grant.changes),
        )
        process = self._context.Process(target=train, args=(job, shared, asked), name=grant.run, daemon=True)
        logger.info("%s starts in slot %d, attempt %d", grant.run, slot, grant.attempt)
        kills = out_of_memory_kills()
        try:
            process.start()
            asked.close()
            self._watch(process, held)
            if process.exitcode == -signal.SIGKILL and not held.killed_because:
                held.out_of_memory = out_of_memory_kills() > kills
                # Whoever killed it, it was not the run's fault: it goes on from its checkpoint, but not for ever.
                held.outcome = "failed" if held.out_of_memory else "killed"
            self._settle(redis, held, process.exitcode, config.batch_size)
        finally:
            with self._lock:
                self._held.pop((held.run, held.fence), None)
                inbox.close()

    def _watch(self, process: ForkServerProcess, held: Held) -> None:
        """Until the trainer is gone: look after its pulse, its time to stop, and whether it is still ours."""
        while not multiprocessing.connection.wait([process.sentinel], timeout=LOOK_SECONDS):
            now = time.monotonic()
            pulse = held.control.pulse
            if pulse != held.pulse:
                held.pulse, held.pulse_at = pulse, now
            if held.dropped:
                self._kill(process, held, "it belongs to another attempt by now", "failed")
            elif held.commanded_at is not None and now - held.commanded_at > self.settings.cancel_seconds:
                outcome: Outcome = "cancelled" if held.control.command == CANCEL else "interrupted"
                seconds = self.settings.cancel_seconds
                self._kill(process, held, f"it did not stop within {seconds:.0f} s and was killed", outcome)
            elif now - held.pulse_at > self.settings.stall_seconds:
                seconds = self.settings.stall_seconds
                self._kill(process, held, f"it made no step for {seconds:.0f} s and was killed", "failed")
        process.join()

    def _kill(self, process: ForkServerProcess, held: Held, because: str, outcome: Outcome) -> None:
        if not held.killed_because:
            logger.warning("%s: %s", held.run, because)
            held.killed_because, held.outcome = because, outcome
        if process.pid is not None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                process.kill()  # it has not made its own group yet

    def _settle(self, redis: Redis, held: Held, exitcode: int | None, batch_size: int) -> None:
        """Bring home what the trainer left in its spool, and its end when it could not say that itself."""
        if not self._drain(redis, Spool(self.settings.spool, held.run, held.fence)) or held.dropped:
            return
        if exitcode == 0 and not held.killed_because:
            logger.info("%s has ended", held.run)
            return
        reason = held.killed_because or _how_it_died(exitcode)
        if held.out_of_memory:
            reason = f"the machine ran out of memory and the system ended the run; {_smaller(batch_size)}"
        ended = Ended(run=held.run, fence=held.fence, outcome=held.outcome, reason=reason)
        logger.warning("%s: %s", held.run, reason)
        field = broker.committed_field(held.run, held.fence) + ":ended"
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
        logger.warning("the end of %s could not be told; it goes on when its lease has run out", held.run)

    def _confirmed(self, redis: Redis, field: str) -> bool:
        for _ in range(20):
            if redis.hget(broker.COMMITTED, field):
                return True
            self._gone.wait(0.1)
        return False

    def _drain(self, redis: Redis, spool: Spool) -> bool:
        """Send a spool until all of it is committed, then remove it; False when the worker ends before that.

        What is left in it the next worker brings home.
        """
        sender = Sender(redis, spool)
        sender.recover()
        began = time.monotonic()
        while not sender.push():
            if not self._may_wait(began, sender.down):
                logger.warning("what %s reported stays here until the next start", spool.run)
                spool.close()
                return False
            self._gone.wait(0.05)
        spool.remove()
        redis.hdel(broker.COMMITTED, broker.committed_field(spool.run, spool.fence))
        return True

    def _may_wait(self, began: float, down: bool) -> bool:
        """Whether to go on waiting for a commit: a worker that stops does not wait for a Redis that is gone."""
        if not self._stopping.is_set():
            return True
        return not (self._gone.is_set() or down or time.monotonic() - max(began, self._stops_at) > LAST_SECONDS)

    def _send(self, redis: Redis, kind: str, said: Any) -> None:
        redis.xadd(broker.EVENTS, {"k": kind, "b": said.model_dump_json()})


def _smaller(batch_size: int) -> str:
    return f"try batch size {batch_size // 2:,}, or find_batch" if batch_size > 1 else "try a smaller size"


def _how_it_died(exitcode: int | None) -> str:
    if exitcode is None:
        return "the training process vanished"
    if exitcode == -signal.SIGKILL:
        return "its training process was killed (signal 9), by hand or for want of memory"
    if exitcode < 0:
        return f"the training process was ended by signal {-exitcode} ({signal.Signals(-exitcode).name})"
    return f"the training process ended with exit code {exitcode} before it could say why"
