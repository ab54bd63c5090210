"""A whole Runyard for tests: `runyard up` with a real Redis, server, recorder, worker and trainers."""

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
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]


class RunningYard:
    """`runyard up` in a process of its own, on a free port, with its data in a short temporary folder."""

    def __init__(self, folder: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.output = folder / "up.out"
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "up", "--port", "0", "--data-dir", str(folder / "data"), *options],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        self.address = str(self.until(self._address, 60))

    def _address(self) -> str | None:
        assert self.process.poll() is None, self.output.read_text()
        found = re.search(r"Open (http://\S+)", self.output.read_text())
        return found[1] if found else None

    def until(self, condition: Callable[[], Any], seconds: float = 30.0) -> Any:
        """What ``condition`` gives as soon as that is true; fails with the yard's output after ``seconds``."""
        until = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < until, f"not within {seconds} s\n{self.words()}"
            time.sleep(0.02)
        return found

    def words(self) -> str:
        """What the yard said, and the end of every log."""
        logs = sorted((self.folder / "data" / "logs").glob("*.log"))
        return self.output.read_text() + "".join(f"\n== {log.name}\n{log.read_text()[-1500:]}" for log in logs)

    def call(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """An answer of the API as JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.address}/api/v1{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def try_call(self, path: str) -> Any:
        """The same, or None while the server does not answer."""
        try:
            return self.call(path)
        except (urllib.error.URLError, OSError):
            return None

    def launch(self, **spec: Any) -> str:
        """The id of a new run."""
        return str(self.call("/runs", spec)["id"])

    def wait_for(self, run: str, *statuses: str, seconds: float = 60.0) -> dict[str, Any]:
        """The run, as soon as it has one of these statuses."""

        def reached() -> dict[str, Any] | None:
            found: dict[str, Any] | None = self.try_call(f"/runs/{run}")
            if found and found["status"] == "failed" and "failed" not in statuses:
                raise AssertionError(f"{found['reason']}\n{self.words()}")
            return found if found and found["status"] in statuses else None

        found: dict[str, Any] = self.until(reached, seconds)
        return found

    def wait_for_step(self, run: str, step: int, seconds: float = 60.0) -> None:
        """Until the run has made so many steps."""

        def reached() -> bool:
            found = self.try_call(f"/runs/{run}")
            return bool(found) and found["progress"].get("step", 0) >= step

        self.until(reached, seconds)

    def wait_for_worker(self, seconds: float = 60.0) -> dict[str, Any]:
        """The first worker, as soon as there is one."""

        def connected() -> dict[str, Any] | None:
            found = self.try_call("/workers")
            return found["workers"][0] if found and found["workers"] else None

        found: dict[str, Any] = self.until(connected, seconds)
        return found

    def children(self) -> list[psutil.Process]:
        """Every process that descends from this yard now."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, *words: str) -> psutil.Process:
        """The one child process whose command line has all these words."""

        def found() -> psutil.Process | None:
            for process in self.children():
                try:
                    line = process.cmdline()
                except (psutil.NoSuchProcess, psutil.ZombieProcess):
                    continue
                if all(any(word in part for part in line) for word in words):
                    return process
            return None

        process: psutil.Process = self.until(found)
        return process

    def stop(self) -> None:
        """Ctrl-C, and wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                raise


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Path]:
    """A temporary folder with a short path, for Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def yard(short_folder: Path) -> Iterator[RunningYard]:
    """One Runyard for all tests of a file."""
    # Two slots give a trainer half of the cores: with all of them it would crawl beside the other tests.
    running = RunningYard(short_folder, "--slots", "2")
    running.wait_for_worker()
    yield running
    running.stop()


@pytest.fixture
def own_yard() -> Iterator[Callable[..., RunningYard]]:
    """Starts a Runyard for one test; stopped at its end."""
    started: list[RunningYard] = []

    def start(*options: str, folder: Path | None = None, environment: dict[str, str] | None = None) -> RunningYard:
        folder = folder or Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
        running = RunningYard(folder, *options, environment=environment)
        started.append(running)
        return running

    yield start
    for running in started:
        running.stop()
        shutil.rmtree(running.folder, ignore_errors=True)
