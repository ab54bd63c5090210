"""What an upload does when the disk is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.contract.disk_space import is_disk_full
from app.contract.errors import DiskFull


@contextmanager
def disk() -> Iterator[None]:
    """Raise DiskFull instead of the OSError of a full disk."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise DiskFull("the disk is full; free some space and upload again") from error
        raise
