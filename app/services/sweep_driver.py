"""Drives sweeps: lets searches propose, stops hopeless runs, and ends a sweep when its runs have.

A thread of the recorder's process, so that what workers report never waits for it; it is woken by commits and looks
each second. All that it knows stands in the database: whenever it ends, the next one goes on.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from threading import Event
from typing import Any, cast

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from app.contract import broker
from app.contract.catalog import Catalog
from app.contract.settings import Settings
from app.contract.spec import SpecError
from app.contract.sweep import Choice, Range, SweepSpec
from app.services import signals
from app.store import sweep as store
from app.store.database import next_commit, reading, writing
from app.store.lease import request_cancel
from app.store.metric import read_one_of_each
from app.store.sweep import SweepRecord, SweepRun, direction_of, key_of
from app.store.worker import list_workers
from app.sweeps.expand import Planned, plan_one, space_of, with_seeds
from app.sweeps.insert import insert_planned
from app.sweeps.pruning import Course, by_dataset, hopeless
from app.sweeps.search import Tried, propose

logger = logging.getLogger("runyard.sweeps")

LOOK_SECONDS = 1.0
PAUSE_SECONDS = 0.2
# So often a search is asked again where it proposed what cannot be trained.
TRIES = 25


class Driver:
    """Looks after every sweep that runs; ``step`` is one round of it."""

    def __init__(
        self, settings: Settings, engine: Engine, redis: Redis, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self.engine = engine
        self.redis = redis
        self.clock = clock
        self.celery = broker.celery_client(settings.redis)
        self._seen = -1
        self._passed: set[tuple[str, int]] = set()
        self._courses: dict[str, Course] = {}

    def run(self, stop: Event) -> None:
        """Drive until ``stop`` is set; outlives a Redis that restarts and a database that is locked."""
        listening: Any = None
        while not stop.is_set():
            try:
                if listening is None:
                    listening = cast(Any, self.redis).pubsub(ignore_subscribe_messages=True)
                    listening.subscribe(broker.COMMITS)
                self.step()
                stop.wait(PAUSE_SECONDS)
                _drain(listening, LOOK_SECONDS)
            except (RedisError, OSError):
                # The recorder says so; sweeps go on meanwhile, woken by the clock alone.
                listening = None
                stop.wait(LOOK_SECONDS)
            except OperationalError as error:
                logger.error("sweeps could not be looked after (%s); trying again", error.orig)
                stop.wait(LOOK_SECONDS)
        if listening is not None:
            listening.close()

    def step(self) -> None:
        """Look after every running sweep, if anything was committed since the last time."""
        with reading(self.engine) as connection:
            commit = int(connection.execute(text("SELECT value FROM commit_counter")).scalar_one())
            sweeps = store.running_sweeps(connection)
        if commit == self._seen and all(sweep.spec.method != "tpe" for sweep in sweeps):
            return
        for sweep in sweeps:
            try:
                self._look_after(sweep)
            except SpecError as error:
                self._settle(sweep, "stopped", f"it cannot go on: {error}")
            except (ValueError, KeyError, TypeError) as error:
                # One that cannot be read holds up no other.
                logger.exception("sweep %s cannot go on", sweep.id)
                self._settle(sweep, "stopped", f"it cannot go on: {error}")
        self._seen = commit

    def _look_after(self, sweep: SweepRecord) -> None:
        spec = sweep.spec
        direction = direction_of(spec.metric, spec.direction)
        with reading(self.engine) as connection:
            runs = store.read_runs(connection, sweep.id, spec.metric, direction)
            workers = list_workers(connection, self.clock(), self.settings.lease_seconds)
        if spec.pruning:
            self._prune(spec, runs)
        if spec.method == "tpe":
            self._search(sweep, spec, runs, sum(worker.slots for worker in workers))
        elif all(run.ended for run in runs):
            self._settle(sweep, "finished")

    def _settle(self, sweep: SweepRecord, status: str, reason: str = "") -> None:
        with writing(self.engine) as connection:
            commit = next_commit(connection)
            done = store.settle_sweep(connection, sweep.id, status, self.clock(), reason)
        if done:
            # The page of the sweep hears that something changed.
            signals.publish_commit(self.redis, commit, {}, workers_changed=True)

    # Search ----------------------------------------------------------------------------------------------------------

    def _search(self, sweep: SweepRecord, spec: SweepSpec, runs: list[SweepRun], slots: int) -> None:
        configurations = _by_configuration(runs)
        open_ones = sum(not all(run.ended for run in members) for members in configurations.values())
        catalog = Catalog.model_validate({"families": sweep.families})
        left = spec.configurations - len(configurations)
        wanted = min(math.ceil((slots + 1) / spec.seeds) - open_ones, left)
        planned = self._proposed(spec, catalog, configurations, wanted) if wanted > 0 else []
        if not planned and not open_ones and wanted > 0:
            self._settle(sweep, "finished", "every configuration that there is has been tried")
        elif not left and not open_ones:
            self._settle(sweep, "finished")
        if not planned:
            return
        self._make(sweep, spec, catalog, with_seeds(planned, spec.seeds), len(runs))

    def _proposed(
        self, spec: SweepSpec, catalog: Catalog, configurations: dict[str, list[SweepRun]], wanted: int
    ) -> list[Planned]:
        """So many new configurations; fewer where the search proposes none that is new and can be trained."""
        space = space_of(spec, catalog)
        direction = direction_of(spec.metric, spec.direction)
        seed = int(spec.base.get("seed") or 1)
        tried = [self._tried(spec, members) for members in configurations.values()]
        known, planned = set(configurations), []
        refused: SpecError | None = None
        if not any(isinstance(each, Range) for each in space.values()):
            there_are = math.prod(len(each.choice) for each in space.values() if isinstance(each, Choice))
            wanted = min(wanted, there_are - len(known))
        for _ in range(wanted * TRIES):
            values = propose(space, tried, direction, seed, spec.configurations)
            try:
                each = plan_one(spec, catalog, values)
            except SpecError as error:
                refused = error
                tried.append(Tried(values, failed=True))
                continue
            key = key_of(each.values)
            if key in known:
                # What is known already tells nothing new; asked again, another point is drawn.
                tried.append(next(t for t in tried if key_of(dict(t.values)) == key))
                continue
            known.add(key)
            planned.append(each)
            tried.append(Tried(each.values))
            if len(planned) == wanted:
                break
        if refused is not None and not known:
            raise refused
        return planned

    def _tried(self, spec: SweepSpec, members: list[SweepRun]) -> Tried:
        values = {name: value for name, value in members[0].values.items() if name != "seed"}
        if not all(run.ended for run in members):
            return Tried(values)
        reached = [run.value for run in members if run.value is not None and run.status == "succeeded"]
        if reached:
            return Tried(values, sum(reached) / len(reached))
        pruned = [run for run in members if run.pruned]
        courses = [self._courses[run.id].values for run in pruned if run.id in self._courses]
        if pruned and not courses:
            last = [run.value for run in pruned if run.value is not None]
            courses = [[sum(last) / len(last)]] if last else []
        return Tried(values, pruned=bool(courses), failed=not courses, course=courses[0] if courses else ())

    def _make(self, sweep: SweepRecord, spec: SweepSpec, catalog: Catalog, planned: list[Planned], had: int) -> None:
        made = []
        with writing(self.engine) as connection:
            record = store.load_sweep(connection, sweep.id)
            # Stopped or extended meanwhile: the next look sees what is wanted now.
            if record is None or record.status != "running" or record.asked != sweep.asked:
                return
            if store.count_runs(connection, [sweep.id])[sweep.id].made != had:
                return
            made = insert_planned(connection, catalog, sweep.id, spec, planned, self.clock())
            commit = next_commit(connection)
        signals.publish_commit(self.redis, commit, {run: {"status"} for run in made})
        signals.wake_workers(self.redis, self.celery, len(made))

    # Pruning ---------------------------------------------------------------------------------------------------------

    def _prune(self, spec: SweepSpec, runs: list[SweepRun]) -> None:
        direction = direction_of(spec.metric, spec.direction)
        courses = self._read_courses(runs)
        stop: dict[str, str] = {}
        for comparable in by_dataset(courses, {run.id: run.dataset for run in runs}):
            stop |= hopeless(spec, direction, comparable, self._passed)
        if not stop:
            return
        grace = self.settings.cancel_seconds + self.settings.lease_seconds
        with writing(self.engine) as connection:
            commit, now = next_commit(connection), self.clock()
            for run, reason in stop.items():
                request_cancel(connection, run, commit, now, grace, reason)
        for run, reason in stop.items():
            logger.info("%s is stopped: %s", run, reason)
            signals.nudge_cancel(self.redis, run)
        signals.publish_commit(self.redis, commit, {run: {"status"} for run in stop})

    def _read_courses(self, runs: list[SweepRun]) -> dict[str, Course]:
        """How each run has come along; of those that have ended it is read once."""
        names = {run.id: run.metric for run in runs if run.metric is not None and run.id not in self._courses}
        with reading(self.engine) as connection:
            curves = read_one_of_each(connection, names, 0)
        found = {}
        for run in runs:
            if run.id in self._courses:
                found[run.id] = self._courses[run.id]
            elif run.id in curves:
                course = Course(
                    run.id, curves[run.id].values.tolist(), run.epochs, run.status == "running", run.metric or ""
                )
                found[run.id] = course
                if run.ended:
                    self._courses[run.id] = course
        return found


def _by_configuration(runs: list[SweepRun]) -> dict[str, list[SweepRun]]:
    found: dict[str, list[SweepRun]] = {}
    for run in runs:
        found.setdefault(run.configuration, []).append(run)
    return found


def _drain(listening: Any, seconds: float) -> None:
    """Wait for a commit, at most so long, and pass over all that were told meanwhile."""
    message = listening.get_message(timeout=seconds)
    while message is not None:
        message = listening.get_message(timeout=0)
