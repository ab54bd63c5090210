"""Does tasks in several reader processes at once, each of which receives one task at a time.

A reader that dies of an image, such as one for which the system has no memory, is replaced, and the image skipped. The
readers die with this process, however it ends.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import numpy as np

from worker.data.importing.errors import ImportFailed
from worker.data.importing.reader import FOUND, Done, Reader, ReaderSettings
from worker.data.importing.skipped import KINDS
from worker.data.importing.tasks import Task

_TICK_SECONDS: Final = 0.1
_ROOT: Final = Path(__file__).parents[3]
"""Folder with the package ``worker``."""
_MOST_DEATHS: Final = 100
"""Deaths of readers after which it is not the images that kill them."""


class _Died(Exception):
    """A reader ended before its work was done."""


class _Child:
    """A reader process."""

    def __init__(self, settings: ReaderSettings) -> None:
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        # Every core already has its own process.
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "worker.data.importing.reader_process", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self._settings = settings
        self._ready = False

    def do(self, task: Task) -> Done:
        """Raises OSError as `Reader.do`, _Died."""
        if not self._ready:
            self._send(self._settings)
            self._receive()
            self._ready = True
        self._send(task)
        result = self._receive()
        if isinstance(result, OSError):
            raise result
        assert isinstance(result, Done)
        return result

    def _send(self, what: object) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(what, self._process.stdin, pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise _Died from error

    def _receive(self) -> object:
        assert self._process.stdout is not None
        try:
            return pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError) as error:
            raise _Died from error

    @property
    def was_ready(self) -> bool:
        """Whether it has ever answered."""
        return self._ready

    def kill(self) -> None:
        """End the process, and whatever waits for it."""
        self._process.kill()

    def close(self) -> None:
        """Kill the process and close its pipes."""
        self._process.kill()
        self._process.communicate()  # unlike close(), ignores bytes that the process no longer reads


class Pool:
    """Readers, started when they are needed."""

    def __init__(self, settings: ReaderSettings, processes: int) -> None:
        self._settings = settings
        self._processes = processes
        self._children: list[_Child] = []
        self._free: SimpleQueue[_Child] = SimpleQueue()
        self._deaths = 0
        self._closing = False

    def do(self, tasks: Iterator[Task], tick: Callable[[], None]) -> Generator[Done, None, None]:
        """Do all tasks, in any order; at most two for each process are taken from the iterator in advance.

        tick: called several times a second; whatever it raises ends the work. Raises ImportFailed, and OSError as
        `Reader.do` does.
        """
        if self._processes == 0:
            with Reader(self._settings) as reader:
                for task in tasks:
                    yield reader.do(task)
                    tick()
            return
        with ExitStack() as stack:
            # Callbacks run in reverse order: children are killed, so the threads waiting for them end, so that nobody
            # uses their pipes when these are closed.
            stack.callback(self._close)
            executor = stack.enter_context(ThreadPoolExecutor(self._processes))
            stack.callback(self._kill)
            stack.callback(executor.shutdown, wait=False, cancel_futures=True)
            pending: set[Future[list[Done]]] = set()
            for task in tasks:
                self._start()
                pending.add(executor.submit(self._do, task))
                while len(pending) >= 2 * self._processes:
                    yield from _finished(pending)
                    tick()
            while pending:
                yield from _finished(pending)
                tick()

    def _start(self) -> None:
        if len(self._children) < self._processes:
            self._add()

    def _add(self) -> None:
        # The system kills a child when the thread that started it ends; these threads end after the work.
        child = _Child(self._settings)
        self._children.append(child)
        self._free.put(child)

    def _do(self, task: Task) -> list[Done]:
        child = self._free.get()
        try:
            done = [child.do(task)]
        except _Died:
            self._replace(child)
        except BaseException:
            self._free.put(child)
            raise
        else:
            self._free.put(child)
            return done
        singles = task.single()
        if len(singles) == 1:
            return [_deadly(task)]
        return [each for single in singles for each in self._do(single)]

    def _replace(self, child: _Child) -> None:
        self._deaths += 1
        if self._closing or not child.was_ready or self._deaths > _MOST_DEATHS:
            self._free.put(child)
            raise ImportFailed("the processes that read the images cannot run on this machine; see the worker's log")
        child.close()
        self._children.remove(child)
        self._add()

    def _kill(self) -> None:
        self._closing = True
        for child in self._children.copy():
            child.kill()

    def _close(self) -> None:
        for child in self._children:
            child.close()


def _finished(pending: set[Future[list[Done]]]) -> Iterator[Done]:
    done, _ = wait(pending, timeout=_TICK_SECONDS, return_when=FIRST_COMPLETED)
    pending -= done
    for future in done:
        yield from future.result()


def _deadly(task: Task) -> Done:
    found = np.zeros(1, FOUND)
    found["row"] = task.rows
    found["skipped"] = 1 + KINDS.index("unreadable")
    return Done(found, {task.rows[0]: "crashes the image decoder"})
