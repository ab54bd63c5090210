"""What users do to many runs at once, and to the queue: stop, bring back, order, pause."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import Connection, text

from app.contract.errors import Conflict, NotFound
from app.services import signals
from app.store import bulk
from app.store import queue as queue_store
from app.store import run as run_store
from app.store.bulk import Cancelled, Which
from app.store.database import next_commit, reading, writing
from app.store.edit import edit
from app.store.queue import Place, Where
from app.store.sweep import settle_sweep
from app.store.worker import list_workers
from app.web.dependencies import Parts

logger = logging.getLogger("runyard.server")


def cancel_many(parts: Parts, which: Which) -> Cancelled:
    """Stop runs in one transaction. Raises NotFound, and then stops none."""
    grace = parts.settings.cancel_seconds + parts.settings.lease_seconds
    with writing(parts.engine) as connection:
        _found(connection, which)
        commit = next_commit(connection)
        done = bulk.cancel_runs(connection, which, commit, time.time(), grace)
        if which.sweep is not None:
            # A search would go on to propose.
            settle_sweep(connection, which.sweep, "stopped", time.time(), "stopped by its user")
    for run in done.held:
        signals.nudge_cancel(parts.redis, run)
    announce_runs(parts, commit, [*done.cancelled, *done.stopping])
    return done


def _found(connection: Connection, which: Which) -> None:
    missing = bulk.missing(connection, which.runs)
    if missing is not None:
        raise NotFound(f"no run '{missing[:40]}'")
    if which.sweep is not None:
        sweep = connection.execute(text("SELECT id FROM sweep WHERE id = :id"), {"id": which.sweep}).scalar()
        if sweep is None:
            raise NotFound(f"no sweep '{which.sweep[:40]}'")


def restore_many(parts: Parts, runs: list[str]) -> list[tuple[str, str]]:
    """Undo a stop of runs that had never started; each comes back as a new run: (the old id, the new one).

    Raises NotFound, and Conflict where one of them was not stopped while it waited; then none comes back.
    """
    with writing(parts.engine) as connection:
        made = bulk.restore_queued(connection, runs, time.time())
        if isinstance(made, str):
            record = run_store.load_run(connection, made)
            if record is None:
                raise NotFound(f"no run '{made[:40]}'")
            state = "it had started" if record.status == "cancelled" else f"it is {record.status}"
            raise Conflict(f"only runs that were cancelled while they waited come back: {made} did not, {state}")
        commit = int(connection.execute(text("SELECT value FROM commit_counter")).scalar_one())
    announce_runs(parts, commit, [run for pair in made for run in pair])
    wake(parts)
    return made


def edit_run(parts: Parts, run_id: str, changes: dict[str, Any]) -> None:
    """Change name, notes, tags or priority of a run. Raises NotFound, and Conflict for a priority once it has begun."""
    with writing(parts.engine) as connection:
        record = run_store.load_run(connection, run_id)
        if record is None:
            raise NotFound(f"no run '{run_id[:40]}'")
        if changes.get("priority", record.priority) != record.priority and record.status != "queued":
            raise Conflict(f"this run is {record.status}; its priority matters only while it waits")
        commit = next_commit(connection)
        edit(connection, run_id, changes, commit)
    signals.announce(parts.redis, commit, run_id, "status")


def set_paused(parts: Parts, paused: bool) -> None:
    """Pause the queue, or let it go on; runs that train are not touched."""
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        if paused:
            queue_store.pause(connection, time.time())
        else:
            queue_store.resume(connection)
    announce_runs(parts, commit, [], everything=True)
    if not paused:
        wake(parts)


def move_run(parts: Parts, run_id: str, to: Where | None, before: str | None = None, after: str | None = None) -> int:
    """Move a queued run; returns its place. Raises NotFound, and Conflict where it or the other one does not wait."""
    with writing(parts.engine) as connection:
        place = _waiting(connection, run_id)
        commit, now = next_commit(connection), time.time()
        if to is not None:
            place = queue_store.move(connection, place, to, commit, now)
        else:
            other = _waiting(connection, str(before or after))
            place = queue_store.move_beside(connection, place, other, before is not None, commit, now)
        position = queue_store.position_of(connection, place)
    announce_runs(parts, commit, [run_id])
    return position


def _waiting(connection: Connection, run_id: str) -> Place:
    place = queue_store.find_place(connection, run_id)
    if place is None:
        record = run_store.load_run(connection, run_id)
        if record is None:
            raise NotFound(f"no run '{run_id[:40]}'")
        raise Conflict(f"run {run_id} does not wait any more: it is {record.status}")
    return place


def wake(parts: Parts) -> None:
    """Wake as many workers as could take a run now; the recorder would do it half a second later."""
    with reading(parts.engine) as connection:
        wanted = queue_store.claimable(
            connection, lambda: list_workers(connection, time.time(), parts.settings.lease_seconds)
        )
    if wanted:
        signals.wake_workers(parts.redis, parts.celery, wanted)


def announce_runs(parts: Parts, commit: int, runs: Iterable[str], everything: bool = False) -> None:
    """One notice of all that changed in this commit."""
    try:
        signals.publish_commit(parts.redis, commit, {run: {"status"} for run in runs}, everything)
    except (RedisError, OSError) as error:
        logger.warning("servers were not told of commit %d (%s); they will see it by themselves", commit, error)
