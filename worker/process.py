"""Environment variables that tune a trainer process before it starts: OpenMP threads and glibc memory."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

SETTINGS: Final = {
    # docs/decisions/0009-threads-that-do-not-spin.md
    "GOMP_SPINCOUNT": "1000",
    # docs/decisions/0031-a-trainer-keeps-the-memory-it-had.md
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "-1",
}


def prepare(environment: MutableMapping[str, str]) -> None:
    """Add the settings; keep any value that the environment already has."""
    for name, value in SETTINGS.items():
        environment.setdefault(name, value)
