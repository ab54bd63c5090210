"""Commands that `runyard exec` puts into the queue of a whole Runyard: what they log, say, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.system.running_yard import OFFLINE, ROOT
from tests.system.test_mlflow import QUIET


@pytest.fixture
def execute(yard: Any, tmp_path: Path) -> Callable[..., str]:
    """Submit a command as a user types it in a folder; gives the run's id."""
    return lambda *words, **more: submit(yard, tmp_path, *words, **more)


def submit(yard: Any, folder: Path, *words: str, options: tuple[str, ...] = (), **variables: str) -> str:
    environment = {**os.environ, **OFFLINE, **variables, "RUNYARD_URL": yard.address, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "app.cli", "exec", "--json", *options, "--", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["id"])


def script(folder: Path, said: str, name: str = "train.py") -> str:
    (folder / name).write_text(textwrap.dedent(said))
    return name


def said_by(yard: Any, run: str) -> list[str]:
    return [line["text"] for line in yard.call(f"/runs/{run}/logs?tail=1000")["lines"]]


def ended(yard: Any, run: str) -> dict[str, Any]:
    found: dict[str, Any] = yard.wait_for(run, "succeeded", "failed", "cancelled")
    return found


def gone(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def pids_of(yard: Any, run: str, count: int) -> list[int]:
    """The numbers that a script prints, as soon as there are so many."""

    def printed() -> list[int]:
        return [int(line) for line in said_by(yard, run) if line.isdecimal()]

    yard.until(lambda: len(printed()) == count)
    return printed()


def test_what_a_script_logs_by_mlflow_lands_in_its_run_and_its_exit_status_decides(
    yard: Any, execute: Any, tmp_path: Path
) -> None:
    name = script(
        tmp_path,
        """
        import os
        import sys

        import mlflow

        mlflow.set_experiment("scans of commands")
        with mlflow.start_run():
            mlflow.log_param("lr", sys.argv[1])
            mlflow.log_text("line\\n" * 1_200_000, "notes/long.txt")
            for step in range(30):
                mlflow.log_metric("val/acc", step / 30, step=step)
        print("logged", os.environ["RUNYARD_RUN_ID"], os.environ["TOLD"], os.getcwd(), flush=True)
        open("logged", "w").close()
        while not os.path.exists("go"):
            pass
        """,
    )
    variables = [option for name, value in QUIET.items() for option in ("--env", f"{name}={value}")]
    options = ("--name", "tune", "--env", "TOLD=a b", *variables)
    before = {run["id"] for run in yard.call("/runs?limit=500")["runs"]}
    run = execute(sys.executable, name, "0.1", options=options)
    yard.until((tmp_path / "logged").exists)
    # MLflow's client has said FINISHED, and the process goes on.
    found = yard.call(f"/runs/{run}")
    assert (found["status"], found["title"], found["parameters"]) == ("running", "tune", {"lr": "0.1"})
    assert found["summary"]["val/acc"]["points"] == 30
    files = yard.call(f"/runs/{run}/files")["files"]
    assert [(each["path"], each["bytes"]) for each in files if each["path"].startswith("notes/")] == [
        ("notes/long.txt", 6_000_000)
    ]
    yard.until(lambda: f"logged {run} a b {tmp_path}" in said_by(yard, run))
    (tmp_path / "go").touch()
    found = ended(yard, run)
    assert (found["status"], found["reason"]) == ("succeeded", "")
    assert found["command"]["exit_status"] == 0
    assert found["command"]["folder"] == str(tmp_path)
    assert {
        each["id"] for each in yard.call("/runs?limit=500&family=scans of commands".replace(" ", "%20"))["runs"]
    } == {run}
    assert {each["id"] for each in yard.call("/runs?limit=500")["runs"]} - before == {run}


def test_the_run_that_a_library_starts_is_that_of_the_command_and_the_next_is_another(
    yard: Any, execute: Any, tmp_path: Path
) -> None:
    name = script(
        tmp_path,
        """
        from mlflow import MlflowClient

        client = MlflowClient()
        experiment = client.create_experiment("started by a library")
        for value in (1, 2):
            run = client.create_run(experiment, run_name=f"run {value}").info.run_id
            client.log_metric(run, "loss", value)
            client.set_terminated(run)
        """,
    )
    variables = [option for name, value in QUIET.items() for option in ("--env", f"{name}={value}")]
    run = execute(sys.executable, name, options=tuple(variables))
    found = ended(yard, run)
    assert (found["title"], found["summary"]["loss"]["last"], found["origin"]) == ("run 1", 1.0, "command")
    others = yard.call("/runs?family=started%20by%20a%20library")["runs"]
    assert {(each["title"], each["origin"]) for each in others} == {("run 1", "command"), ("run 2", "mlflow")}


def test_no_shell_reads_a_command(yard: Any, execute: Any, tmp_path: Path) -> None:
    name = script(tmp_path, "import sys\nprint(sys.argv[1:])")
    words = ["; touch a", "$(touch b)", "`touch c`", "* | tee d", "it's\nnew", ""]
    run = execute(sys.executable, name, *words)
    assert ended(yard, run)["status"] == "succeeded"
    assert said_by(yard, run) == [str(words)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_another_exit_status_fails_the_run_with_it_in_the_reason(yard: Any, execute: Any, tmp_path: Path) -> None:
    name = script(tmp_path, "import sys\nprint('no such class')\nsys.exit(3)")
    run = execute(sys.executable, name)
    found = ended(yard, run)
    assert found["status"] == "failed"
    assert found["reason"] == "exited with status 3; last line of its output: no such class"
    assert found["command"]["exit_status"] == 3
    again = yard.call(f"/runs/{run}/retry", {})
    assert (again["relation"], again["parent"], again["command"]["argv"]) == ("retry", run, found["command"]["argv"])
    assert ended(yard, again["id"])["command"]["exit_status"] == 3


STUBBORN = """
    import os
    import signal
    import subprocess
    import sys
    import time

    if sys.argv[1] != "polite":
        signal.signal(signal.SIGTERM, lambda *_: print("not yet", flush=True))
    grandchild = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    grandchild += "print(os.getpid(), flush=True); time.sleep(1000)"
    subprocess.Popen([sys.executable, "-c", grandchild])
    print(os.getpid(), flush=True)
    while True:
        time.sleep(0.1)
    """


@pytest.mark.parametrize("manners", ["polite", "stubborn"])
def test_a_stop_sends_sigterm_and_ends_the_whole_group(own_yard: Any, tmp_path: Path, manners: str) -> None:
    yard = own_yard(RUNYARD_CANCEL_SECONDS="2")
    yard.wait_for_worker()
    run = submit(yard, tmp_path, sys.executable, script(tmp_path, STUBBORN), manners)
    processes = pids_of(yard, run, 2)
    yard.call(f"/runs/{run}/cancel", {})
    found = ended(yard, run)
    assert found["status"] == "cancelled"
    how = "killed by signal 15 (SIGTERM)" if manners == "polite" else "killed because it did not stop within 2 s"
    assert found["reason"] == f"stopped; {how}"
    assert ("not yet" in said_by(yard, run)) == (manners == "stubborn")
    yard.until(lambda: all(gone(process) for process in processes), 20)


WAITING = """
    import os
    import time

    print(os.getpid(), flush=True)
    print("attempt", os.environ["RUNYARD_ATTEMPT"], flush=True)
    while not os.path.exists("go"):
        time.sleep(0.05)
    """


def test_a_killed_worker_loses_its_commands_and_only_those_that_may_start_again(yard: Any, tmp_path: Path) -> None:
    name = script(tmp_path, WAITING)
    once = submit(yard, tmp_path, sys.executable, name)
    twice = submit(yard, tmp_path, sys.executable, name, options=("--restarts", "1"))
    processes = pids_of(yard, once, 1) + pids_of(yard, twice, 1)
    psutil.Process(yard.wait_for_worker()["pid"]).kill()
    yard.until(lambda: all(gone(process) for process in processes), 10)
    found = yard.wait_for(once, "failed", seconds=30)
    assert found["reason"].startswith("lost contact with worker")
    assert found["reason"].endswith("not started again")
    assert found["command"]["exit_status"] is None
    yard.until(lambda: "attempt 2" in said_by(yard, twice), 60)
    (tmp_path / "go").touch()
    found = ended(yard, twice)
    assert (found["status"], found["attempt"]) == ("succeeded", 2)


def test_ctrl_c_ends_commands_and_those_that_may_start_again_do_so_at_the_next_start(
    own_yard: Any, tmp_path: Path
) -> None:
    yard = own_yard()
    yard.wait_for_worker()
    name = script(tmp_path, WAITING)
    once = submit(yard, tmp_path, sys.executable, name)
    twice = submit(yard, tmp_path, sys.executable, name, options=("--restarts", "1"))
    processes = pids_of(yard, once, 1) + pids_of(yard, twice, 1)
    yard.process.send_signal(signal.SIGINT)
    assert yard.process.wait(60) == 0
    yard.until(lambda: all(gone(process) for process in processes), 20)
    yard = own_yard(folder=yard.folder)
    found = yard.wait_for(once, "failed")
    assert found["reason"] == "its worker stopped; killed by signal 15 (SIGTERM); not started again"
    yard.until(lambda: "attempt 2" in said_by(yard, twice), 60)
    (tmp_path / "go").touch()
    assert ended(yard, twice)["attempt"] == 2


def test_a_killed_process_beside_a_command_leaves_nothing_of_it_behind(yard: Any, tmp_path: Path) -> None:
    run = submit(yard, tmp_path, sys.executable, script(tmp_path, WAITING))
    (process,) = pids_of(yard, run, 1)
    beside = psutil.Process(process).parent()
    assert beside is not None
    beside.kill()
    yard.until(lambda: gone(process), 10)
    assert "not started again" in yard.wait_for(run, "failed", seconds=30)["reason"]


def test_the_commit_and_the_changes_of_the_folder_are_kept(yard: Any, execute: Any, tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True)

    name = script(tmp_path, "print('one')")
    git("init", "-q", ".")
    git("add", "-A")
    git("commit", "-qm", "first")
    script(tmp_path, "print('two')")
    run = execute(sys.executable, name)
    assert ended(yard, run)["status"] == "succeeded"
    captured = yard.call(f"/runs/{run}/environment")
    assert len(captured["code"]["commit"]) == 40
    assert captured["commit"] == f"{captured['code']['commit'][:12]} (with uncommitted changes)"
    assert "+print('two')" in captured["code"]["diff"]


def test_nothing_but_the_command_line_can_submit_a_command(yard: Any, tmp_path: Path) -> None:
    marker = tmp_path / "started"
    command = {"argv": ["touch", str(marker)], "folder": str(tmp_path), "url": yard.address}
    for path, body, status in (
        ("/commands", {"command": command}, 403),
        ("/commands", {"command": command | {"signature": "0" * 64}}, 403),
        ("/runs", {"argv": command["argv"]}, 422),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            yard.call(path, body)
        assert refused.value.code == status
        assert json.loads(refused.value.read())["detail"]
    run = submit(yard, tmp_path, "true")
    assert ended(yard, run)["status"] == "succeeded"
    assert not marker.exists()
