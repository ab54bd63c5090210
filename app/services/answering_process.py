"""A Python process that answers questions of the server which need torch, such as ``python -m app.inspection``.

Questions and answers are JSON objects, one per line. The answer {"fault": "traceback"} reports an unexpected error.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

from app.contract.errors import Unavailable

ANSWER_SECONDS = 60.0


class AnsweringProcess:
    """Starts with the first question and again after it died; used by one thread, closed by any.

    module: run with ``python -m``. title: what messages call it, such as "the network inspection process".
    """

    def __init__(self, module: str, title: str, logger: logging.Logger) -> None:
        self._module = module
        self._title = title
        self._logger = logger
        self._process: subprocess.Popen[str] | None = None
        self._command: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._closed = False

    def start(self, command: tuple[str, ...]) -> subprocess.Popen[str]:
        """The process for ``command``, a version and its arguments; starts a new one if either has changed."""
        with self._lock:
            if self._closed:
                raise Unavailable("the server is shutting down")
            process = self._process
            if process is not None and process.poll() is None and self._command == command:
                return process
            if process is not None:
                _end(process)
            self._process, self._command = self._started(command[1:]), command
            return self._process

    def ask(self, command: tuple[str, ...], question: dict[str, Any]) -> dict[str, Any]:
        """Ask one question. Raises Unavailable if the process exits, does not respond in time, or reports a fault."""
        process = self.start(command)
        assert process.stdin is not None
        assert process.stdout is not None
        expired = threading.Event()

        def give_up() -> None:
            expired.set()
            process.kill()

        late = threading.Timer(ANSWER_SECONDS, give_up)
        late.daemon = True
        late.start()
        try:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (BrokenPipeError, ValueError):
            line = ""  # It ended, or close() ended it.
        finally:
            late.cancel()
        if not line.endswith("\n"):
            process.kill()
            what = f"did not respond within {ANSWER_SECONDS:.0f} s" if expired.is_set() else "exited"
            self._logger.error("%s %s (exit status %s)", self._title, what, process.wait())
            raise Unavailable(f"{self._title} {what}; see the server's log")
        answer: dict[str, Any] = json.loads(line)
        if "fault" in answer:
            self._logger.error("%s failed:\n%s", self._title, answer["fault"])
            raise Unavailable(f"{self._title} failed; see the server's log")
        return answer

    def end(self) -> None:
        """End the process; the next question starts it again."""
        with self._lock:
            if self._process is not None:
                _end(self._process)
            self._process = None

    def close(self) -> None:
        """End the process for good."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                _end(self._process)

    def _started(self, arguments: tuple[str, ...]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", self._module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        threading.Thread(target=self._listen, args=(process,), name="answers-log", daemon=True).start()
        return process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                self._logger.warning("%s", line.rstrip())


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        # A question that came too late may still be in the pipe.
        with suppress(BrokenPipeError):
            if pipe is not None:
                pipe.close()
