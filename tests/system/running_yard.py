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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]

# No test may reach the network: a closed port stands for all hosts but this one, dataset hosts above all.
NOWHERE = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
OFFLINE = {**NOWHERE, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}


class RunningYard:
    """`runyard up` in a process of its own, on a free port, with its data in a short temporary folder.

    ``settings`` are further environment variables; ``prefix``: what starts the command, such as in a network namespace.
    ``database``: the URL of its database.
    """

    prefix: tuple[str, ...] = ()

    def __init__(self, folder: Path, *options: str, **settings: str) -> None:
        self.folder = folder
        self.database = settings.get("RUNYARD_DATABASE_URL", f"sqlite:///{folder / 'data' / 'runyard.db'}")
        self.output = folder / "up.out"
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                [
                    *self.prefix,
                    sys.executable,
                    "-m",
                    "app.cli",
                    "up",
                    "--port",
                    "0",
                    "--data-dir",
                    str(folder / "data"),
                    *options,
                ],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **OFFLINE, **settings},
            )
        try:
            self.address = str(self.until(self._address, 180))
        except BaseException:
            # Whoever waits for it has nothing yet to stop it with.
            self.stop()
            raise

    def _address(self) -> str | None:
        assert self.process.poll() is None, self.output.read_text()
        found = re.search(r"Open (http://\S+)", self.output.read_text())
        return found[1] if found else None

    def until(self, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """What ``condition`` gives as soon as that is true; fails with the yard's output after ``seconds``."""
        until = time.monotonic() + seconds
        pause = 0.02
        while not (found := condition()):
            assert time.monotonic() < until, f"not within {seconds} s\n{self.words()}"
            time.sleep(pause)
            # Most conditions ask the server: asked fifty times a second, it would take the cores from what is awaited.
            pause = min(0.1, 1.2 * pause)
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
        # The server itself waits a minute for what it asks others.
        with urllib.request.urlopen(request, timeout=70) as answer:
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

    def log(self, name: str, curves: dict[str, dict[int, float]]) -> str:
        """The id of a run with these curves by step that was trained elsewhere, and has ended."""

        def tell(path: str, body: Any) -> Any:
            headers = {"content-type": "application/json"}
            request = urllib.request.Request(
                f"{self.address}/api/2.0/mlflow/{path}", json.dumps(body).encode(), headers
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.loads(answer.read())

        run = str(tell("runs/create", {"experiment_id": "0", "run_name": name})["run"]["info"]["run_id"])
        points = [
            {"key": key, "step": step, "value": value, "timestamp": 1_790_000_000_000 + 1000 * step}
            for key, values in curves.items()
            for step, value in values.items()
        ]
        for first in range(0, len(points), 1000):
            tell("runs/log-batch", {"run_id": run, "metrics": points[first : first + 1000]})
        tell("runs/update", {"run_id": run, "status": "FINISHED"})
        self.wait_for(run, "succeeded")
        return run

    def wait_for(self, run: str, *statuses: str, seconds: float = 240.0) -> dict[str, Any]:
        """The run, as soon as it has one of these statuses."""

        def reached() -> dict[str, Any] | None:
            found: dict[str, Any] | None = self.try_call(f"/runs/{run}")
            if found and found["status"] == "failed" and "failed" not in statuses:
                raise AssertionError(f"{found['reason']}\n{self.words()}")
            return found if found and found["status"] in statuses else None

        found: dict[str, Any] = self.until(reached, seconds)
        return found

    def wait_for_step(self, run: str, step: int, seconds: float = 180.0) -> None:
        """Until the run has made so many steps."""

        def reached() -> bool:
            found = self.try_call(f"/runs/{run}")
            return bool(found) and found["progress"].get("step", 0) >= step

        self.until(reached, seconds)

    def wait_for_worker(self, seconds: float = 120.0) -> dict[str, Any]:
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

    def trainers(self) -> list[psutil.Process]:
        """The processes that train now."""
        found = []
        for process in psutil.Process(self.wait_for_worker()["pid"]).children(recursive=True):
            try:
                # Each leads a group of its own, and so does one that imports images, which is not forked.
                forked = any("forkserver" in word for word in process.cmdline())
                if forked and os.getpgid(process.pid) == process.pid:
                    found.append(process)
            except (ProcessLookupError, psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return found

    def trainer(self) -> psutil.Process:
        """The process that trains, as soon as there is exactly one."""
        trainers: list[psutil.Process] = self.until(lambda: len(found := self.trainers()) == 1 and found)
        return trainers[0]

    def stop(self) -> None:
        """Ctrl-C, and wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
                raise


def prepared_folder(inspected: Path) -> Path:
    """A folder with a short path, for Unix sockets; with what is known about the networks, to spare its making."""
    folder = Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
    (folder / "data").mkdir()
    for name in ("catalog.json", "families.json"):
        shutil.copy(inspected / name, folder / "data")
    shutil.copytree(inspected / "networks", folder / "data" / "networks")
    return folder
