"""Programs of `runyard exec` log to its run with Runyard's own client, through crashes and outages."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from runyard import Runyard
from tests.system.test_commands import ended, gone, pids_of, said_by, script, submit

RANKS = """
    import os
    import subprocess
    import sys

    from runyard import Runyard

    if len(sys.argv) == 1:
        ranks = [subprocess.Popen([sys.executable, *sys.argv, rank]) for rank in "12"]
    rank = sys.argv[1] if len(sys.argv) > 1 else "0"
    with Runyard().start(f"rank {rank}", parameters={"world": 3}, tags=["ddp"]) as run:
        for step in range(500):
            run.log({f"rank {rank}/loss": step, "all": step}, step)
    if rank == "0":
        codes = [each.wait() for each in ranks]
        print(codes, os.environ["RUNYARD_RUN_ID"] == run.id, flush=True)
        sys.exit(3)
    """


def options(folder: Path, *more: str) -> tuple[str, ...]:
    return ("--env", f"RUNYARD_SPOOL_DIR={folder / 'spool'}", *more)


def curves(yard: Any, run: str) -> dict[str, list[tuple[int, float]]]:
    with Runyard(yard.address) as client:
        return {
            name: list(zip(curve.step.tolist(), curve.value.tolist(), strict=True))
            for name, curve in client.run(run).curves().items()
        }


def test_all_processes_of_a_command_log_to_its_run_and_its_exit_status_decides(yard: Any, tmp_path: Path) -> None:
    before = {run["id"] for run in yard.call("/runs?limit=500")["runs"]}
    run = submit(
        yard, tmp_path, sys.executable, script(tmp_path, RANKS), options=options(tmp_path, "--name", "three ranks")
    )
    found = ended(yard, run)
    assert (found["status"], found["command"]["exit_status"], found["title"]) == ("failed", 3, "three ranks")
    assert "[0, 0] True" in said_by(yard, run)
    assert (found["parameters"], found["tags"]) == ({"world": "3"}, ["ddp"])
    assert {each["id"] for each in yard.call("/runs?limit=500")["runs"]} - before == {run}
    logged = curves(yard, run)
    for rank in range(3):
        assert logged[f"rank {rank}/loss"] == [(step, float(step)) for step in range(500)]
    assert logged["all"] == [(step, float(step)) for step in range(500) for _ in range(3)]
    assert list((tmp_path / "spool").iterdir()) == []


# It logs until it is killed or may go, and continues where its file says that it was.
LONG = """
    import os
    import time

    from runyard import Runyard

    run = Runyard().start()
    step = int(open("step").read()) if os.path.exists("step") else 0
    print(os.getpid(), flush=True)
    while not os.path.exists("go"):
        for _ in range(100):
            run.log({"loss": step + 1_000_000 * int(os.environ["RUNYARD_ATTEMPT"])}, step)
            step += 1
        # What is in its file is safe.
        while f"{step - 1}]" not in run._spool.path.read_text():
            time.sleep(0.01)
        with open("new", "w") as file:
            file.write(str(step))
        os.rename("new", "step")
    run.finish()
    """


def steps(folder: Path) -> int:
    file = folder / "step"
    return int(file.read_text()) if file.exists() else 0


@pytest.mark.parametrize("victim", ["worker", "script"])
def test_a_script_killed_while_the_server_is_away_loses_and_doubles_no_point(
    own_yard: Any, tmp_path: Path, victim: str
) -> None:
    yard = own_yard()
    worker = yard.wait_for_worker()["pid"]
    run = submit(yard, tmp_path, sys.executable, script(tmp_path, LONG), options=options(tmp_path, "--restarts", "1"))
    yard.until(lambda: steps(tmp_path) >= 200)
    (process,) = pids_of(yard, run, 1)
    server = yard.child("app.cli", "server")
    server.send_signal(signal.SIGSTOP)
    before = steps(tmp_path)
    yard.until(lambda: steps(tmp_path) >= before + 200)
    psutil.Process(worker if victim == "worker" else process).kill()
    yard.until(lambda: gone(process))
    logged = steps(tmp_path)
    server.kill()
    if victim == "worker":
        # The next attempt goes on, and sends what the first one left.
        yard.until(lambda: steps(tmp_path) >= logged + 200, 90)
        (tmp_path / "go").touch()
        found = ended(yard, run)
        assert (found["status"], found["attempt"]) == ("succeeded", 2)
        logged = steps(tmp_path)
    else:
        assert "SIGKILL" in ended(yard, run)["reason"]
        with Runyard(yard.address) as client:
            sent = yard.until(lambda: [problem for _, problem in synced(client, tmp_path)])
        assert sent == [""]
    points = curves(yard, run)["loss"]
    # A later attempt may log a step again, with its own value, that the one before had not noted.
    assert len(points) == len(set(points))
    assert {step for step, _ in points} == set(range(len({step for step, _ in points})))
    assert len({step for step, _ in points}) >= logged
    assert list((tmp_path / "spool").iterdir()) == []


def synced(client: Runyard, folder: Path) -> list[tuple[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNYARD_SPOOL_DIR", str(folder / "spool"))
        return list(client.sync())
