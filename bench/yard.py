"""A Runyard to measure: `runyard up` on a free port, in a temporary folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

LOOKED_SECONDS = 0.5


class Yard:
    """Started on entering, stopped on leaving; ``address`` is where it listens.

    environment: settings of its own, such as ``RUNYARD_DEVICE="cpu"``.
    """

    def __init__(self, **environment: str) -> None:
        self.environment = environment

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
        words = [sys.executable, "-m", "app.cli", "up", "--port", "0", "--data-dir", str(self.folder / "data")]
        self.output = self.folder / "up.out"
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                words, stdout=output, stderr=output, start_new_session=True, env=os.environ | self.environment
            )
        self.address = self._said(r"Open (http://\S+)")
        self._said(r"(Worker ready)")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _said(self, pattern: str) -> str:
        until = time.monotonic() + 90
        while time.monotonic() < until:
            found = re.search(pattern, self.output.read_text())
            if found:
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"Runyard did not start:\n{self.output.read_text()}")

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.folder / "data"

    @property
    def redis_url(self) -> str:
        """Address of its Redis."""
        return f"unix://{self.data}/redis/redis.sock"

    def part(self, name: str) -> psutil.Process:
        """The process of one of its parts: "server", "recorder". Raises StopIteration where there is none."""
        parts = psutil.Process(self.process.pid).children()
        return next(each for each in parts if name in each.cmdline())

    def trainer(self) -> psutil.Process:
        """The process that trains at present: of all that lead a group of their own the one that is busy now.

        Not the one that has been: what they are forked from has imported torch.
        """
        below = psutil.Process(self.process.pid).children(recursive=True)
        before = {each: cpu_seconds_of(each) for each in below if os.getpgid(each.pid) == each.pid}
        time.sleep(LOOKED_SECONDS)
        return max(before, key=lambda each: cpu_seconds_of(each) - before[each])

    def call(self, path: str, body: Any = None) -> Any:
        """An answer of the API."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{self.address}/api/v1{path}", data, headers)) as answer:
            return json.load(answer)

    def wait(self, run: str, *statuses: str) -> dict[str, Any]:
        """The run, once it has one of these statuses."""
        while True:
            found: dict[str, Any] = self.call(f"/runs/{run}")
            if found["status"] in statuses:
                return found
            if found["status"] == "failed":
                raise RuntimeError(found["reason"])
            time.sleep(0.02)


def cpu_seconds_of(process: psutil.Process) -> float:
    """CPU time of a process and its threads so far."""
    times = process.cpu_times()
    return float(times.user + times.system)
