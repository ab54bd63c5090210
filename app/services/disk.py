"""What an upload does when the disk is full."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from app.contract.errors import RunyardError


class DiskFull(RunyardError):
    """There is no space left for an upload."""

    status = 507
    title = "Disk full"


@contextmanager
def disk() -> Iterator[None]:
    """Raise DiskFull instead of the OSError of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("the disk is full; free some space and upload again") from error
        raise
