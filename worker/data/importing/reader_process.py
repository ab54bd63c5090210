"""A process that does the tasks its parent sends, and dies with it; started by `Pool`."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import warnings

from PIL import Image

from worker.data.importing.reader import Done, Reader, ReaderSettings
from worker.data.importing.tasks import Task


def _die_with_parent(parent: int) -> None:
    """Let the system kill this process when its parent dies. Raises SystemExit if that has happened."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(1)


def main() -> None:
    """Receive settings and tasks from stdin until it ends, and answer each with Done, or the OSError it raised."""
    _die_with_parent(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    Image.MAX_IMAGE_PIXELS = None  # `decode` has its own limit
    warnings.filterwarnings("ignore", module="PIL")
    # A decoder's own messages on stdout must not get among the answers.
    source, answer = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    settings: ReaderSettings = pickle.load(source)
    with Reader(settings) as reader:
        pickle.dump(None, answer)  # ready
        answer.flush()
        while True:
            try:
                task: Task = pickle.load(source)
            except EOFError:
                return
            result: Done | OSError
            try:
                result = reader.do(task)
            except OSError as error:
                result = OSError(error.errno, error.strerror, error.filename)
            pickle.dump(result, answer)
            answer.flush()


if __name__ == "__main__":
    main()
