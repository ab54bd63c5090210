"""Sends the entries of one attempt to the Redis stream, in order, until the recorder has committed them."""

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
from worker.reporting.spool import Spool, SpoolEntry

logger = logging.getLogger("runyard.sender")

BATCH = 200
RESEND_SECONDS = 1.0
LONGEST_RESEND_SECONDS = 10.0


class Sender:
    """Sends entries, and resends from the last committed one when Redis lost some."""

    def __init__(self, redis: Redis, spool: Spool) -> None:
        self.redis = redis
        self.spool = spool
        self.committed = 0
        self._field = broker.committed_field(spool.run, spool.fence)
        self._waiting: deque[SpoolEntry] = deque()
        self._sent = 0
        self._progress_at = time.monotonic()
        self._patience = RESEND_SECONDS
        self.down = False
        self._query_first = False

    def recover(self) -> int:
        """Load the entries that an earlier process left in the spool; returns the last sequence number."""
        for item in self.spool.read():
            self._waiting.append(item)
        self._query_first = bool(self._waiting)
        return self._waiting[-1].sequence if self._waiting else 0

    def put(self, item: SpoolEntry) -> None:
        """Spool an entry and send it with the next push."""
        self.spool.append(item)
        self.put_unspooled(item)

    def put_unspooled(self, item: SpoolEntry) -> None:
        """Only send an entry with the next push."""
        if not self._waiting:
            self._progress_at = time.monotonic()
        self._waiting.append(item)

    def push(self) -> bool:
        """Send new entries and read what is committed; True when none is waiting. Never raises for Redis."""
        if not self._waiting:
            return True
        now = time.monotonic()
        if self._sent >= self._waiting[0].sequence and now - self._progress_at > self._patience:
            self._sent = self._waiting[0].sequence - 1
            self._progress_at = now
            self._patience = min(2 * self._patience, LONGEST_RESEND_SECONDS)
        # Most recovered entries were committed long ago.
        fresh = [] if self._query_first else self._unsent()
        pipe = self.redis.pipeline(transaction=False)
        pipe.hget(broker.COMMITTED, self._field)
        for item in fresh:
            fields: Any = entry(self.spool.run, self.spool.fence, item.sequence, item.kind, item.body)
            pipe.xadd(broker.EVENTS, fields)
        try:
            committed = pipe.execute()[0]
        except (RedisError, OSError) as error:
            if not self.down:
                logger.warning("Redis does not respond (%s); keeping reports on disk until it does", error)
            self.down = True
            return False
        self.down = self._query_first = False
        if fresh:
            self._sent = fresh[-1].sequence
        self._update_committed(int(committed or 0), now)
        return not self._waiting

    def _unsent(self) -> list[SpoolEntry]:
        # Sequence numbers have no gaps; while the recorder is away, many entries wait that were already sent.
        sent = max(0, self._sent + 1 - self._waiting[0].sequence)
        return list(islice(self._waiting, sent, sent + BATCH))

    def _update_committed(self, committed: int, now: float) -> None:
        if committed > self.committed:
            self.committed = committed
            self._progress_at = now
            self._patience = RESEND_SECONDS
        # For an attempt that was replaced everything counts as committed, later entries too.
        while self._waiting and self._waiting[0].sequence <= self.committed:
            self._waiting.popleft()
        self.spool.discard(self.committed)
