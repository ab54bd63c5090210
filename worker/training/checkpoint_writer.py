"""Writes checkpoints in a thread, so that training goes on while a disk or an object store takes its time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from app.contract.disk_space import is_disk_full
from worker.reporting.disk_wait import DiskWait

MAX_WAITING = 2
"""Jobs that may wait; each holds a copy of the weights. With more to write than can be written, training waits."""
MAX_HELD = 4
"""The same while a full disk holds all of them back; of what is ``replaced_by`` later ones, only the newest counts."""
RETRY_SECONDS = 0.5


@dataclass(frozen=True, eq=False)
class _Job:
    work: Callable[[], None]
    replaced_by: str


class CheckpointWriter:
    """Runs jobs one after another, in their order. A job that fails ends all later ones; its error is raised here.

    A job that fails because the disk is full is repeated until there is room. When told to stop meanwhile, each job is
    tried once more and then given up. As a context, it waits at the end for all jobs; an error of the block comes
    before one of a job.

    disk: how the training thread waits for room; None: a full disk is an error like any other.
    on_full: called in the writing thread when jobs begin to wait for room (True), and when they go on (False).
    on_hurry: called before the last attempts after a stop. on_given_up: called for each job that is given up.
    """

    def __init__(
        self,
        disk: DiskWait | None = None,
        on_full: Callable[[bool], None] = lambda full: None,
        on_hurry: Callable[[], None] = lambda: None,
        on_given_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._disk = disk
        self._on_full = on_full
        self._on_hurry = on_hurry
        self._on_given_up = on_given_up
        # The first job stays in it while it runs.
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._held = False
        self._hurry = False
        self._closing = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether a job has failed; its error is raised by the next call."""
        return self._error is not None

    @property
    def hurried(self) -> bool:
        """Whether a stop ended the wait for room, so that jobs may have been given up."""
        return self._hurry

    def submit(self, work: Callable[[], None], replaced_by: str = "") -> None:
        """Run a job after those submitted before. Raises what an earlier one raised.

        replaced_by: while the disk is full, a later job with the same word replaces this one.
        """
        self._raise_error()
        job = _Job(work, replaced_by)
        with self._changed:
            if self._held and replaced_by:
                self._jobs = deque(each for each in self._jobs if each.replaced_by != replaced_by)
        self._wait_until(lambda: len(self._jobs) <= (MAX_HELD if self._held else MAX_WAITING))
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until all jobs are done. Raises what one of them raised."""
        self._wait_until(lambda: not self._jobs)
        self._raise_error()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._wait_until(lambda: not self._jobs)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if error is None:
            self._raise_error()

    def _wait_until(self, done: Callable[[], bool]) -> None:
        """Wait in the training thread until ``done()`` or an error; after a stop, no job waits for room any more."""

        def free() -> bool:
            with self._changed:
                return done() or self._error is not None

        with self._changed:
            self._changed.wait_for(lambda: done() or self._error is not None or self._held)
        if self._disk is None or self._disk.until(free):
            return
        with self._changed:
            if not self._hurry:
                self._hurry = True
                self._on_hurry()
                self._changed.notify_all()
            self._changed.wait_for(lambda: done() or self._error is not None)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closing)
                if not self._jobs:
                    return
                job = self._jobs[0]
            self._do(job)
            with self._changed:
                if job in self._jobs:
                    self._jobs.remove(job)
                if self._error is not None:
                    self._jobs.clear()
                self._changed.notify_all()

    def _do(self, job: _Job) -> None:
        while True:
            hurry = self._hurry
            try:
                job.work()
            except BaseException as error:  # raised again in the training thread
                # After one was given up, a later one may miss its file.
                if hurry and isinstance(error, OSError):
                    self._on_given_up()
                    return
                if self._disk is None or not is_disk_full(error):
                    self._error = error
                    return
            else:
                self._hold(False)
                return
            self._hold(True)
            with self._changed:
                self._changed.wait_for(lambda: self._hurry or job not in self._jobs, RETRY_SECONDS)
                if job not in self._jobs:  # replaced by a newer one
                    return

    def _hold(self, held: bool) -> None:
        with self._changed:
            changed, self._held = held != self._held, held
            self._changed.notify_all()
        if changed:
            self._on_full(held)
