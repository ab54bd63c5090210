"""Actions on many runs and on the queue: cancel, restore, edit, pause, reorder."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import Connection, text

from app.contract.errors import Conflict, NotFound
from app.services import pubsub
from app.store import bulk
from app.store import queue as queue_store
from app.store import run as run_store
from app.store.bulk import Cancelled, RunSelection
from app.store.database import next_commit, reading, writing
from app.store.edit import edit
from app.store.queue import Move, Place
from app.store.sweep import settle_sweep
from app.store.turn import QueueRules, read_turns
from app.store.worker import list_workers
from app.web.dependencies import Parts

logger = logging.getLogger("runyard.server")


def cancel_many(parts: Parts, which: RunSelection) -> Cancelled:
    """Cancel runs in one transaction. Raises NotFound, in which case no run is cancelled."""
    grace = parts.settings.cancel_seconds + parts.settings.lease_seconds
    with writing(parts.engine) as connection:
        _check_exists(connection, which)
        commit = next_commit(connection)
        done = bulk.cancel_runs(connection, which, commit, time.time(), grace)
        if which.sweep is not None:
            # Otherwise a search would continue to propose runs.
            settle_sweep(connection, which.sweep, "stopped", time.time(), "stopped by the user")
    for run in done.held:
        pubsub.nudge_cancel(parts.redis, run)
    announce_runs(parts, commit, [*done.cancelled, *done.stopping])
    return done


def _check_exists(connection: Connection, which: RunSelection) -> None:
    missing = bulk.missing(connection, which.runs)
    if missing is not None:
        raise NotFound(f"no run '{missing[:40]}'")
    if which.sweep is not None:
        sweep = connection.execute(text("SELECT id FROM sweep WHERE id = :id"), {"id": which.sweep}).scalar()
        if sweep is None:
            raise NotFound(f"no sweep '{which.sweep[:40]}'")


def restore_many(parts: Parts, runs: list[str]) -> list[tuple[str, str]]:
    """Restore runs that were cancelled before they started, each as a new run; returns pairs of (old ID, new ID).

    Raises NotFound, and Conflict if any of them was not cancelled while queued; then none is restored.
    """
    with writing(parts.engine) as connection:
        restored = bulk.restore_queued(connection, runs, time.time())
        if isinstance(restored, str):
            record = run_store.load_run(connection, restored)
            if record is None:
                raise NotFound(f"no run '{restored[:40]}'")
            started = record.status == "cancelled"
            reason = f"{restored} had already started" if started else f"the status of {restored} is {record.status}"
            raise Conflict(f"only runs that were cancelled while queued can be restored; {reason}")
        commit = int(connection.execute(text("SELECT value FROM commit_counter")).scalar_one())
    announce_runs(parts, commit, [run for pair in restored for run in pair])
    wake(parts)
    return restored


def edit_run(parts: Parts, run_id: str, changes: dict[str, Any]) -> None:
    """Change a run's name, notes, tags or priority.

    Raises NotFound, and Conflict for a change of priority after the run started.
    """
    with writing(parts.engine) as connection:
        record = run_store.load_run(connection, run_id)
        if record is None:
            raise NotFound(f"no run '{run_id[:40]}'")
        if changes.get("priority", record.priority) != record.priority and record.status != "queued":
            raise Conflict(
                f"the priority can only be changed while a run is queued; the status of this run is {record.status}"
            )
        commit = next_commit(connection)
        edit(connection, run_id, changes, commit)
    pubsub.announce(parts.redis, commit, run_id, "status")


def set_paused(parts: Parts, paused: bool) -> None:
    """Pause or resume the queue; active runs continue."""
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        if paused:
            queue_store.pause(connection, time.time())
        else:
            queue_store.resume(connection)
    announce_runs(parts, commit, [], everything=True)
    if not paused:
        wake(parts)


def move_run(parts: Parts, run_id: str, to: Move | None, before: str | None = None, after: str | None = None) -> int:
    """Move a queued run and return its position. Raises NotFound, and Conflict if either run is not queued.

    While people take turns, a run moves among those of its person; Conflict for another person's place.
    """
    rules = QueueRules.of(parts.settings)
    with writing(parts.engine) as connection:
        place = _queued(connection, run_id)
        commit, now = next_commit(connection), time.time()
        own = read_turns(connection, rules) is not None
        if to is not None:
            place = queue_store.move(connection, place, to, commit, now, own)
        else:
            other = _queued(connection, str(before or after))
            if own and other.created_by != place.created_by:
                raise Conflict(_take_turns(place, other))
            place = queue_store.move_beside(connection, place, other, before is not None, commit, now, own)
        position = queue_store.position_of(connection, place, read_turns(connection, rules))
    announce_runs(parts, commit, [run_id])
    return position


def _take_turns(run: Place, other: Place) -> str:
    one, another = (place.created_by or "whoever has no account" for place in (run, other))
    return (
        f"runs of {one} and of {another} start in turn; move it among those of {one}, or give it a higher priority to"
        " start it before all others"
    )


def _queued(connection: Connection, run_id: str) -> Place:
    place = queue_store.find_place(connection, run_id)
    if place is None:
        record = run_store.load_run(connection, run_id)
        if record is None:
            raise NotFound(f"no run '{run_id[:40]}'")
        raise Conflict(f"run {run_id} is no longer queued (status: {record.status})")
    return place


def wake(parts: Parts) -> None:
    """Wake as many workers as can take a run now; otherwise the recorder does it half a second later."""
    with reading(parts.engine) as connection:
        wanted = queue_store.claimable(
            connection,
            lambda: list_workers(connection, time.time(), parts.settings.lease_seconds),
            QueueRules.of(parts.settings),
        )
    if wanted:
        pubsub.wake_workers(parts.redis, parts.celery, wanted)


def announce_runs(parts: Parts, commit: int, runs: Iterable[str], everything: bool = False) -> None:
    """Publish one message with all runs that changed in a commit."""
    try:
        pubsub.publish_commit(parts.redis, commit, {run: {"status"} for run in runs}, everything)
    except (RedisError, OSError) as error:
        logger.warning("could not notify servers of commit %d (%s); they will pick it up by polling", commit, error)
