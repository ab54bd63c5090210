from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.contract.command import Command
from app.contract.settings import Settings
from worker.commands.environment import command_environment, visible_gpu
from worker.job import CommandJob

URL = "http://127.0.0.1:8000"


def environment_of(made: CommandJob, token: str = "") -> dict[str, str]:
    assert isinstance(made.command, Command)
    return command_environment(made, made.command, token)


def job(tmp_path: Path, environment: dict[str, str], slots: int = 1, **of_worker: str) -> CommandJob:
    command = Command(argv=["train"], folder="/jobs", environment=environment, url=URL)
    settings: Any = Settings(data_dir=tmp_path, slots=slots)
    return CommandJob("r_1", 3, 2, command, settings, None, 4, of_worker)


def test_a_command_is_told_where_to_log_and_which_attempt_it_is(tmp_path: Path) -> None:
    found = environment_of(job(tmp_path, {}, HOME="/home/ada"))
    assert (found["RUNYARD_URL"], found["MLFLOW_TRACKING_URI"]) == (URL, f"{URL}/runs/r_1")
    assert found["MLFLOW_RUN_ID"] == found["RUNYARD_RUN_ID"] == "r_1"
    assert found["RUNYARD_ATTEMPT"] == "2"
    assert found["HOME"] == "/home/ada"
    assert found["CUDA_VISIBLE_DEVICES"] == ""


def test_the_users_variables_win_over_the_workers_but_not_over_the_run(tmp_path: Path) -> None:
    given = {"PATH": "/venv/bin", "PYTHONUNBUFFERED": "", "MLFLOW_RUN_ID": "another"}
    found = environment_of(job(tmp_path, given, PATH="/bin", PYTHONUNBUFFERED="1"))
    assert (found["PATH"], found["PYTHONUNBUFFERED"], found["MLFLOW_RUN_ID"]) == ("/venv/bin", "", "r_1")


def test_the_workers_own_settings_are_not_passed_on(tmp_path: Path) -> None:
    found = environment_of(job(tmp_path, {}, RUNYARD_REDIS_URL="redis://me:secret@host", RUNYARD_SLOTS="2"))
    assert not {"RUNYARD_REDIS_URL", "RUNYARD_SLOTS"} & set(found)


def test_a_command_may_log_and_its_users_own_token_wins(tmp_path: Path) -> None:
    found = environment_of(job(tmp_path, {}, MLFLOW_TRACKING_TOKEN="of the worker"), "ryr_1")
    assert (found["RUNYARD_TOKEN"], found["MLFLOW_TRACKING_TOKEN"]) == ("ryr_1", "ryr_1")
    found = environment_of(job(tmp_path, {"RUNYARD_TOKEN": "ry_x"}), "ryr_1")
    assert (found["RUNYARD_TOKEN"], found.get("MLFLOW_TRACKING_TOKEN")) == ("ry_x", None)


def test_slots_share_the_cores(tmp_path: Path) -> None:
    assert "OMP_NUM_THREADS" not in environment_of(job(tmp_path, {}))
    assert environment_of(job(tmp_path, {}, slots=2))["OMP_NUM_THREADS"] == "4"
    assert environment_of(job(tmp_path, {"OMP_NUM_THREADS": "1"}, slots=2))["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("gpu", "worker", "visible"),
    [(None, "0,1", ""), (1, "", "1"), (0, "3", "3"), (1, "5, 7", "7"), (0, "GPU-ab", "GPU-ab")],
)
def test_a_command_sees_the_gpu_of_its_slot_and_no_other(gpu: int | None, worker: str, visible: str) -> None:
    assert visible_gpu(gpu, {"CUDA_VISIBLE_DEVICES": worker}) == visible
