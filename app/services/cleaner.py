"""Applies retention in the recorder's process, a little at a time, so that reports do not wait for it."""

from __future__ import annotations

import logging
import time

from redis import Redis
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.contract.settings import Settings
from app.services import pubsub, retention
from app.services.retention import Entry
from app.store.database import reading
from app.store.removal import Doomed, list_removals

logger = logging.getLogger("runyard.retention")

LOOK_SECONDS = 5.0
"""How often to look for files that another process, such as the server, has taken from runs."""
STEP_SECONDS = 0.1
"""How long a step may delete files; the last one may take longer."""
RETRY_SECONDS = 60.0


class Cleaner:
    """Plans when told to, then ``step`` applies a part of the plan and deletes files."""

    def __init__(self, settings: Settings, engine: Engine, redis: Redis) -> None:
        self._settings = settings
        self._engine = engine
        self._redis = redis
        self._planned: list[Entry] = []
        self._doomed: list[Doomed] = []
        self._next_look = 0.0

    def look(self, now: float) -> None:
        """Plan what the settings no longer keep."""
        try:
            with reading(self._engine) as connection:
                plan = retention.plan(self._settings, connection, now)
        except SQLAlchemyError:
            raise
        except Exception as error:
            # Of a store elsewhere, any kind of error; reports must not wait for it.
            logger.warning("cannot see what to remove (%s); trying again in an hour", error)
            return
        # The oldest is the last.
        self._planned = list(reversed(plan.entries))
        if plan.missing:
            logger.warning("%.1f GiB more are needed, but nothing more may be removed", plan.missing / retention.GIB)

    def step(self, now: float) -> None:
        """Apply a part of the plan, and delete files for a moment."""
        if self._planned:
            part = [self._planned.pop() for _ in range(min(retention.PER_COMMIT, len(self._planned)))]
            commit, removed = retention.apply(self._settings, self._engine, part, now)
            pubsub.notify_servers(self._redis, commit, {item.run: {"status"} for item in removed})
            self._next_look = min(self._next_look, now)
        if now >= self._next_look or self._next_look > now + RETRY_SECONDS:
            self._next_look = now + LOOK_SECONDS
            with reading(self._engine) as connection:
                self._doomed = list(reversed(list_removals(connection)))
        if self._doomed:
            self._delete(now)

    def _delete(self, now: float) -> None:
        end = time.monotonic() + STEP_SECONDS
        while self._doomed:
            doomed = self._doomed.pop()
            try:
                retention.delete_file(self._settings, self._engine, doomed)
            except SQLAlchemyError:
                raise
            except Exception as error:
                # Of a store elsewhere, any kind of error; tried again, and the others must not wait for it.
                logger.warning("could not delete %s (%s); trying again in a minute", doomed.path, error)
                self._next_look = now + RETRY_SECONDS
            if time.monotonic() >= end:
                break
