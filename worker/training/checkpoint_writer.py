"""Writes checkpoints in a thread, so that training goes on while a disk or an object store takes its time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

MAX_WAITING = 2
"""Jobs that may wait; each holds a copy of the weights. With more to write than can be written, training waits."""


class CheckpointWriter:
    """Runs jobs one after another, in their order. A job that fails ends all later ones; its error is raised here.

    As a context, it waits at the end for all jobs; an error of the block comes before one of a job.
    """

    def __init__(self) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(MAX_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether a job has failed; its error is raised by the next call."""
        return self._error is not None

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job after those submitted before. Raises what an earlier one raised."""
        self._raise_error()
        self._jobs.put(job)

    def wait(self) -> None:
        """Wait until all jobs are done. Raises what one of them raised."""
        self._jobs.join()
        self._raise_error()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._jobs.put(None)
        self._thread.join()
        if error is None:
            self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if self._error is None:
                    job()
            except BaseException as error:  # raised again in the training thread
                self._error = error
            finally:
                self._jobs.task_done()
        self._jobs.task_done()
