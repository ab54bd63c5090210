"""Runs a program that knows nothing of `runyard up`, and ends it when `runyard up` is gone."""

from __future__ import annotations

import signal
import subprocess
import sys

from app.contract.process import end_with_parent


def main(command: list[str]) -> int:
    """Run ``command`` until it ends or this process is told to stop; returns its exit status."""
    stopping = False
    process: subprocess.Popen[bytes] | None = None

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        if process is not None:
            process.terminate()

    # Installed first, so that an early signal cannot leave the program running.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    end_with_parent()
    process = subprocess.Popen(command)
    if stopping:
        process.terminate()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
