"""`runyard doctor`: finds what is missing, suggests fixes, and sets the exit status."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from app.cli import doctor
from app.contract.settings import Settings
from app.services import machine_checks
from tests.app.cli.conftest import Command


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the PyTorch probe, which takes seconds; a separate test covers it."""
    monkeypatch.setattr(machine_checks, "TORCH_PROBE", 'print(\'{"torch": "2", "cuda": null, "gpus": []}\')')


def test_a_machine_that_has_everything_is_well(
    runyard: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNYARD_DATA_DIR", str(tmp_path / "new"))
    monkeypatch.setenv("RUNYARD_PORT", "0")
    monkeypatch.setattr(machine_checks, "state_of", lambda settings, free, total: "ok")
    done = runyard("doctor")
    assert done.exit_code == 0, done.output
    what = [line[6:].split(":")[0] for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert what == [
        "Python",
        "Packages",
        "PyTorch",
        "GPU",
        "Redis",
        "Data folder",
        "Disk space",
        "Port",
        "Browser code",
    ]
    said = json.loads(runyard("doctor", "--json").stdout)
    assert said["ok"] is True
    assert [each["what"] for each in said["findings"]] == what
    assert not (tmp_path / "new").exists()


def test_what_is_missing_ends_with_status_1_and_says_what_to_do(
    runyard: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("RUNYARD_PORT", str(taken.getsockname()[1]))
        done = runyard("doctor")
    assert done.exit_code == 1
    assert "fail  Port: 127.0.0.1:" in done.stdout
    assert "→ stop the program that is using it, or choose another port, e.g. runyard up --port 9000" in done.stdout


def test_a_port_on_which_runyard_answers_is_well(url: str) -> None:
    (finding,) = doctor.port(Settings(port=int(url.rpartition(":")[2])))
    assert (finding.state, finding.said) == ("ok", f"Runyard is running at {url.removeprefix('http://')}")


def test_the_server_that_is_named_is_asked_whether_it_answers(
    url: str, runyard: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNYARD_DATA_DIR", str(tmp_path / "new"))
    monkeypatch.setenv("RUNYARD_PORT", "0")
    monkeypatch.setenv("RUNYARD_URL", f"{url}/")
    assert f"ok    Server: Runyard answers at {url}/" in runyard("doctor").stdout
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("RUNYARD_URL", nowhere)
    assert (
        f"warn  Server: no Runyard answers at {nowhere}\n      → start one with `runyard up`"
        in runyard("doctor").stdout
    )
    monkeypatch.delenv("RUNYARD_URL")
    assert "Server:" not in runyard("doctor").stdout


@pytest.mark.parametrize("address", ["nonsense", "http://[", "http://127.0.0.1:99999"])
def test_an_address_that_is_none_has_no_server(address: str) -> None:
    (finding,) = doctor.named_server(address)
    assert (finding.state, finding.said) == ("warn", f"no Runyard answers at {address}")
