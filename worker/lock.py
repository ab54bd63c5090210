"""A file lock between processes, taken without blocking."""

import fcntl
from typing import IO, Any, Final

POLL_SECONDS: Final = 0.1
"""How often to retry a lock that is taken: a blocking wait could neither be reported nor stopped."""


def try_lock(file: IO[Any]) -> bool:
    """Lock this open file and return True, or False if another process has it; closing the file unlocks it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
