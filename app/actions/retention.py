"""What administrators see and do about retention: the plan, and what of it is being carried out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from app.services import pubsub, retention
from app.services.retention import Actor, Plan, Rule
from app.store.database import reading
from app.store.removal import count_removals
from app.web.caller import Caller
from app.web.dependencies import Parts

MOST_ENTRIES: Final = 1000
"""How many things one request removes; a caller repeats it while something is left."""


@dataclass(frozen=True)
class Retention:
    """``doomed_files``, ``doomed_bytes``: what was removed and is still to be deleted by the recorder."""

    rules: list[Rule]
    plan: Plan
    doomed_files: int
    doomed_bytes: int

    @property
    def limited(self) -> bool:
        """Whether any setting limits what is kept, besides that of deleted runs, which always has a value."""
        return any(rule.value is not None for rule in self.rules if rule.setting != "RUNYARD_TRASH_DAYS")


@dataclass(frozen=True)
class Removed:
    """What a request has removed; ``left``: what of the plan was too much for it."""

    count: int
    bytes: int
    left: int


def read_retention(parts: Parts) -> Retention:
    """Plan what the settings no longer keep; nothing changes."""
    with reading(parts.engine) as connection:
        plan = retention.plan(parts.settings, connection, time.time())
        files, size = count_removals(connection)
    return Retention(retention.rules(parts.settings), plan, files, size)


def apply_retention(parts: Parts, caller: Caller) -> Removed:
    """Remove what the settings no longer keep; the recorder deletes the files right after."""
    now = time.time()
    with reading(parts.engine) as connection:
        entries = retention.plan(parts.settings, connection, now).entries
    actor = Actor(caller.who, caller.credential, caller.address)
    count = size = 0
    for first in range(0, min(len(entries), MOST_ENTRIES), retention.PER_COMMIT):
        part = entries[first : min(first + retention.PER_COMMIT, MOST_ENTRIES)]
        commit, removed = retention.apply(parts.settings, parts.engine, part, now, actor)
        pubsub.notify_servers(parts.redis, commit, {item.run: {"status"} for item in removed})
        count, size = count + len(removed), size + sum(item.bytes for item in removed)
    return Removed(count, size, max(0, len(entries) - MOST_ENTRIES))
