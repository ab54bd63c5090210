"""A fake worker: claims a run like a supervisor and reports points through the trainer's own Reporter."""

from __future__ import annotations

import os
import secrets
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from redis import Redis

from app.contract import broker
from app.contract.events import Claim, DeviceInfo, Grant, Heartbeat, OwnedRun, Result, Started
from worker.reporting.reporter import Reporter
from worker.reporting.sender import Sender
from worker.reporting.spool import Spool

HEARTBEAT_SECONDS = 2.0
METRICS = ("train/loss", "train/acc")


class FakeWorker:
    """Claims runs that require a GPU, which the real worker, limited to the CPU, leaves to it."""

    def __init__(self, redis_url: str, spool: Path) -> None:
        self.id = f"standin-{secrets.token_hex(3)}"
        self.redis_url = redis_url
        self.redis = Redis.from_url(redis_url)
        self.spool = spool
        self.device = DeviceInfo(kind="cuda", name="made up", memory_bytes=2**34, cores=2)
        self._runs: list[OwnedRun] = []
        self._beat = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._heartbeats, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the heartbeats."""
        self._stopped.set()
        self._thread.join()
        self.redis.close()

    def _heartbeats(self) -> None:
        with Redis.from_url(self.redis_url) as redis:
            while not self._stopped.wait(HEARTBEAT_SECONDS):
                self._beat += 1
                message = Heartbeat(
                    worker=self.id,
                    beat=self._beat,
                    host="standin",
                    pid=os.getpid(),
                    slots=1,
                    device=self.device,
                    versions={},
                    runs=list(self._runs),
                )
                self._send(redis, "heartbeat", message)

    def _send(self, redis: Redis, kind: str, message: BaseModel) -> None:
        redis.xadd(broker.EVENTS, {"k": kind, "b": message.model_dump_json()})

    def claim(self, run: str) -> FakeRun:
        """Claim the queued run. Raises RuntimeError if another run or none is granted."""
        name = secrets.token_hex(8)
        reply = f"runyard:reply:{name}"
        claim = Claim(claim=name, worker=self.id, slot=0, device=self.device, reply=reply)
        self._send(self.redis, "claim", claim)
        answer: Any = self.redis.blpop([reply], timeout=10)
        grant = Grant.model_validate_json(answer[1]) if answer else Grant()
        if grant.run != run:
            raise RuntimeError(f"the claim was granted {grant.run!r} instead of {run}")
        self._runs = [OwnedRun(run=grant.run, fence=grant.fence)]
        return FakeRun(self, grant)


class FakeRun:
    """One attempt at a run, without training."""

    def __init__(self, worker: FakeWorker, grant: Grant) -> None:
        self._worker = worker
        self._spool = Spool(worker.spool, grant.run, grant.fence)
        self._reporter = Reporter(Sender(worker.redis, self._spool))
        self._reporter.event("started", Started(step=0, epoch=0, params=1, environment={}))

    def emit(self, steps: int, steps_per_second: float) -> None:
        """Report METRICS for steps 1 to ``steps``, evenly spaced in time."""
        began = time.monotonic()
        for step in range(1, steps + 1):
            wait = began + step / steps_per_second - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            self._reporter.points(METRICS, step, (1 / step, 1 - 1 / step))

    def finish(self) -> None:
        """Report success. Raises RuntimeError if it is not committed in time."""
        self._reporter.event("result", Result(outcome="succeeded"))
        if not self._reporter.close(20):
            raise RuntimeError("the reports were not committed within 20 s")
        self._spool.remove()
        self._worker._runs = []
