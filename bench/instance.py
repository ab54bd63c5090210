"""A Runyard instance to measure: `runyard up` on a free port, in a temporary folder."""

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

SAMPLE_SECONDS = 0.5


class Instance:
    """Starts on entry and stops on exit; ``address`` is where it listens.

    ``environment`` has additional settings, such as ``RUNYARD_DEVICE="cpu"``.
    """

    def __init__(self, **environment: str) -> None:
        self.environment = environment

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
        command = [sys.executable, "-m", "app.cli", "up", "--port", "0", "--data-dir", str(self.folder / "data")]
        self.output = self.folder / "up.out"
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, start_new_session=True, env=os.environ | self.environment
            )
        self.address = self._wait_for_output(r"Open (http://\S+)")
        self._wait_for_output(r"(Worker ready)")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait_for_output(self, pattern: str) -> str:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            match = re.search(pattern, self.output.read_text())
            if match:
                return match[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"Runyard did not start:\n{self.output.read_text()}")

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def redis_url(self) -> str:
        """The address of Redis."""
        return f"unix://{self.data}/redis/redis.sock"

    def part(self, name: str) -> psutil.Process:
        """The process of a part, such as "server" or "recorder". Raises StopIteration if there is none."""
        parts = psutil.Process(self.process.pid).children()
        return next(each for each in parts if name in each.cmdline())

    def trainer(self) -> psutil.Process:
        """The training process: the process group leader that uses the most CPU right now.

        Total CPU time would not do: the fork server has used some to import torch.
        """
        descendants = psutil.Process(self.process.pid).children(recursive=True)
        before = {process: cpu_seconds_of(process) for process in descendants if os.getpgid(process.pid) == process.pid}
        time.sleep(SAMPLE_SECONDS)
        return max(before, key=lambda process: cpu_seconds_of(process) - before[process])

    def call(self, path: str, body: Any = None) -> Any:
        """Send a request to the API and return the answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{self.address}/api/v1{path}", data, headers)) as answer:
            return json.load(answer)

    def wait(self, run: str, *statuses: str, pause: float = 0.02) -> dict[str, Any]:
        """Wait until a run has one of these statuses and return it; asks every ``pause`` seconds."""
        while True:
            current: dict[str, Any] = self.call(f"/runs/{run}")
            if current["status"] in statuses:
                return current
            if current["status"] == "failed":
                raise RuntimeError(current["reason"])
            time.sleep(pause)


def cpu_seconds_of(process: psutil.Process) -> float:
    """CPU time of a process and its threads so far."""
    times = process.cpu_times()
    return float(times.user + times.system)
