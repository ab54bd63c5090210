"""A run in training, as its supervisor sees it, and the sentences for how its process ended."""

from __future__ import annotations

import logging
import signal
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from app.contract.disk_space import disk_full_reason
from app.contract.events import Outcome, PendingChanges
from worker.job import CANCEL, DISK_FULL_EXIT, INTERRUPT, Control

logger = logging.getLogger("runyard.worker")


@dataclass(eq=False)
class ActiveRun:
    """A run that a slot trains or executes.

    ``delivered``: ids of the changes that its trainer already has. ``executes``: it is a command, which has a process
    group besides its own process.
    """

    run: str
    fence: int
    slot: int
    control: Control
    inbox: Connection
    delivered: set[int] = field(default_factory=set)
    executes: bool = False
    dropped: bool = False
    commanded_at: float | None = None
    kill_reason: str = ""
    outcome: Outcome = "failed"
    out_of_memory: bool = False
    pulse: int = 0
    pulse_at: float = field(default_factory=time.monotonic)

    def command(self, command: int) -> None:
        """Tell the trainer to stop; only the first command counts."""
        if self.control.request(command):
            self.commanded_at = time.monotonic()

    def deliver(self, requested: PendingChanges) -> None:
        """Hand changes to the trainer, each once and in order.

        The pipe has room for all changes that can wait for a run, so this never blocks on a trainer that does not read.
        """
        for change in requested.changes:
            if change.id in self.delivered:
                continue
            try:
                self.inbox.send_bytes(change.model_dump_json().encode())
            except OSError as error:
                logger.info("%s: could not deliver a change; this attempt has already ended (%s)", self.run, error)
                return
            self.delivered.add(change.id)


def out_of_memory_reason(batch_size: int | None) -> str:
    """Why a run failed that the system killed because memory ran out, and what to try; None: of a command."""
    if batch_size is None:
        return "the operating system killed the run because memory ran out"
    advice = f"try batch size {batch_size // 2:,}, or set find_batch" if batch_size > 1 else "try a smaller size"
    return f"the operating system killed the run because memory ran out; {advice}"


def stopped_outcome(command: int) -> Outcome:
    """How a run ended that could not report it: as it was told to, otherwise it failed."""
    outcomes: dict[int, Outcome] = {CANCEL: "cancelled", INTERRUPT: "interrupted"}
    return outcomes.get(command, "failed")


def exit_reason(exitcode: int | None, process: str = "the trainer", full: str = "") -> str:
    """Why a trainer ended without reporting it; ``process``: what to call it, ``full``: a folder without room."""
    if exitcode == DISK_FULL_EXIT or (full and exitcode is not None and exitcode > 0):
        return disk_full_reason(full or "the data folder")
    if exitcode is None:
        return f"{process} ended without an exit code"
    if exitcode == -signal.SIGKILL:
        return f"{process} was killed (signal 9), by a user or because memory ran out"
    if exitcode < 0:
        return f"{process} was killed by signal {-exitcode} ({signal.Signals(-exitcode).name})"
    return f"{process} exited with code {exitcode} without reporting a reason; see the worker's log"
