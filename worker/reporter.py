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
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from app.contract.events import Log, LogLine, Points, pack_points
from worker.sender import Sender
from worker.spool import Said

logger = logging.getLogger("runyard.reporter")

Names = tuple[str, ...]


@dataclass(frozen=True)
class _Event:
    kind: str
    body: bytes


class Reporter:
    """Reports one attempt at a run. Use it from any thread; close it at the end."""

    def __init__(self, sender: Sender, flush_seconds: float = 0.05) -> None:
        self._sender = sender
        self._flush_seconds = flush_seconds
        self._said: deque[tuple[Names, int, float, Sequence[Tensor | float]] | _Event] = deque()
        self._sequence = sender.recover()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def points(self, names: Names, step: int, values: Sequence[Tensor | float]) -> None:
        """One value of each metric at ``step``: 0-d tensors on any device, or numbers."""
        self._said.append((names, step, time.time(), values))

    def event(self, kind: str, said: BaseModel) -> None:
        """One of the contract's trainer events; kept in order with the points around it."""
        self._said.append(_Event(kind, said.model_dump_json().encode()))

    def say(self, text: str, level: str = "info") -> None:
        """A line of the run's log."""
        line = LogLine.model_validate({"time": time.time(), "level": level, "text": text.rstrip()})
        self.event("log", Log(lines=[line]))

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
        points: dict[Names, list[tuple[int, float, Sequence[Tensor | float]]]] = {}
        while self._said:
            said = self._said.popleft()
            if isinstance(said, _Event):
                self._put_points(points)
                points = {}
                self._put(said.kind, said.body)
            else:
                names, step, at, values = said
                points.setdefault(names, []).append((step, at, values))
        self._put_points(points)

    def _put_points(self, points: dict[Names, list[tuple[int, float, Sequence[Tensor | float]]]]) -> None:
        if not points:
            return
        base = next(iter(points.values()))[0][1]
        try:
            series = [each for names, rows in points.items() for each in _columns(names, rows, base)]
        except RuntimeError as error:  # of a GPU that failed nothing can be read, but why a run failed can be said
            logger.error("some points are lost: their device does not give them back (%s)", error)
            return
        self._put("metrics", pack_points(base, series))

    def _put(self, kind: str, body: bytes) -> None:
        self._sender.put(Said(self._sequence + 1, kind, body))
        self._sequence += 1


def _columns(names: Names, rows: list[tuple[int, float, Sequence[Tensor | float]]], base: float) -> list[Points]:
    steps = np.array([row[0] for row in rows], "<u4").tobytes()
    offsets = np.array([row[1] - base for row in rows], "<f4").tobytes()
    values = _read_back([value for row in rows for value in row[2]]).reshape(len(rows), len(names))
    return [
        Points(name, len(rows), steps, np.ascontiguousarray(values[:, column]).tobytes(), offsets)
        for column, name in enumerate(names)
    ]


def _read_back(values: list[Tensor | float]) -> np.ndarray:
    """All values as float64; those on a device are read in one copy."""
    if all(isinstance(value, Tensor) for value in values):
        stacked = torch.stack([value.detach().float() for value in values if isinstance(value, Tensor)])
        found: np.ndarray = stacked.double().cpu().numpy().astype("<f8", copy=False)
        return found
    return np.array([float(value) for value in values], "<f8")
