"""Startup of every Runyard process: logging to stderr, and stopping when the parent process ends."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app.contract.logs import formatter

PARENT_PIPE = "RUNYARD_PARENT_PIPE"


def log_to_stderr(log_format: str = "plain") -> None:
    """Send log records to standard error, as RUNYARD_LOG_FORMAT says."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(log_format))
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


def leave_forbidden_folder() -> None:
    """Go to ``/`` if this user may not enter the current folder, such as the home of who ran ``sudo -u``.

    Processes of multiprocessing enter their parent's folder, and would fail.
    """
    try:
        os.chdir(".")
    except PermissionError:
        os.chdir("/")


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
