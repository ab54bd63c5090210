"""Environment variables that tune a trainer process before it starts: OpenMP threads and glibc memory."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

SETTINGS: Final = {
    # docs/decisions/0009-openmp-spinning.md
    "GOMP_SPINCOUNT": "1000",
    # docs/decisions/0031-keep-freed-memory.md
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "-1",
}


def prepare(environment: MutableMapping[str, str]) -> None:
    """Add the settings; keep any value that the environment already has."""
    for name, value in SETTINGS.items():
        environment.setdefault(name, value)
