"""Reports what a trainer measures and logs: the training step appends, a thread does the rest.

A step only pays for one append: values stay on the device, and the flush thread reads, packs, spools and sends them,
all points since the last flush in one entry.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain, compress
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from app.contract.disk_space import is_disk_full
from app.contract.events import Log, LogLine, Points, pack_points
from app.contract.packed_steps import pack_steps
from worker.reporting.sender import Sender
from worker.reporting.spool import SpoolEntry

logger = logging.getLogger("runyard.reporter")

Names = tuple[str, ...]
Values = Sequence[Tensor | float]
# Each call adds names, step, time and values of points; or None, the kind and the body of an event, and None.
CELLS = 4
REPLACED = 2**53
"""The sequence number that the recorder reports as committed for an attempt that was replaced."""


class Reporter:
    """Reports one attempt at a run. Use it from any thread; close it at the end."""

    def __init__(self, sender: Sender, flush_seconds: float = 0.05) -> None:
        self._sender = sender
        self._flush_seconds = flush_seconds
        # A flat sequence of cells: a tuple per call would give Python's garbage collector one more object to visit.
        # Other threads see all cells of a call or none, since extending a deque by a tuple is atomic.
        self._cells: deque[Any] = deque()
        self._sequence = sender.recover()
        self._checkpoints: deque[int] = deque()
        self._committed_checkpoints = 0
        self.full = False
        """Whether the disk has no room for what was reported, which waits in memory: report no more until it has."""
        self._spooled = True
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def points(self, names: Names, step: int, values: Values) -> None:
        """Report one value of each metric at ``step``: 0-d tensors on any device, or numbers."""
        self._cells.extend((names, step, time.time(), values))

    def event(self, kind: str, body: BaseModel) -> None:
        """Report one of the contract's trainer events, in order with the points around it."""
        self._cells.extend((None, kind, body.model_dump_json().encode(), None))

    def log(self, text: str, level: str = "info") -> None:
        """Add a line to the run's log."""
        line = LogLine.model_validate({"time": time.time(), "level": level, "text": text.rstrip()})
        self.event("log", Log(lines=[line]))

    def committed_checkpoints(self) -> int:
        """How many checkpoint events are committed; called from one thread only.

        Zero for an attempt that was replaced: its successor may be reading the checkpoints.
        """
        committed = self._sender.committed
        if committed >= REPLACED:
            return 0
        while self._checkpoints and self._checkpoints[0] <= committed:
            self._checkpoints.popleft()
            self._committed_checkpoints += 1
        return self._committed_checkpoints

    def close(self, patience_seconds: float, wait_for_room: Callable[[], bool] = lambda: False) -> bool:
        """Send the remaining entries; True when all are committed. The rest stays in the spool for the supervisor.

        wait_for_room: called while the disk is full; as soon as it returns False, what has no room on the disk is only
        sent. If that is not committed in time, it is lost, and ``full`` stays True.
        """
        self._closing.set()
        self._thread.join()
        until = time.monotonic() + patience_seconds
        done = False
        while not done and time.monotonic() < until:
            self._collect_if_possible()
            if self.full:
                self._spooled = wait_for_room()
                until = time.monotonic() + patience_seconds
            done = self._sender.push() and not self._cells
            if not done:
                # This process learns of a commit only by polling.
                threading.Event().wait(0.01)
        self.full = not done and not self._spooled
        return done

    def _run(self) -> None:
        while not self._closing.wait(self._flush_seconds):
            self._collect_if_possible()
            self._sender.push()
        self._collect_if_possible()

    def _collect_if_possible(self) -> None:
        try:
            self._collect()
            self.full = False
        except OSError as error:
            if not is_disk_full(error):
                logger.error("lost some reports that could not be written to disk (%s)", error)
            elif not self.full:
                self.full = True
                logger.warning("the disk is full; waiting for room for reports")

    def _collect(self) -> None:
        take = self._cells.popleft
        cells = [take() for _ in range(len(self._cells))]
        done = tried = 0
        try:
            for at in [CELLS * call for call, names in enumerate(cells[::CELLS]) if names is None]:
                done, tried = tried, at
                self._put_points(cells[done:at])
                done, tried = at, at + CELLS
                self._put(cells[at + 1], cells[at + 2])
            done, tried = tried, len(cells)
            self._put_points(cells[done:])
        except OSError as error:
            # What a full disk did not take is tried again; otherwise, only the entry that failed is lost.
            self._cells.extendleft(reversed(cells[done if is_disk_full(error) else tried :]))
            raise

    def _put_points(self, cells: list[Any]) -> None:
        if not cells:
            return
        base = cells[2]
        try:
            body = pack_points(base, _series(cells, base))
        except RuntimeError as error:  # a GPU that failed returns nothing, but the reason can still be reported
            logger.error("lost some points that could not be read from the device (%s)", error)
            return
        self._put("metrics", body)

    def _put(self, kind: str, body: bytes) -> None:
        put = self._sender.put if self._spooled else self._sender.put_unspooled
        put(SpoolEntry(self._sequence + 1, kind, body))
        self._sequence += 1
        if kind == "checkpoint":
            self._checkpoints.append(self._sequence)


def _series(cells: list[Any], base: float) -> list[Points]:
    """The points of each metric; times are relative to ``base``."""
    names: list[Names] = cells[::CELLS]
    series: list[Points] = []
    for group in dict.fromkeys(names):
        matching = [other == group for other in names]
        steps, times, values = (list(compress(cells[at::CELLS], matching)) for at in range(1, CELLS))
        packed = pack_steps(np.array(steps, np.int64), min(steps), max(steps))
        offsets = (np.array(times) - base).astype("<f4").tobytes()
        columns = _read_back(list(chain.from_iterable(values))).reshape(len(steps), len(group)).T
        series += [
            Points(name, len(steps), packed, column.tobytes(), offsets)
            for name, column in zip(group, columns, strict=True)
        ]
    return series


def _read_back(values: Values) -> np.ndarray:
    """Read all values as float64, those on a device in one copy."""
    if not any(issubclass(kind, Tensor) for kind in set(map(type, values))):
        return np.array(values, "<f8")
    on_device = [isinstance(value, Tensor) and not value.is_cpu for value in values]
    if any(on_device):
        values = _fetched(values, on_device)
    # Stacking CPU tensors would cost several times as much.
    return np.array([value.item() if isinstance(value, Tensor) else value for value in values], "<f8")


def _fetched(values: Values, on_device: list[bool]) -> list[Tensor | float]:
    """The same values, with those that are ``on_device`` as numbers."""
    with torch.no_grad():
        stacked = torch.stack([value.float() for value in compress(values, on_device) if isinstance(value, Tensor)])
    copied = iter(stacked.cpu().tolist())
    return [next(copied) if remote else value for value, remote in zip(values, on_device, strict=True)]
