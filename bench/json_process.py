"""A subprocess that answers requests, one line of JSON each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any


class JsonProcess:
    """Starts ``command``; answers are the output lines that begin with @, other output is ignored.

    ``environment`` is added to the environment of this process.
    """

    def __init__(self, *command: str, environment: Mapping[str, str] | None = None) -> None:
        self._command = command
        full_environment = os.environ | (environment or {})
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=full_environment
        )

    def request(self, message: Any) -> Any:
        """Send a message and return the answer. Raises RuntimeError if the process exits instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        raise RuntimeError(f"{' '.join(self._command)} exited with status {self._process.wait()}")

    def close(self) -> None:
        """Close its input and wait for it to exit."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(work: Callable[[Any], Any]) -> None:
    """Answer each message on standard input with ``work(message)``, until the input ends."""
    for line in sys.stdin:
        print("@" + json.dumps(work(json.loads(line))), flush=True)
