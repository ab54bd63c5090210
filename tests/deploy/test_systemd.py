"""The unit files name what exists, and systemd accepts them; tests/system/test_services.py runs what they start."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app.cli import cli
from app.contract.settings import Settings
from app.services.embedded import STOP_SECONDS, redis_command
from tests.systemd_units import FOLDER, OURS, PROGRAM, REDIS, SERVICES, UNITS, read_unit
from worker.supervisor import COMMAND_SECONDS, SHUTDOWN_SECONDS

SETTINGS = {f"RUNYARD_{name.upper()}" for name in Settings.model_fields}
WORKER = UNITS["runyard-worker@.service"]
MOST_EXPOSED = {"runyard-worker@.service": 4.5}
"""Scores of `systemd-analyze security` that must not be exceeded, from 0 to 10; 2 for all others."""

every_service = pytest.mark.parametrize("name", SERVICES)
every_part = pytest.mark.parametrize("name", OURS)


def analyzer() -> str:
    """The program systemd-analyze, with subcommands that need no running systemd; skips the test without it."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not installed, so it was not asked about the units (on Debian: apt install systemd)")
    return program


def verify(folder: Path, name: str) -> str:
    """What systemd has against a unit in a folder; "" if nothing."""
    environment = os.environ | {"SYSTEMD_UNIT_PATH": f"{folder}:"}
    command = [analyzer(), "verify", "--man=no", name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    ours = [line for line in done.stderr.splitlines() if "runyard" in line]
    assert (done.returncode == 0) or ours, done.stderr
    return "\n".join(ours)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The unit files, with programs that are installed here."""
    for name in UNITS:
        text = (FOLDER / name).read_text()
        (tmp_path / name).write_text(text.replace(PROGRAM, "/bin/true").replace(REDIS, "/bin/true"))
    return tmp_path


@pytest.mark.parametrize("name", UNITS)
def test_systemd_has_nothing_against_a_unit(units: Path, name: str) -> None:
    assert verify(units, name) == ""


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("KillMode=mixed", "KillMode=mixt", "kill mode"),
        ("NoNewPrivileges=yes", "NoNewPrivilege=yes", "Unknown key"),
        ("ExecStart=/bin/true recorder", "ExecStart=/nowhere/runyard recorder", "not executable"),
    ],
)
def test_systemd_would_have_something_against_a_wrong_unit(units: Path, right: str, wrong: str, complaint: str) -> None:
    unit = units / "runyard-recorder.service"
    assert right in unit.read_text()
    unit.write_text(unit.read_text().replace(right, wrong))
    assert complaint in verify(units, unit.name)


@every_service
def test_a_service_is_confined(units: Path, name: str) -> None:
    threshold = str(int(10 * MOST_EXPOSED.get(name, 2)))
    command = [analyzer(), "security", "--offline=true", f"--threshold={threshold}", str(units / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_every_part_that_up_starts_has_a_unit() -> None:
    parts = {re.sub(r"runyard-|@?\.service", "", name) for name in SERVICES}
    assert parts == set(STOP_SECONDS)


@every_part
def test_a_service_starts_a_command_of_runyard(name: str) -> None:
    program, command, *options = OURS[name].command()
    assert program == PROGRAM
    found: Any = get_command(cli)
    found.commands[command].make_context(command, options)
    assert name.startswith(f"runyard-{command}")


@every_part
def test_the_variables_of_a_service_are_settings(name: str) -> None:
    environment = OURS[name].environment("cuda:1")
    assert set(environment) <= SETTINGS
    read = Settings.model_validate({key.removeprefix("RUNYARD_").lower(): value for key, value in environment.items()})
    assert str(read.data_dir) == f"/var/lib/{OURS[name].service('StateDirectory')}"
    assert read.device == ("cuda:1" if OURS[name] is WORKER else "auto")


def test_the_variables_of_the_example_are_settings_and_none_counts_until_it_is_chosen() -> None:
    lines = [line for line in (FOLDER / "runyard.env").read_text().splitlines() if line and not line.startswith("# ")]
    assert {line.removeprefix("#").split("=")[0] for line in lines} <= SETTINGS
    assert all(line.startswith("#") for line in lines)


@every_part
def test_the_file_with_secrets_may_be_missing_and_counts_last(name: str) -> None:
    assert OURS[name].service("EnvironmentFile") == "-/etc/runyard/runyard.env"
    keys = list(OURS[name].entries["Service"])
    assert keys.index("EnvironmentFile") > keys.index("Environment")


def test_redis_is_the_one_that_up_starts_at_the_address_that_the_others_ask() -> None:
    redis = UNITS["runyard-redis.service"]
    socket = Path("/run") / redis.service("RuntimeDirectory") / "redis.sock"
    folder = Path("/var/lib") / redis.service("StateDirectory")
    expected = redis_command(Path(REDIS), folder, socket)
    assert sorted(redis.command()) == sorted(expected)
    assert {unit.environment()["RUNYARD_REDIS_URL"] for unit in OURS.values()} == {f"unix://{socket}"}


@every_service
def test_a_service_comes_back_whatever_ended_it(name: str) -> None:
    assert SERVICES[name].service("Restart") == "always"
    assert SERVICES[name].service("User") == SERVICES[name].service("Group") == "runyard"


@every_service
def test_a_service_belongs_to_the_target_that_starts_with_the_machine(name: str) -> None:
    assert SERVICES[name].entries["Unit"]["PartOf"] == ["runyard.target"]
    assert SERVICES[name].entries["Install"]["WantedBy"] == ["runyard.target"]
    assert UNITS["runyard.target"].entries["Install"]["WantedBy"] == ["multi-user.target"]


def test_workers_stop_before_all_that_they_report_to() -> None:
    after = {name: SERVICES[name].entries["Unit"].get("After", [""])[0].split() for name in SERVICES}
    order = ["runyard-redis.service", "runyard-recorder.service", "runyard-server.service", WORKER.name]
    for place, name in enumerate(order):
        assert [each for each in after[name] if each in order] == order[:place]


def test_a_worker_alone_is_asked_to_stop_and_gets_the_time_that_it_may_take() -> None:
    assert WORKER.service("KillMode") == "mixed"
    longest = Settings.model_fields["cancel_seconds"].default + COMMAND_SECONDS + SHUTDOWN_SECONDS
    assert int(WORKER.service("TimeoutStopSec")) > max(longest, STOP_SECONDS["worker"])


def test_a_trainer_without_memory_does_not_end_the_worker() -> None:
    assert WORKER.service("OOMPolicy") == "continue"


def test_gpus_are_not_hidden_from_a_worker() -> None:
    assert "PrivateDevices" not in WORKER.entries["Service"]
    assert "SystemCallFilter" not in WORKER.entries["Service"]


def test_a_line_that_goes_on_is_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "a.service"
    path.write_text('[Service]\n# ExecStart=/no\nExecStart=/bin/echo one \\\n    "two three" \\\n    ""\n')
    assert read_unit(path).command() == ["/bin/echo", "one", "two three", ""]
