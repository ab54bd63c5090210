"""Brings the entries of one attempt to the Redis stream, in order, until the recorder has committed them."""

from __future__ import annotations

import logging
import time
from collections import deque
from itertools import islice
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from app.contract import broker
from app.contract.events import entry
from worker.reporting.spool import Said, Spool

logger = logging.getLogger("runyard.sender")

BATCH = 200
RESEND_SECONDS = 1.0
LONGEST_RESEND_SECONDS = 10.0


class Sender:
    """Sends and, where Redis lost something, sends again from the last committed entry on."""

    def __init__(self, redis: Redis, spool: Spool) -> None:
        self.redis = redis
        self.spool = spool
        self.committed = 0
        self._field = broker.committed_field(spool.run, spool.fence)
        self._waiting: deque[Said] = deque()
        self._sent = 0
        self._progress_at = time.monotonic()
        self._patience = RESEND_SECONDS
        self.down = False
        self._ask_first = False

    def recover(self) -> int:
        """Take over what an earlier process kept in the spool; returns the last sequence number."""
        for said in self.spool.read():
            self._waiting.append(said)
        self._ask_first = bool(self._waiting)
        return self._waiting[-1].sequence if self._waiting else 0

    def put(self, said: Said) -> None:
        """Keep an entry and send it with the next push."""
        self.spool.append(said)
        if not self._waiting:
            self._progress_at = time.monotonic()
        self._waiting.append(said)

    def push(self) -> bool:
        """Send what is new and hear what was committed; True when nothing waits any more. Never raises for Redis."""
        if not self._waiting:
            return True
        now = time.monotonic()
        if self._sent >= self._waiting[0].sequence and now - self._progress_at > self._patience:
            self._sent = self._waiting[0].sequence - 1
            self._progress_at = now
            self._patience = min(2 * self._patience, LONGEST_RESEND_SECONDS)
        # Most of what is recovered was committed long ago.
        fresh = [] if self._ask_first else self._unsent()
        pipe = self.redis.pipeline(transaction=False)
        pipe.hget(broker.COMMITTED, self._field)
        for said in fresh:
            fields: Any = entry(self.spool.run, self.spool.fence, said.sequence, said.kind, said.body)
            pipe.xadd(broker.EVENTS, fields)
        try:
            committed = pipe.execute()[0]
        except (RedisError, OSError) as error:
            if not self.down:
                logger.warning("Redis does not answer (%s); keeping what is reported until it does", error)
            self.down = True
            return False
        self.down = self._ask_first = False
        if fresh:
            self._sent = fresh[-1].sequence
        self._hear(int(committed or 0), now)
        return not self._waiting

    def _unsent(self) -> list[Said]:
        # Numbers have no gaps; while the recorder is away, a great many wait that were sent already.
        sent = max(0, self._sent + 1 - self._waiting[0].sequence)
        return list(islice(self._waiting, sent, sent + BATCH))

    def _hear(self, committed: int, now: float) -> None:
        if committed > self.committed:
            self.committed = committed
            self._progress_at = now
            self._patience = RESEND_SECONDS
        # Of an attempt that was replaced everything counts as committed, what it says from then on too.
        while self._waiting and self._waiting[0].sequence <= self.committed:
            self._waiting.popleft()
        self.spool.cut(self.committed)
