"""Processes of a run: environment variables that tune one before it starts, and signals to a whole group."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final

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


def prepare(environment: MutableMapping[str, str]) -> None:
    """Add the settings; keep any value that the environment already has."""
    for name, value in SETTINGS.items():
        environment.setdefault(name, value)


def kill_group(group: int, number: int) -> None:
    """Send a signal to a process group, if it still exists."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
