"""Housekeeping of the recorder's process: expire leases, wake workers, merge metric chunks, remove what is too old."""

from __future__ import annotations

import logging
from collections.abc import Callable

from celery import Celery
from redis import Redis
from sqlalchemy import Connection, Engine, text

from app.contract.disk_space import DiskSpace, measure
from app.contract.settings import Settings
from app.services import artifacts, pubsub
from app.services.cleaner import Cleaner
from app.services.disk_notices import changed_disks, note_disk
from app.services.own_dataset_trash import purge_datasets
from app.services.run_files import key_path
from app.store import lease, metric, queue, run, run_file, tracked_run, turn, user, worker
from app.store.database import next_commit, reading, writing

logger = logging.getLogger("runyard.recorder")

TICK_SECONDS = 0.5
MERGE_SECONDS = 5.0
LEFT_OVER_SECONDS = 3600.0
PURGE_SECONDS = 3600.0
LOOSE_SECONDS = 86_400.0
"""How long an upload may take, in one request or in parts."""


class Housekeeper:
    """Does what no report triggers; the recorder calls ``step`` between batches.

    unmerged: runs with points that may still have to be merged; the recorder adds to it.
    """

    def __init__(
        self, settings: Settings, engine: Engine, redis: Redis, celery: Celery, clock: Callable[[], float]
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.redis = redis
        self.clock = clock
        self.celery = celery
        self.unmerged: set[str] = set()
        self._to_merge: list[str] = []
        self._next_tick = 0.0
        self._next_merge = 0.0
        self._next_purge = 0.0
        self._cleaner = Cleaner(settings, engine, redis)
        self._disk: DiskSpace | None = None

    def take_over(self) -> None:
        """Give workers time to renew their leases, since no heartbeat was received until now."""
        with writing(self.engine) as connection:
            lease.postpone_leases(connection, self.clock() + self.settings.lease_seconds)
            # Another recorder may not have merged the last points of runs that ended recently.
            rows = connection.execute(
                text(f"SELECT id FROM run WHERE status IN {run.ACTIVE} OR ended_at > :since"),
                {"since": self.clock() - LEFT_OVER_SECONDS},
            )
            self.unmerged |= set(rows.scalars())

    def step(self) -> None:
        """Do what is due, and merge at most one run."""
        now = self.clock()
        if self._next_tick > now + TICK_SECONDS:
            logger.warning("the clock was set back by at least %.0f s", self._next_tick - TICK_SECONDS - now)
            self._next_tick = self._next_merge = self._next_purge = now
        if now >= self._next_tick:
            self._next_tick = now + TICK_SECONDS
            self.reconcile()
        if self._to_merge:
            self._merge(self._to_merge.pop())
        self._cleaner.step(now)

    def reconcile(self) -> None:
        """Settle lost runs, wake workers for queued ones, and schedule merging and purging."""
        now = self.clock()
        self._look_at_disk()
        with reading(self.engine) as connection:
            overdue = lease.anything_overdue(connection, now) or worker.any_silent(connection, self._silent(now))
            ahead = lease.anything_ahead(connection, now, self.settings.lease_seconds, self._grace)
            wanted = self._wakes_wanted(connection, now)
        if ahead:
            with writing(self.engine) as connection:
                lease.bring_back(connection, now, self.settings.lease_seconds, self._grace)
        if overdue:
            self._settle(now)
        if wanted:
            pubsub.wake_workers(self.redis, self.celery, wanted)
        if now >= self._next_merge:
            self._next_merge = now + MERGE_SECONDS
            # One per step, so that new points do not wait for all of them.
            self._to_merge = sorted(self.unmerged)
            self._notify_of_disks(now)
        if now >= self._next_purge:
            self._next_purge = now + PURGE_SECONDS
            self._purge(now)
            self._cleaner.look(now)

    def _look_at_disk(self) -> None:
        """Start no runs while the disk is full; runs that a user has paused stay paused."""
        self._disk = measure(self.settings, self._disk.state if self._disk else "ok")
        full = self._disk is not None and self._disk.state == "full"
        reason = f"the disk of {self._disk.host} is full" if full and self._disk else ""
        with reading(self.engine) as connection:
            before = queue.held_for(connection)
        if reason == before:
            return
        with writing(self.engine) as connection:
            commit = next_commit(connection)
            queue.hold(connection, reason)
        if reason:
            logger.warning("no run starts: %s", reason)
        else:
            logger.info("there is room on the disk; runs start again")
        pubsub.publish_commit(self.redis, commit, {}, True)

    def _notify_of_disks(self, now: float) -> None:
        own = [] if self._disk is None else [self._disk]
        with reading(self.engine) as connection:
            workers = worker.list_workers(connection, now, self.settings.lease_seconds)
            disks = {(disk.host, disk.total): disk for disk in (*(each.disk for each in workers if each.disk), *own)}
            changed = changed_disks(connection, disks.values())
        if not changed:
            return
        with writing(self.engine) as connection:
            commit = next_commit(connection)
            for disk, before in changed:
                note_disk(connection, disk, before, disk is self._disk, now)
        pubsub.publish_commit(self.redis, commit, {}, True)

    @property
    def _grace(self) -> float:
        """Seconds within which a run that is to stop has ended."""
        return self.settings.cancel_seconds + self.settings.lease_seconds

    def _silent(self, now: float) -> float:
        return now - self.settings.lease_seconds

    def _settle(self, now: float) -> None:
        changed: dict[str, set[str]] = {}
        with writing(self.engine) as connection:
            commit = next_commit(connection)
            for run_id in lease.expire_leases(connection, commit, now):
                logger.warning("run %s was lost: its lease expired", run_id, extra={"run": run_id})
                changed[run_id] = {"status"}
            for run_id in lease.settle_lost(connection, commit, now, self.settings.max_attempts):
                changed[run_id] = {"status"}
            for run_id in tracked_run.end_silent(connection, commit, now):
                changed[run_id] = {"status"}
            gone = worker.forget_silent(connection, self._silent(now))
        pubsub.publish_commit(self.redis, commit, changed, bool(gone))

    def _wakes_wanted(self, connection: Connection, now: float) -> int:
        """Number of claims that could be granted now."""
        silent, rules = self.settings.lease_seconds, turn.QueueRules.of(self.settings)
        return queue.claimable(connection, lambda: worker.list_workers(connection, now, silent), rules)

    def _merge(self, run_id: str) -> None:
        with writing(self.engine) as connection:
            commit = connection.execute(text("SELECT value FROM commit_counter")).scalar_one()
            status = connection.execute(text("SELECT status FROM run WHERE id = :run"), {"run": run_id}).scalar()
            ended = status is None or status in run.TERMINAL
            merged = metric.merge_chunks(connection, run_id, commit, ended)
        if ended and not merged:
            self.unmerged.discard(run_id)

    def _purge(self, now: float) -> None:
        with writing(self.engine) as connection:
            people = user.purge_users(connection, now - self.settings.trash_days * 86400)
        for name in people:
            logger.info("%s, who was removed, can no longer be restored", name)
        self._remove_loose(now)
        try:
            for entry in purge_datasets(self.settings.datasets, now - self.settings.trash_days * 86400):
                logger.info("dataset %s was deleted for good", entry)
        except OSError as error:
            # Tried again in an hour: points must not wait for it.
            logger.warning("could not empty the trash of datasets: %s", error)

    def _remove_loose(self, now: float) -> None:
        """Remove what uploads that broke off in a crash have left, and contents whose removal was interrupted."""
        with reading(self.engine) as connection:
            loose = run_file.loose_since(connection, now - LOOSE_SECONDS)
        for run_id, key in loose:
            artifacts.remove(self.settings, key_path(run_id, key))
        if loose:
            with writing(self.engine) as connection:
                for run_id, key in loose:
                    run_file.forget_loose(connection, run_id, [key])
