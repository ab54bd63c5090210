"""A backup taken while runs train restores elsewhere with every point, and its runs end there as they do at home."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.system.running_yard import ROOT
from tests.system.test_resume import SPEC, curves, until_it_trains


def runyard(*words: str) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNYARD_")}
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def done(*words: str) -> str:
    """The output of a command that succeeds."""
    process = runyard(*words)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    return output


def killed_somewhere(seconds: float, *words: str) -> None:
    """A command is killed after this many seconds, unless it is done by then."""
    process = runyard(*words)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


@pytest.mark.sqlite
def test_a_backup_under_load_restores_elsewhere_with_every_point_and_its_runs_resume(own_yard: Any) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"moments of seed {seed}")
    moments = random.Random(seed)
    home = own_yard(RUNYARD_CHECKPOINT_SECONDS="0.05")
    home.wait_for_worker()
    logged = home.log("script", {"loss": {step: 1 / (1 + step) for step in range(5000)}})
    run = home.launch(**SPEC | {"epochs": 30})
    until_it_trains(home, run, 1, 200)
    home.call("/queue/pause", {})
    waiting = home.launch(**SPEC | {"epochs": 1})
    source = str(Path(home.folder) / "data")
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="ryb") as folder:
        archive, data = Path(folder) / "yard.tar", Path(folder) / "data"
        for _ in range(3):
            killed_somewhere(moments.uniform(0.2, 1.2), "backup", str(archive), "--data-dir", source)
            archive.unlink(missing_ok=True)  # complete, if it was there at all: it is renamed when it is
        before = curves(home, run)
        output = done("backup", str(archive), "--data-dir", source)
        assert "3 runs" in output, output
        for _ in range(3):
            killed_somewhere(moments.uniform(0.1, 0.5), "restore", str(archive), "--data-dir", str(data))
            if data.exists():
                break
        else:
            done("restore", str(archive), "--data-dir", str(data))
        elsewhere = own_yard(Path(folder))
        assert elsewhere.call(f"/runs/{waiting}")["status"] == "queued"
        elsewhere.call("/queue/resume", {})
        assert curves(elsewhere, logged) == curves(home, logged)
        assert elsewhere.wait_for(run, "succeeded")["attempt"] == 2
        home.wait_for(run, "succeeded")
        assert curves(elsewhere, run) == curves(home, run)
        for name, (steps, values) in before.items():
            at = dict(zip(*curves(elsewhere, run)[name], strict=True))
            assert [at[step] for step in steps] == values
        elsewhere.wait_for(waiting, "succeeded")
        elsewhere.stop()
