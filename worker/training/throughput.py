"""Measures how fast a run trains and estimates the time left."""

from __future__ import annotations

import time

PROGRESS_SECONDS = 0.5


class Throughput:
    """Throughput: samples per second while training, and seconds per step including everything in between."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._began: float | None = None
        self._first_step = 0
        self._mark = 0.0
        self._mark_step = 0
        self._speed: float | None = None

    def restart(self, step: int) -> None:
        """Start an epoch: the time since the last measurement was not spent training."""
        now = time.monotonic()
        if self._began is None:
            self._began, self._first_step = now, step
        self._mark, self._mark_step = now, step

    def due(self) -> bool:
        return time.monotonic() - self._mark > PROGRESS_SECONDS

    def measure(self, step: int) -> float | None:
        """Samples per second since the last measurement, smoothed over a few."""
        now = time.monotonic()
        if step > self._mark_step and now > self._mark:
            fresh = (step - self._mark_step) * self._batch_size / (now - self._mark)
            self._speed = fresh if self._speed is None else 0.5 * self._speed + 0.5 * fresh
            self._mark, self._mark_step = now, step
        self._latest = step
        return self._speed

    def seconds_left(self, steps: int) -> float | None:
        """Estimated seconds for ``steps`` more steps, at the average so far, validation included."""
        done = self._latest - self._first_step
        if self._began is None or done <= 0:
            return None
        return (time.monotonic() - self._began) / done * steps
