"""Processes of a run: environment variables that tune one before it starts, and signals to a whole group."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final

import psutil

SETTINGS: Final = {
    # docs/decisions/0009-openmp-spinning.md
    "GOMP_SPINCOUNT": "1000",
    # docs/decisions/0031-keep-freed-memory.md
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "-1",
    # scikit-learn imports pandas, and pandas pyarrow, where they are installed. The memory allocator of pyarrow would
    # start a thread in the process from which trainers are forked.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}

SEARCH_SECONDS: Final = 2.0
"""How long to look for a command: one that has just been forked has its environment only when it executes."""
PAUSE_SECONDS: Final = 0.05


def prepare(environment: MutableMapping[str, str]) -> None:
    """Add the settings; keep any value that the environment already has."""
    for name, value in SETTINGS.items():
        environment.setdefault(name, value)


def kill_group(group: int, number: int) -> None:
    """Send a signal to a process group, if it still exists."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def kill_orphan(run: str, attempt: int, seconds: float = SEARCH_SECONDS) -> bool:
    """Kill the command of an attempt whose watching process was killed before it could say which process that is.

    Found by the variables that only it has, and killed with its group; False if there is none.
    """
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
