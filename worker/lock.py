"""A lock between processes that can be asked for without waiting."""

import fcntl
from typing import IO, Any, Final

LOOK_SECONDS: Final = 0.1
"""How often one that is taken is asked for again: a wait in the system could neither be told of nor stopped."""


def locked(file: IO[Any]) -> bool:
    """Whether this open file is now locked by this process; closing it gives the lock back, and so does its end."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
