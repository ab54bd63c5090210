"""What a trainer says on its way to the recorder: the training step appends, a thread does the rest.

The step's own cost is one append: values stay on the device, and are read, packed, spooled and sent by the flush
thread, all points since the last flush in one entry.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from itertools import chain, compress
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from app.contract.events import Log, LogLine, Points, pack_points
from worker.reporting.sender import Sender
from worker.reporting.spool import Said

logger = logging.getLogger("runyard.reporter")

Names = tuple[str, ...]
Values = Sequence[Tensor | float]
# Of each call: names, step, time and values of points; or None, the kind and the body of an event, and None.
CELLS = 4
REPLACED = 2**53
"""What the recorder says is committed of an attempt that was replaced."""


class Reporter:
    """Reports one attempt at a run. Use it from any thread; close it at the end."""

    def __init__(self, sender: Sender, flush_seconds: float = 0.05) -> None:
        self._sender = sender
        self._flush_seconds = flush_seconds
        # Cell after cell: a tuple kept for each call would be one more thing for Python's garbage collector to look at.
        # Another thread sees all the cells of a call or none, since a deque is extended by a tuple in one go.
        self._said: deque[Any] = deque()
        self._sequence = sender.recover()
        self._checkpoints: deque[int] = deque()
        self._safe_checkpoints = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def points(self, names: Names, step: int, values: Values) -> None:
        """One value of each metric at ``step``: 0-d tensors on any device, or numbers."""
        self._said.extend((names, step, time.time(), values))

    def event(self, kind: str, said: BaseModel) -> None:
        """One of the contract's trainer events; kept in order with the points around it."""
        self._said.extend((None, kind, said.model_dump_json().encode(), None))

    def say(self, text: str, level: str = "info") -> None:
        """A line of the run's log."""
        line = LogLine.model_validate({"time": time.time(), "level": level, "text": text.rstrip()})
        self.event("log", Log(lines=[line]))

    def safe_checkpoints(self) -> int:
        """How many of the checkpoint events are committed; called from the thread that trains alone.

        None of an attempt that was replaced: what it has kept may be what its successor reads.
        """
        committed = self._sender.committed
        if committed >= REPLACED:
            return 0
        while self._checkpoints and self._checkpoints[0] <= committed:
            self._checkpoints.popleft()
            self._safe_checkpoints += 1
        return self._safe_checkpoints

    def close(self, patience_seconds: float) -> bool:
        """Send what is left; True when all of it is committed. What is not stays in the spool for the supervisor."""
        self._closing.set()
        self._thread.join()
        until = time.monotonic() + patience_seconds
        done = False
        while not done and time.monotonic() < until:
            self._collect()
            done = self._sender.push()
            if not done:
                # Nothing can tell this process of the commit but asking again.
                threading.Event().wait(0.01)
        return done

    def _run(self) -> None:
        while not self._closing.wait(self._flush_seconds):
            self._collect_if_possible()
            self._sender.push()
        self._collect_if_possible()

    def _collect_if_possible(self) -> None:
        try:
            self._collect()
        except OSError as error:
            logger.error("some of what was reported is lost: it cannot be kept (%s)", error)

    def _collect(self) -> None:
        take = self._said.popleft
        cells = [take() for _ in range(len(self._said))]
        done = 0
        try:
            for at in [CELLS * call for call, names in enumerate(cells[::CELLS]) if names is None]:
                points, done = cells[done:at], at
                self._put_points(points)
                done = at + CELLS
                self._put(cells[at + 1], cells[at + 2])
            points, done = cells[done:], len(cells)
            self._put_points(points)
        except OSError:
            self._said.extendleft(reversed(cells[done:]))  # what could not be kept is lost, not what follows it
            raise

    def _put_points(self, cells: list[Any]) -> None:
        if not cells:
            return
        base = cells[2]
        try:
            body = pack_points(base, _series(cells, base))
        except RuntimeError as error:  # of a GPU that failed nothing can be read, but why a run failed can be said
            logger.error("some points are lost: their device does not give them back (%s)", error)
            return
        self._put("metrics", body)

    def _put(self, kind: str, body: bytes) -> None:
        self._sender.put(Said(self._sequence + 1, kind, body))
        self._sequence += 1
        if kind == "checkpoint":
            self._checkpoints.append(self._sequence)


def _series(cells: list[Any], base: float) -> list[Points]:
    """Points of each metric; times are told from ``base`` on."""
    names: list[Names] = cells[::CELLS]
    found: list[Points] = []
    for these in dict.fromkeys(names):
        mine = [each == these for each in names]
        steps, times, values = (list(compress(cells[at::CELLS], mine)) for at in range(1, CELLS))
        packed = np.array(steps, "<u4").tobytes()
        offsets = (np.array(times) - base).astype("<f4").tobytes()
        columns = _read_back(list(chain.from_iterable(values))).reshape(len(steps), len(these)).T
        found += [
            Points(name, len(steps), packed, column.tobytes(), offsets)
            for name, column in zip(these, columns, strict=True)
        ]
    return found


def _read_back(values: Values) -> np.ndarray:
    """All values as float64; those on a device are read in one copy."""
    if not any(issubclass(kind, Tensor) for kind in set(map(type, values))):
        return np.array(values, "<f8")
    far = [isinstance(value, Tensor) and not value.is_cpu for value in values]
    if any(far):
        values = _fetched(values, far)
    # A stack of the CPU's own tensors would cost several times as much.
    return np.array([value.item() if isinstance(value, Tensor) else value for value in values], "<f8")


def _fetched(values: Values, far: list[bool]) -> list[Tensor | float]:
    """The same values, those that are ``far`` as numbers."""
    with torch.no_grad():
        stacked = torch.stack([value.float() for value in compress(values, far) if isinstance(value, Tensor)])
    copied = iter(stacked.cpu().tolist())
    return [next(copied) if away else value for value, away in zip(values, far, strict=True)]
