"""Sweeps of a user's own script in a whole Runyard: the best is found, the worst are pruned, crashes lose nothing."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import text

from app.store.database import open_database, writing
from tests.system.test_commands import gone, pids_of, said_by, script, submit
from tests.system.test_mlflow import QUIET
from tests.system.test_sweeps import ended

VARIABLES = tuple(option for name, value in QUIET.items() for option in ("--env", f"{name}={value}"))

TRAIN = """
    import argparse

    import mlflow

    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float)
    parser.add_argument("--seed", type=int)
    given = parser.parse_args()
    with mlflow.start_run():
        mlflow.log_param("lr", given.lr)
        for step in range(5):
            mlflow.log_metric("val_accuracy", (1 - abs(given.lr - 0.3)) * (step + 1) / 5, step=step)
            mlflow.log_metric("val_loss", 1 / (step + 1), step=step)
    """


def sweep(yard: Any, folder: Path, *words: str, options: tuple[str, ...] = ()) -> str:
    """Submit a sweep as a user types it in a folder; gives its id."""
    return submit(yard, folder, *words, options=(*options, *VARIABLES))


def runs_of(yard: Any, sweep: str) -> list[dict[str, Any]]:
    return [yard.call(f"/runs/{run}") for run in yard.call(f"/sweeps/{sweep}")["runs"]]


def test_four_trials_of_a_script_find_the_best_by_the_metric_that_it_logs(yard: Any, tmp_path: Path) -> None:
    name = script(tmp_path, TRAIN)
    options = ("--sweep", "lr=0.1,0.3,0.5,0.9", "--metric", "val_accuracy", "--goal", "max", "--name", "tune")
    made = sweep(yard, tmp_path, sys.executable, name, "--lr={lr}", options=options)
    found = ended(yard, made, 120)
    assert (found["status"], found["counts"], found["title"]) == ("finished", {"succeeded": 4}, "tune")
    assert (found["best"]["values"], found["best"]["value"], found["unmeasured"]) == ({"lr": 0.3}, 1.0, "")
    assert [each["values"]["lr"] for each in found["configurations"]] == [0.3, 0.1, 0.5, 0.9]
    assert [each["parameters"] for each in runs_of(yard, made)] == [{"lr": lr} for lr in ("0.1", "0.3", "0.5", "0.9")]


def test_a_search_over_a_range_tries_different_values_within_it(yard: Any, tmp_path: Path) -> None:
    name = script(tmp_path, TRAIN)
    options = ("--sweep", "lr=1e-3..1.0:log", "--trials", "4", "--metric", "val_accuracy", "--goal", "max")
    made = sweep(yard, tmp_path, sys.executable, name, "--lr", "{lr}", options=options)
    found = ended(yard, made, 120)
    assert (found["status"], found["counts"], found["planned"]) == ("finished", {"succeeded": 4}, 4)
    tried = {each["values"]["lr"]: each["mean"] for each in found["configurations"]}
    assert len(tried) == 4
    assert all(1e-3 <= lr <= 1 for lr in tried)
    best = min(tried, key=lambda lr: abs(lr - 0.3))
    assert found["best"]["values"] == {"lr": best}
    assert abs(found["best"]["value"] - (1 - abs(best - 0.3))) < 1e-9


HOPELESS = """
    import os
    import signal
    import sys
    import time

    import mlflow

    level = float(sys.argv[1])


    def leave(*_):
        print("saw SIGTERM", flush=True)
        sys.exit(1)


    signal.signal(signal.SIGTERM, leave)
    print(os.getpid(), flush=True)
    with mlflow.start_run():
        for step in range(3):
            mlflow.log_metric("val_loss", level, step=step)
        while level > 1:
            time.sleep(0.05)
    """


def test_a_trial_that_lags_behind_gets_sigterm_and_is_pruned(yard: Any, tmp_path: Path) -> None:
    name = script(tmp_path, HOPELESS)
    pruning = ("--prune", "median", "--prune-after", "2", "--prune-after-runs", "2")
    options = ("--sweep", "level=0.1,0.2,9.0", "--metric", "val_loss", *pruning)
    made = sweep(yard, tmp_path, sys.executable, name, "{level}", options=options)
    found = ended(yard, made, 120)
    assert (found["direction"], found["counts"], found["pruned"]) == ("minimize", {"succeeded": 2, "cancelled": 1}, 1)
    hopeless = runs_of(yard, made)[-1]
    assert hopeless["status"] == "cancelled"
    pruned = r"pruned after [23] values: val_loss 9 is above the median \(0\.15\) of 2 other runs"
    assert re.fullmatch(pruned, hopeless["reason"])
    assert hopeless["command"]["exit_status"] == 1
    assert "saw SIGTERM" in said_by(yard, hopeless["id"])
    assert all(gone(process) for process in pids_of(yard, hopeless["id"], 1))
    assert found["best"]["values"] == {"level": 0.1}


WAITING = """
    import os
    import sys
    import time

    import mlflow

    with mlflow.start_run():
        mlflow.log_metric("val_accuracy", float(sys.argv[1]), step=0)
        print(os.getpid(), flush=True)
        while not os.path.exists("go"):
            time.sleep(0.05)
    """


def test_a_worker_killed_in_the_middle_of_a_sweep_costs_one_attempt_and_no_trial(yard: Any, tmp_path: Path) -> None:
    name = script(tmp_path, WAITING)
    goal = ("--metric", "val_accuracy", "--goal", "max")
    options = ("--sweep", "level=0.1..0.9", "--trials", "4", "--restarts", "1", *goal)
    made = sweep(yard, tmp_path, sys.executable, name, "{level}", options=options)
    first = yard.until(lambda: yard.call(f"/sweeps/{made}")["runs"])[0]
    (process,) = pids_of(yard, first, 1)
    psutil.Process(yard.wait_for_worker()["pid"]).kill()
    yard.until(lambda: gone(process), 10)
    (tmp_path / "go").touch()
    found = ended(yard, made, 180)
    assert (found["status"], found["counts"], found["planned"]) == ("finished", {"succeeded": 4}, 4)
    runs = runs_of(yard, made)
    assert max(each["attempt"] for each in runs) == 2
    tried = [each["sweep_values"]["level"] for each in runs]
    assert len(set(tried)) == 4
    # Each attempt has had the values of its trial.
    assert [each["summary"]["val_accuracy"]["best"] for each in runs] == tried
    assert found["best"]["value"] == max(tried)


def forge_value(yard: Any, run: str, name: str, value: Any) -> None:
    """Change a value of a queued run in the database."""
    engine = open_database(yard.database)
    with writing(engine) as connection:
        read = text("SELECT content FROM run_command WHERE run = :run")
        content = json.loads(connection.execute(read, {"run": run}).scalar_one())
        content["values"][name] = value
        written = text("UPDATE run_command SET content = :content WHERE run = :run")
        connection.execute(written, {"content": json.dumps(content), "run": run})
    engine.dispose()


def test_a_forged_value_in_the_database_starts_nothing(own_yard: Any, tmp_path: Path) -> None:
    yard = own_yard()
    yard.wait_for_worker()
    yard.call("/queue/pause", {})
    marker = tmp_path / "forged"
    made = sweep(yard, tmp_path, "touch", "{name}", options=("--sweep", "name=a,b"))
    good, forged = yard.call(f"/sweeps/{made}")["runs"]
    forge_value(yard, forged, "name", str(marker))
    yard.call("/queue/resume", {})
    assert yard.wait_for(good, "succeeded", "failed")["status"] == "succeeded"
    found = yard.wait_for(forged, "succeeded", "failed")
    assert found["status"] == "failed"
    assert "is not one of the values that were signed for 'name'" in found["reason"]
    assert (tmp_path / "a").exists()
    assert not marker.exists()
