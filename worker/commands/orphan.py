"""A command whose watching process was killed in the moment between its start and the note of its number."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import psutil

from worker.process import kill_group

SEARCH_SECONDS = 2.0
"""How long to look for it: a process that has just been forked has its environment only when it executes."""
PAUSE_SECONDS = 0.05


def kill_orphan(run: str, attempt: int, seconds: float = SEARCH_SECONDS) -> bool:
    """Kill the command of an attempt, with its group, by the variables that only it has; False if there is none."""
    until = time.monotonic() + seconds
    while True:
        leaders = [process.pid for process in psutil.process_iter() if _leads(process, run, attempt)]
        for leader in leaders:
            kill_group(leader, signal.SIGKILL)
        if leaders or time.monotonic() > until:
            return bool(leaders)
        time.sleep(PAUSE_SECONDS)


def _leads(process: psutil.Process, run: str, attempt: int) -> bool:
    """Whether a process leads the group of this command."""
    with suppress(psutil.Error, OSError):
        environment = process.environ()
        names = (environment.get("RUNYARD_RUN_ID"), environment.get("RUNYARD_ATTEMPT"))
        return names == (run, str(attempt)) and os.getpgid(process.pid) == process.pid
    return False
