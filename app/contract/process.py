"""Startup of every Runyard process: logging to stderr, and stopping when the parent process ends."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PARENT_PIPE = "RUNYARD_PARENT_PIPE"


def log_to_stderr() -> None:
    """Send log records to standard error, with UTC times."""
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)sZ %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("alembic", "celery", "kombu"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def end_with_parent() -> None:
    """Shut down cleanly when the parent process ends, for whatever reason.

    The parent keeps the other end of a pipe open; the environment names the pipe. Without one, do nothing.
    """
    number = os.environ.pop(PARENT_PIPE, None)
    if number is None:
        return
    os.set_inheritable(int(number), False)

    def wait() -> None:
        os.read(int(number), 1)
        logging.getLogger("runyard").warning("stopping because the parent process has ended")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()


@contextmanager
def imports_without_gc() -> Iterator[None]:
    """Import modules without collecting garbage, which would take a fifth of the time; nothing they create is garbage.

    What exists at the end is permanent: later collections skip it, and forked processes share its memory.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def say(text: str) -> None:
    """Print a line for the user at the terminal."""
    print(text, flush=True, file=sys.stdout)
