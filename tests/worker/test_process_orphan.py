"""A command that nobody watches any more is found by its run and attempt, and killed with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.worker.conftest import until
from worker.process import kill_orphan

PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"


class Started:
    """Starts commands as the process beside them does; ``end`` kills those that are left."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def __call__(self, run: str, attempt: int) -> subprocess.Popen[bytes]:
        environment = os.environ | {"RUNYARD_RUN_ID": run, "RUNYARD_ATTEMPT": str(attempt)}
        process = subprocess.Popen([sys.executable, "-c", PARENT], env=environment, start_new_session=True)
        self.processes.append(process)
        return process

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def start() -> Iterator[Started]:
    started = Started()
    yield started
    started.end()


def test_only_the_attempt_that_lost_its_watcher_is_killed_with_its_children(start: Started) -> None:
    orphan, next_attempt, other_run = start("r_1", 2), start("r_1", 3), start("r_2", 2)
    leader = psutil.Process(orphan.pid)
    (child,) = until(leader.children, "it has started its child")
    assert kill_orphan("r_1", 2)
    assert orphan.wait(10) == -signal.SIGKILL
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "its child is gone")
    assert next_attempt.poll() is None
    assert other_run.poll() is None


def test_nothing_is_killed_where_no_command_was_started(start: Started) -> None:
    other = start("r_1", 1)
    assert not kill_orphan("r_1", 2, seconds=0.0)
    assert other.poll() is None
