"""Takes wake-ups that Celery leaves lying although a slot is free.

Celery's consumer may lose its way when Redis refuses commands or connections at an unlucky moment; the worker would go
on sending heartbeats, and never train again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from redis import Redis

from app.contract import broker

logger = logging.getLogger("runyard.worker")

PATIENCE_SECONDS = 5.0
"""How long a wake-up may lie while a slot is free; Celery takes it within milliseconds."""


class IdleSlots:
    """``free``: how many slots are free; ``work``: trains in a free slot, and returns once no run is queued."""

    def __init__(self, free: Callable[[], int], work: Callable[[], None]) -> None:
        self._free = free
        self._work = work
        self._since: float | None = None
        self._threads: list[threading.Thread] = []

    def look(self, redis: Redis) -> None:
        """Work in a thread of its own if a wake-up has been lying for too long; call it again and again."""
        now = time.monotonic()
        if not self._free() or not redis.llen(broker.QUEUE):
            self._since = None
            return
        if self._since is None:
            self._since = now
        if now - self._since < PATIENCE_SECONDS or redis.rpop(broker.QUEUE) is None:
            return
        logger.warning("a slot is free, but Celery takes no wake-up; the worker takes it by itself")
        self._since = None
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=self._work, name="idle_slot", daemon=True)
        thread.start()
        self._threads.append(thread)

    def join(self) -> None:
        """Wait until all that was started here has ended."""
        for thread in self._threads:
            thread.join()
