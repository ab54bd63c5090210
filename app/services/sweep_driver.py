"""Drives sweeps: creates the runs that a search proposes, prunes bad runs, and finishes sweeps whose runs have ended.

Runs as a thread of the recorder's process, so that it never delays the recording of reports; woken by commits and at
least once a second. All its state is in the database, so the next process continues where this one ended.
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
from app.contract.settings import Settings
from app.contract.spec import SpecError
from app.contract.sweep import Choice, Range, SweepSpec
from app.services import pubsub
from app.store import sweep as store
from app.store.author import author_of
from app.store.database import next_commit, reading, writing
from app.store.lease import request_cancel
from app.store.metric import read_one_curve_per_run
from app.store.person_limit import read_room
from app.store.sweep import SweepRecord, SweepRun, direction_of, key_of
from app.store.worker import list_workers
from app.sweeps.pruning import MOST_VALUES, TrainingCurve, by_dataset, logged_values, runs_to_prune
from app.sweeps.search import Trial, propose
from app.sweeps.trials import PlannedTrial, Trials, trials_of

logger = logging.getLogger("runyard.sweeps")

LOOK_SECONDS = 1.0
PAUSE_SECONDS = 0.2
# Maximum number of proposals per needed configuration, since some cannot be trained or are known already.
TRIES = 25


class Driver:
    """Drives every running sweep; ``step`` is one round."""

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
        self._ended_curves: dict[str, TrainingCurve] = {}

    def run(self, stop: Event) -> None:
        """Drive sweeps until ``stop`` is set; survives Redis restarts and a locked database."""
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
                # The recorder reports this; meanwhile sweeps continue on the timer alone.
                listening = None
                stop.wait(LOOK_SECONDS)
            except OperationalError as error:
                logger.error("could not access the database (%s); no data is lost; retrying", error.orig)
                stop.wait(LOOK_SECONDS)
        if listening is not None:
            listening.close()

    def step(self) -> None:
        """Process every running sweep, if anything was committed since the last time."""
        with reading(self.engine) as connection:
            commit = int(connection.execute(text("SELECT value FROM commit_counter")).scalar_one())
            sweeps = store.running_sweeps(connection)
        if commit == self._seen and all(sweep.spec.method != "tpe" for sweep in sweeps):
            return
        for sweep in sweeps:
            try:
                self._process_sweep(sweep)
            except SpecError as error:
                self._settle(sweep, "stopped", f"cannot continue: {error}")
            except (ValueError, KeyError, TypeError) as error:
                # A sweep that cannot be read must not block the others.
                logger.exception("sweep %s cannot continue", sweep.id)
                self._settle(sweep, "stopped", f"cannot continue: {error}")
        self._seen = commit

    def _process_sweep(self, sweep: SweepRecord) -> None:
        spec = sweep.spec
        direction = direction_of(spec.metric, spec.direction)
        with reading(self.engine) as connection:
            runs = store.read_runs(connection, sweep.id, spec.metric, direction)
            workers = list_workers(connection, self.clock(), self.settings.lease_seconds)
        if spec.pruning:
            self._prune(sweep, spec, runs)
        if spec.method == "tpe":
            trials = trials_of(sweep)
            self._search(sweep, spec, trials, runs, trials.slots(workers))
        elif all(run.ended for run in runs):
            self._settle(sweep, "finished")

    def _settle(self, sweep: SweepRecord, status: str, reason: str = "") -> None:
        with writing(self.engine) as connection:
            commit = next_commit(connection)
            done = store.settle_sweep(connection, sweep.id, status, self.clock(), reason)
        if done:
            # Makes the sweep's page update.
            pubsub.publish_commit(self.redis, commit, {}, workers_changed=True)

    # Search ----------------------------------------------------------------------------------------------------------

    def _search(self, sweep: SweepRecord, spec: SweepSpec, trials: Trials, runs: list[SweepRun], slots: int) -> None:
        configurations = _by_configuration(runs)
        open_ones = sum(not all(run.ended for run in members) for members in configurations.values())
        left = spec.configurations - len(configurations)
        wanted = min(math.ceil((slots + 1) / spec.seeds) - open_ones, left)
        if wanted > 0 and not self._has_room(sweep, wanted * spec.seeds):
            return
        planned = self._proposed(spec, trials, configurations, wanted) if wanted > 0 else []
        if not planned and not open_ones and wanted > 0:
            self._settle(sweep, "finished", "every possible configuration has been tried")
        elif not left and not open_ones:
            self._settle(sweep, "finished")
        if not planned:
            return
        self._make(sweep, trials, trials.repeat(planned), len(runs))

    def _has_room(self, sweep: SweepRecord, number: int) -> bool:
        """Whether the sweep's person may queue more runs; who has none queued may, so that no limit ends a search."""
        with reading(self.engine) as connection:
            author = author_of(connection, sweep.id)
            room = read_room(connection, author, self.settings.most_queued) if author else None
        return room is None or not room.queued or room.left >= number

    def _proposed(
        self, spec: SweepSpec, trials: Trials, configurations: dict[str, list[SweepRun]], wanted: int
    ) -> list[PlannedTrial]:
        """Up to ``wanted`` new configurations; fewer if the search proposes too few that are new and can be trained."""
        space = trials.space
        direction = direction_of(spec.metric, spec.direction)
        tried = [self._tried(spec, members) for members in configurations.values()]
        known: set[str] = set(configurations)
        planned: list[PlannedTrial] = []
        refused: SpecError | None = None
        if not any(isinstance(chosen, Range) for chosen in space.values()):
            total = math.prod(len(chosen.choice) for chosen in space.values() if isinstance(chosen, Choice))
            wanted = min(wanted, total - len(known))
        for _ in range(wanted * TRIES):
            values = propose(space, tried, direction, trials.seed, spec.configurations)
            try:
                proposal: PlannedTrial = trials.plan(values)
            except SpecError as error:
                refused = error
                tried.append(Trial(values, failed=True))
                continue
            key = key_of(proposal.values)
            if key in known:
                # Repeat the known result, so that the next proposal is a different point.
                tried.append(next(t for t in tried if key_of(dict(t.values)) == key))
                continue
            known.add(key)
            planned.append(proposal)
            tried.append(Trial(proposal.values))
            if len(planned) == wanted:
                break
        if refused is not None and not known:
            raise refused
        return planned

    def _tried(self, spec: SweepSpec, members: list[SweepRun]) -> Trial:
        values = {name: value for name, value in members[0].values.items() if name != "seed"}
        if not all(run.ended for run in members):
            return Trial(values)
        reached = [run.value for run in members if run.value is not None and run.status == "succeeded"]
        if reached:
            return Trial(values, sum(reached) / len(reached))
        pruned = [run for run in members if run.pruned]
        curves = [self._ended_curves[run.id].values for run in pruned if run.id in self._ended_curves]
        if pruned and not curves:
            last = [run.value for run in pruned if run.value is not None]
            curves = [[sum(last) / len(last)]] if last else []
        return Trial(values, pruned=bool(curves), failed=not curves, epoch_values=curves[0] if curves else ())

    def _make(self, sweep: SweepRecord, trials: Trials, planned: list[PlannedTrial], had: int) -> None:
        with writing(self.engine) as connection:
            record = store.load_sweep(connection, sweep.id)
            # Stopped or extended in the meantime: the next round sees the current state.
            if record is None or record.status != "running" or record.asked != sweep.asked:
                return
            if store.count_runs(connection, [sweep.id])[sweep.id].made != had:
                return
            made = trials.insert(connection, sweep.id, planned, self.clock())
            commit = next_commit(connection)
        pubsub.publish_commit(self.redis, commit, {run: {"status"} for run in made})
        pubsub.wake_workers(self.redis, self.celery, len(made))

    # Pruning ---------------------------------------------------------------------------------------------------------

    def _prune(self, sweep: SweepRecord, spec: SweepSpec, runs: list[SweepRun]) -> None:
        direction = direction_of(spec.metric, spec.direction)
        scripts = bool(sweep.template)
        curves = self._read_curves(runs, scripts)
        stop: dict[str, str] = {}
        # A script may name its dataset at any time, or not at all.
        for comparable in by_dataset(curves, {run.id: "" if scripts else run.dataset for run in runs}):
            stop |= runs_to_prune(spec, direction, comparable, self._passed)
        if not stop:
            return
        grace = self.settings.cancel_seconds + self.settings.lease_seconds
        with writing(self.engine) as connection:
            commit, now = next_commit(connection), self.clock()
            for run, reason in stop.items():
                request_cancel(connection, run, commit, now, grace, reason)
        for run, reason in stop.items():
            logger.info("stopping %s: %s", run, reason)
            pubsub.nudge_cancel(self.redis, run)
        pubsub.publish_commit(self.redis, commit, {run: {"status"} for run in stop})

    def _read_curves(self, runs: list[SweepRun], scripts: bool) -> dict[str, TrainingCurve]:
        """The training curve of each run; those of ended runs are cached, and those of scripts once they are long."""
        names = {run.id: run.metric for run in runs if run.metric is not None and run.id not in self._ended_curves}
        with reading(self.engine) as connection:
            points = read_one_curve_per_run(connection, names, 0)
        curves = {}
        for run in runs:
            if run.id in self._ended_curves:
                curves[run.id] = self._ended_curves[run.id]
            elif run.id in points:
                values = logged_values(points[run.id]) if scripts else points[run.id].values.tolist()
                judged = len(values) < MOST_VALUES if scripts else True
                curve = TrainingCurve(
                    run.id,
                    values,
                    None if scripts else run.epochs,
                    run.status == "running" and judged,
                    run.metric or "",
                )
                curves[run.id] = curve
                if run.ended or not judged:
                    self._ended_curves[run.id] = curve
        return curves


def _by_configuration(runs: list[SweepRun]) -> dict[str, list[SweepRun]]:
    configurations: dict[str, list[SweepRun]] = {}
    for run in runs:
        configurations.setdefault(run.configuration, []).append(run)
    return configurations


def _drain(listening: Any, seconds: float) -> None:
    """Wait up to ``seconds`` for a commit and discard all messages received so far."""
    message = listening.get_message(timeout=seconds)
    while message is not None:
        message = listening.get_message(timeout=0)
