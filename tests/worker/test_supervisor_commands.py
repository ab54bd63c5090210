"""A command whose watching process dies in the moment in which it was started: the supervisor kills it all the same."""

from __future__ import annotations

import os
import signal
import subprocess
from functools import partial
from typing import Any

import psutil
import pytest

from app.contract.command_key import ensure_key
from app.contract.settings import Settings
from tests.command_runs import command_run
from tests.worker.conftest import until
from tests.worker.supervised import Worker, Yard, alive
from worker import supervisor
from worker.job import CommandJob


def die_before_its_number_is_noted(job: CommandJob, shared: Any, _changes: Any = None) -> None:
    """Stands for the process beside a command: starts one, and is killed before it can say which process that is."""
    os.setsid()
    environment = os.environ | {"RUNYARD_RUN_ID": job.run, "RUNYARD_ATTEMPT": str(job.attempt)}
    command = subprocess.Popen(["sleep", "600"], env=environment, start_new_session=True)
    (job.settings.data_dir / "number").write_text(str(command.pid))
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_command_whose_watcher_dies_as_it_starts_is_killed(
    yard: Yard, worker: Worker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_key(settings.data_dir)
    monkeypatch.setattr(supervisor, "execute", die_before_its_number_is_noted)
    run = command_run(yard.engine, "queued")
    worker.work()
    until(partial(yard.is_, run, "failed"), "the attempt has ended", 120.0)
    command = int((settings.data_dir / "number").read_text())
    killed = not psutil.pid_exists(command) or not alive(psutil.Process(command))
    if not killed:
        os.kill(command, signal.SIGKILL)
    assert killed
