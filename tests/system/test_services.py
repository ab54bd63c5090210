"""The services of deploy/systemd: their command lines and variables as processes, with paths in a folder of the test.

systemd itself has no part in it: what it does to these processes, a test does here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from app.services.embedded import find_redis, free_port
from tests.conftest import inspected
from tests.system.running_yard import OFFLINE, ROOT, RunningYard, prepared_folder
from tests.systemd_units import PROGRAM, REDIS, SERVICES

WORKER = "runyard-worker@.service"
ORDER = ("runyard-redis.service", "runyard-recorder.service", "runyard-server.service", WORKER)


class Services(RunningYard):
    """Every service as a process of its own; ``processes``: by the name of its unit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "services.out"
        self.port = free_port("127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self.port}"
        # The order in which these are replaced matters: one path begins with another.
        self.paths = {
            "/var/lib/runyard-redis": str(folder / "redis"),
            "/var/lib/runyard": str(folder / "data"),
            "/run/runyard-redis": str(folder / "run"),
        }
        for name in ("redis", "run"):
            (folder / name).mkdir(mode=0o700)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start_all(self) -> None:
        """Start every service, and wait until the server answers."""
        for name in ORDER:
            self.start(name)
        self.until(lambda: self.try_call("/runs") is not None)

    def start(self, name: str) -> None:
        """Start a service with the command and the variables of its unit."""
        unit = SERVICES[name]
        command = [self._here(word) for word in unit.command()]
        program = {PROGRAM: [sys.executable, "-m", "app.cli"], REDIS: [str(find_redis())]}[command.pop(0)]
        variables = {key: self._here(value) for key, value in unit.environment("cpu").items()}
        # What a file /etc/runyard/runyard.env would say.
        variables["RUNYARD_PORT"] = str(self.port)
        bare = {key: value for key, value in os.environ.items() if not key.startswith("RUNYARD_")}
        with open(self.output, "ab") as output:
            self.processes[name] = subprocess.Popen(
                [*program, *command],
                cwd=self.folder / "data",
                env={**bare, **OFFLINE, **variables, "PYTHONPATH": str(ROOT)},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _here(self, word: str) -> str:
        for path, here in self.paths.items():
            word = word.replace(path, here)
        return word

    def descendants(self, name: str) -> list[psutil.Process]:
        """Every process that a service has started."""
        return psutil.Process(self.processes[name].pid).children(recursive=True)

    def stop_service(self, name: str) -> None:
        """SIGTERM to the main process alone, as KillMode=mixed says; fails if it needs longer than its unit grants."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(int(SERVICES[name].service("TimeoutStopSec")))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        # To systemd, both are a clean end.
        assert status in (0, -signal.SIGTERM), f"{name} ended with status {status}\n{self.words()}"

    def stop(self) -> None:
        """Stop what still runs, in the order of systemd."""
        with ExitStack() as stack:
            for name in [each for each in ORDER if each in self.processes]:
                stack.callback(self.stop_service, name)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """All services of one machine, running."""
    running = Services(prepared_folder(inspected(tmp_path_factory)))
    try:
        running.start_all()
        yield running
    finally:
        running.stop()
        shutil.rmtree(running.folder, ignore_errors=True)


def test_the_services_train_a_run_to_its_end(services: Services) -> None:
    services.wait_for_worker()
    run = services.launch(family="simple_mlp", size="tiny", dataset="digits", epochs=3)
    found = services.wait_for(run, "succeeded")
    curve = services.call(f"/runs/{run}/metrics?points=0")["train/loss"]
    assert curve["step"] == list(range(1, found["progress"]["steps"] + 1))
    assert (services.folder / "data" / "runyard.db").exists()


def test_a_worker_that_is_stopped_in_its_time_gives_its_run_to_the_next(services: Services) -> None:
    run = services.launch(family="simple_mlp", size="tiny", dataset="digits", epochs=3000)
    services.wait_for_step(run, 50)
    left = services.descendants(WORKER)
    assert left
    services.stop_service(WORKER)
    _, alive = psutil.wait_procs(left, timeout=10)
    assert alive == []
    waiting = services.wait_for(run, "queued")
    reached = waiting["progress"]["step"]
    services.start(WORKER)
    again = services.wait_for(run, "running")
    assert again["attempt"] == 2
    services.wait_for_step(run, reached + 10)
    services.call(f"/runs/{run}/cancel", {})
    services.wait_for(run, "cancelled")
    steps = services.call(f"/runs/{run}/metrics?points=0")["train/loss"]["step"]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > reached
