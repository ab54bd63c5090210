"""A process that answers questions, a line of JSON for a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any


class Asked:
    """Started with ``words``; its answers are the lines of its output that begin with @, all else is passed over.

    ``environment``: what it is told beside this process's own.
    """

    def __init__(self, *words: str, environment: Mapping[str, str] | None = None) -> None:
        self._words = words
        told = os.environ | (environment or {})
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=told)

    def ask(self, question: Any) -> Any:
        """The answer. Raises RuntimeError when the process has ended instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        raise RuntimeError(f"{' '.join(self._words)} ended with status {self._process.wait()}")

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def answer(work: Callable[[Any], Any]) -> None:
    """The other side: answer each question with what ``work`` makes of it, until there are no more."""
    for line in sys.stdin:
        print("@" + json.dumps(work(json.loads(line))), flush=True)
