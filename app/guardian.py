"""Stands between `runyard up` and a program that knows nothing of it; ends the program when `runyard up` is gone."""

from __future__ import annotations

import signal
import subprocess
import sys

from app.contract.process import end_with_parent


def main(command: list[str]) -> int:
    """Run ``command`` until it ends or this process is told to; returns its exit status."""
    end_with_parent()
    process = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: process.terminate())
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
