"""How a trainer stands still until there is room on the disk: its supervisor is told, and a stop ends the wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from app.contract.disk_space import is_disk_full
from worker.reporting.spool import Spool

POLL_SECONDS: Final = 0.2


class Supervised(Protocol):
    """What a process shares with its supervisor: worker.job.Control."""

    @property
    def told_to_stop(self) -> bool:
        """Whether it was told to stop."""

    def beat(self) -> None:
        """Signal progress."""

    def set_waiting(self, waiting: bool) -> None:
        """Tell whether it waits for disk space."""


class DiskWait:
    """Waits in the thread that trains."""

    def __init__(self, control: Supervised) -> None:
        self._control = control
        self._never = threading.Event()

    @property
    def told_to_stop(self) -> bool:
        """Whether the trainer was told to stop."""
        return self._control.told_to_stop

    def until(self, done: Callable[[], bool]) -> bool:
        """Wait until ``done()``; False if told to stop before. Not a stall: the pulse goes on."""
        if done():
            return True
        self._control.set_waiting(True)
        try:
            while not done():
                if self.told_to_stop:
                    return False
                self._control.beat()
                self._never.wait(POLL_SECONDS)
        finally:
            self._control.set_waiting(False)
        return True

    def go_on(self) -> bool:
        """Whether to wait a little longer, at the end of a trainer that has more to report; False if told to stop."""
        self._control.set_waiting(not self.told_to_stop)
        self._control.beat()
        return not self.told_to_stop

    def open_spool(self, folder: Path, run: str, fence: int) -> Spool | None:
        """Open a spool as soon as there is room for its files; None if told to stop before."""
        opened: list[Spool] = []

        def attempt() -> bool:
            try:
                opened.append(Spool(folder, run, fence))
            except OSError as error:
                if not is_disk_full(error):
                    raise
                return False
            return True

        return opened[0] if self.until(attempt) else None
