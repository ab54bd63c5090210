"""Programs of a command log to the command's run: the first run of each process is that one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

import runyard
from app.contract.settings import Settings
from runyard import Runyard, RunyardError
from tests.command_runs import command_run
from tests.conftest import Runs, until
from tests.served import breaking, serving

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what was not sent yet."""
    monkeypatch.setenv("RUNYARD_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setattr(runyard, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(runyard, "LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(runyard._CommandRun, "_joined_by", 0)
    return tmp_path / "spool"


@pytest.fixture
def run(yard: Runyard, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> str:
    """The run of the command to which this process belongs."""
    found = command_run(runs.engine)
    monkeypatch.setenv("RUNYARD_RUN_ID", found)
    monkeypatch.setenv("RUNYARD_URL", f"{yard.url}/")
    return found


def points(yard: Runyard, run: str, name: str) -> list[tuple[int, float]]:
    curves = yard.run(run).curves()
    if name not in curves:
        return []
    return [(int(step), float(value)) for step, value in zip(curves[name].step, curves[name].value, strict=True)]


def test_the_first_run_of_a_process_is_that_of_its_command(yard: Runyard, run: str, folder: Path) -> None:
    with yard.start(tags=["paper"], parameters={"lr": 0.1}) as logged:
        assert (logged.id, logged.shared, logged.url) == (run, True, f"{yard.url}/runs/{run}")
        logged.log({"loss": 1.0})
        # A second one beside it is a run of its own.
        with yard.start("second") as other:
            assert (other.id != run, other.shared) == (True, False)
            other.log({"loss": 2.0})
        logged.log({"loss": 3.0})
    assert points(yard, run, "loss") == [(0, 1.0), (1, 3.0)]
    # Its exit status is what ends it.
    assert (yard.run(run).status, yard.run(other.id).status) == ("running", "succeeded")
    assert (yard.run(run).tags, yard.run(run).data["parameters"]) == (["paper"], {"lr": "0.1"})
    with yard.start() as third:
        assert third.id != run
    assert list(folder.iterdir()) == []


def test_a_failure_does_not_end_it_either(yard: Runyard, run: str) -> None:
    with pytest.raises(ZeroDivisionError), yard.start("named") as logged:
        logged.log({"loss": 1 / 0})
    assert (yard.run(run).status, yard.run(run).title) == ("running", "named")


def test_another_server_has_another_run(yard: Runyard, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_URL", "http://127.0.0.1:9")
    with yard.start("own") as logged:
        assert (logged.id != run, logged.shared) == (True, False)


def test_a_run_that_takes_nothing_is_said_and_may_be_tried_again(yard: Runyard, run: str, runs: Runs) -> None:
    runs.set(run, deleted_at=1.0)
    with pytest.raises(RunyardError, match="in the trash"):
        yard.start()
    runs.set(run, deleted_at=None)
    with yard.start() as logged:
        assert logged.id == run


RANK = """
import sys
from runyard import Runyard
with Runyard().start(parameters={"rank": sys.argv[1]}) as run:
    for step in range(200):
        run.log({"loss": step + 1000 * int(sys.argv[1]), f"rank {sys.argv[1]}": step}, step)
"""


def test_several_processes_lose_nothing_and_double_nothing(
    yard: Runyard, run: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    with breaking(yard.url, *range(60, 900, 70)) as (address, _):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "RUNYARD_URL": address}
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", RANK, str(rank)], env=environment, stderr=subprocess.PIPE, text=True
            )
            for rank in range(3)
        ]
        said = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0, 0], said
    assert sorted(value for _, value in points(yard, run, "loss")) == [
        float(step + 1000 * rank) for rank in range(3) for step in range(200)
    ]
    for rank in range(3):
        assert points(yard, run, f"rank {rank}") == [(step, float(step)) for step in range(200)]
    # The first parameter of a name stays, and the others are told.
    assert sum("parameter 'rank' is already" in each for each in said) == 2
    assert list(folder.iterdir()) == []


def _log_in_child(url: str, value: float) -> None:
    with Runyard(url).start() as logged:
        logged.log({"child": value})


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_has_a_first_run_too(yard: Runyard, run: str) -> None:
    context = multiprocessing.get_context("fork")
    with yard.start() as logged:
        logged.log({"loss": 1.0})
        child = context.Process(target=_log_in_child, args=(yard.url, 2.0))
        child.start()
        child.join(60)
    assert child.exitcode == 0
    assert (points(yard, run, "loss"), points(yard, run, "child")) == ([(0, 1.0)], [(0, 2.0)])


KILLED = """
import sys, time
from runyard import Runyard
run = Runyard().start()
for step in range(50):
    run.log({"loss": step})
while "[49" not in run._spool.path.read_text() and ",49" not in run._spool.path.read_text():
    time.sleep(0.01)
print(run.id, flush=True)
sys.stdin.read()
"""


def killed_attempt(url: str, **variables: str) -> None:
    """A program that is killed when all it has logged is in its file."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RUNYARD_URL": url} | variables
    with subprocess.Popen(
        [sys.executable, "-c", KILLED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)


def test_what_a_killed_attempt_left_is_sent_by_the_next_one(
    server: FastAPI, runs: Runs, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    run = command_run(runs.engine)
    monkeypatch.setenv("RUNYARD_RUN_ID", run)
    with serving(server) as address:
        port = int(address.rpartition(":")[2])
    monkeypatch.setenv("RUNYARD_URL", address)
    # Nobody answers here now.
    killed_attempt(address)
    killed_attempt(address, RUNYARD_RUN_ID="r_other")
    assert len(list(folder.iterdir())) == 2
    with serving(server, port), Runyard(address) as yard, yard.start() as logged:
        logged.log({"loss": 50.0}, 50)
        until(lambda: len(points(yard, run, "loss")) == 51, what="the points of both attempts are there")
        assert points(yard, run, "loss") == [(step, float(step)) for step in range(51)]
    # What belongs to another run stays.
    (left,) = folder.iterdir()
    assert "r_other" in left.read_text()


def test_what_a_killed_command_left_is_sent_by_sync_after_its_end(
    server: FastAPI, runs: Runs, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    run = command_run(runs.engine)
    with serving(server) as address:
        port = int(address.rpartition(":")[2])
    killed_attempt(address, RUNYARD_RUN_ID=run)
    runs.set(run, status="failed", ended_at=1.7e9)
    with serving(server, port), Runyard(address) as yard:
        left: list[Any] = list(yard.sync())
        assert left == [(run, "")]
        assert [step for step, _ in points(yard, run, "loss")] == list(range(50))
        assert yard.run(run).status == "failed"
    assert list(folder.iterdir()) == []


def test_a_file_of_a_killed_attempt_arrives_after_the_end(
    yard: Runyard, run: str, runs: Runs, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    with yard.start() as logged:
        runs.set(run, status="failed", ended_at=1.7e9)
        logged.log_file(tmp_path / "model.pt")
        logged.log({"loss": 1.0})
    assert points(yard, run, "loss") == [(0, 1.0)]
    assert [each["path"] for each in yard.run(run).files() if each["source"] == "script"] == ["model.pt"]
    assert list(folder.iterdir()) == []
