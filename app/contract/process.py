"""What every process of Runyard does first: say what it logs, and end with whoever started it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time

PARENT_PIPE = "RUNYARD_PARENT_PIPE"


def log_to_stderr() -> None:
    """Log records go to the standard error stream, with UTC times."""
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)sZ %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("alembic", "celery", "kombu"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def end_with_parent() -> None:
    """Stop in good order when the process that started this one is gone, however it went.

    It holds the other end of a pipe, whose number is in the environment; a process that nobody watches does nothing.
    """
    number = os.environ.pop(PARENT_PIPE, None)
    if number is None:
        return
    os.set_inheritable(int(number), False)

    def wait() -> None:
        os.read(int(number), 1)
        logging.getLogger("runyard").warning("the process that started this one is gone: stopping")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()


def say(text: str) -> None:
    """A line for the person at the terminal."""
    print(text, flush=True, file=sys.stdout)
