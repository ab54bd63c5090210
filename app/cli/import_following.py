"""`runyard import --follow`: watches folders of event files, and sends what is new while they grow."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from app.cli.client import warn
from app.cli.event_runs import EventRun, find_event_files, run_name

if TYPE_CHECKING:
    from runyard import Runyard, RunyardError

POLL_SECONDS: Final = 0.25
SCAN_SECONDS: Final = 1.0
BUSY_SHARE: Final = 10
"""Between two looks, it rests this many times as long as a look at many files takes."""
LONGEST_PAUSE: Final = 2.0
TEMPORARY: Final = (0, 408, 425, 429, 500, 502, 503, 504)
"""Statuses of a server that may accept the same later; 0: it does not respond."""


class _Followed:
    """A run that is followed. ``changed_at``: when it last grew, in seconds since 1970."""

    def __init__(self, run: EventRun) -> None:
        self.run = run
        self.changed_at = 0.0
        self.announced = ""
        self.ended = self.dropped = False


class Follower:
    """Follows a folder: imports what is there, and then what is added, until it is interrupted."""

    def __init__(self, yard: Runyard, path: Path, experiment: str, idle_seconds: float) -> None:
        """``idle_seconds``: a run ends when its files have not changed for this long."""
        self._yard, self._path, self._experiment, self._idle = yard, path, experiment, idle_seconds
        self._runs: dict[Path, _Followed] = {}
        self._away = False
        self._scan_at = 0.0

    def follow(self) -> None:
        """Follow until Ctrl-C or SIGTERM, then end the runs."""
        with _interruptible() as interruption:
            self._scan()
            if not self._runs:
                print(f"No event files in {self._path} yet; waiting for them. Ctrl-C ends this.", flush=True)
            while not interruption.requested:
                began = time.monotonic()
                if not self.step():
                    again = time.monotonic() + self._pause(time.monotonic() - began)
                    while not interruption.requested and (left := again - time.monotonic()) > 0:
                        time.sleep(min(left, POLL_SECONDS))
            self.finish()

    def _pause(self, took: float) -> float:
        return LONGEST_PAUSE if self._away else min(LONGEST_PAUSE, max(POLL_SECONDS, BUSY_SHARE * took))

    def step(self) -> bool:
        """Send one part of each run that has something new; whether there was any."""
        if time.monotonic() >= self._scan_at:
            began = time.monotonic()
            self._scan()
            self._scan_at = time.monotonic() + max(SCAN_SECONDS, BUSY_SHARE * (time.monotonic() - began))
        changed = False
        for followed in self._runs.values():
            if not followed.dropped:
                changed |= self._try(followed)
            if self._away:
                break
        return changed

    def _scan(self) -> None:
        for folder, files in find_event_files(self._path).items():
            followed = self._runs.get(folder)
            if followed is None:
                run = EventRun(folder, run_name(self._path, folder), self._experiment, growing=True)
                followed = self._runs[folder] = _Followed(run)
            if new := [file for file in files if file not in followed.run.files]:
                followed.run.add_files(new)

    def _try(self, followed: _Followed) -> bool:
        from runyard import RunyardError

        try:
            changed = self._advance(followed)
        except RunyardError as error:
            self._failed(followed, error)
            return False
        finally:
            for sentence in followed.run.warnings:
                warn(sentence)
            followed.run.warnings.clear()
        return changed

    def _advance(self, followed: _Followed) -> bool:
        run = followed.run
        if run.advance(self._yard):
            followed.changed_at, followed.ended = max(map(_modified, run.files)), False
            self._answered()
            if run.sent.id != followed.announced:
                followed.announced = run.sent.id
                print(f"{run.name}  {self._yard.url}{run.sent.url}", flush=True)
            if run.sent.status == "cancelled":
                self._drop(followed, "it was stopped")
            return True
        if run.sent.id and not followed.ended and time.time() - followed.changed_at > self._idle:
            self._end(followed)
        return False

    def _end(self, followed: _Followed) -> None:
        followed.run.end(self._yard)
        followed.ended = True
        print(f"{followed.run.name}  ended with {followed.run.sent}", flush=True)
        for sentence in followed.run.skipped():
            warn(sentence)

    def _failed(self, followed: _Followed, error: RunyardError) -> None:
        if error.status not in TEMPORARY:
            self._drop(followed, error.detail)
        elif not self._away:
            self._away = True
            warn(f"{self._yard.url} does not respond; trying again until it does")

    def _answered(self) -> None:
        if self._away:
            self._away = False
            warn(f"{self._yard.url} responds again")

    def _drop(self, followed: _Followed, why: str) -> None:
        followed.dropped = True
        warn(f"{followed.run.name} is not followed any further: {why}")

    def finish(self) -> None:
        """Send what is left, and end the runs. A second interruption ends this too."""
        from runyard import RunyardError

        try:
            while self.step():
                pass
            for followed in self._runs.values():
                if followed.run.sent.id and not followed.ended and not followed.dropped:
                    self._end(followed)
        except RunyardError as error:
            warn(f"the runs could not be ended: {error.detail}; follow or import {self._path} again to end them")


def _modified(file: Path) -> float:
    try:
        return min(time.time(), file.stat().st_mtime)
    except FileNotFoundError:
        return 0.0


class _Interruption:
    """Notes the first signal, and raises KeyboardInterrupt at the second.

    An exception at the first could be raised inside a callback of the interpreter, which ignores it, or of a library.
    """

    def __init__(self) -> None:
        self.requested = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def _interruptible() -> Iterator[_Interruption]:
    """Ctrl-C and SIGTERM are noted."""
    interruption = _Interruption()
    before = {number: signal.signal(number, interruption) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
