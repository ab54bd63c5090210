"""`runyard exec`: what is submitted, and what is refused before anything is."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from app.contract.command import Command as Signed
from app.contract.command_key import ensure_key, is_signed, read_key
from app.contract.settings import Settings
from tests.app.cli.conftest import Command
from tests.conftest import Runs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the command is typed."""
    found = tmp_path / "my jobs"
    found.mkdir()
    monkeypatch.chdir(found)
    return found


def submitted(runs: Runs) -> Signed:
    """The only command that was submitted."""
    ((content,),) = runs.sql("SELECT content FROM run_command")
    return Signed.model_validate_json(content)


def test_a_command_is_queued_as_it_was_typed(
    url: str, runyard: Command, runs: Runs, folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLD", "here")
    words = ["python3", "train.py", "--name", "its own", "; touch x", "$(id)", ""]
    options = ["--name", "tune", "--tag", "a", "--tag", "b", "--env", "TOLD", "--env", "X=a=b", "--restarts", "2"]
    done = runyard("exec", *options, "--", *words)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"#1 tune: queued  {url}/runs/r_")
    command = submitted(runs)
    assert (command.argv, command.folder, command.url) == (words, str(folder), url)
    assert command.environment["PATH"] == os.environ["PATH"]
    assert {name: command.environment[name] for name in ("TOLD", "X")} == {"TOLD": "here", "X": "a=b"}
    assert "HOME" not in command.environment
    assert is_signed(read_key(ensure_key(settings.data_dir)), command)
    (row,) = runs.sql("SELECT worker_wanted, name FROM run")
    assert row == (f"{socket.gethostname()}-", "tune")


def test_options_after_the_program_are_its_own_even_without_dashes(
    url: str, runyard: Command, runs: Runs, folder: Path
) -> None:
    done = runyard("exec", "--json", "ls", "--json", "--help")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["command"]["argv"] == ["ls", "--json", "--help"]


def test_the_token_for_the_server_is_passed_on(
    url: str, runyard: Command, runs: Runs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNYARD_TOKEN", "abc")
    assert runyard("exec", "true").exit_code == 0
    environment = submitted(runs).environment
    assert environment["RUNYARD_TOKEN"] == environment["MLFLOW_TRACKING_TOKEN"] == "abc"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["no-such-program"], "cannot find the program 'no-such-program'"),
        (["ls | head"], "commands are not read by a shell"),
        (["--env", "NOT_SET_HERE", "true"], "write --env NOT_SET_HERE=VALUE"),
        (["--env", "A B=1", "true"], "environment"),
        (["--device", "gpu", "true"], "must be auto, cpu, cuda"),
        (["true", "x" * 100_001], "at most 100,000 characters"),
        (["true", *["x" * 90_000] * 3], "at most 262,144 are possible"),
        (["true", "\udcff"], "valid UTF-8"),
    ],
)
def test_what_cannot_be_started_is_refused_with_a_sentence(
    words: list[str], sentence: str, url: str, runyard: Command, runs: Runs, folder: Path
) -> None:
    done = runyard("exec", *words)
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr
    assert runs.sql("SELECT count(*) FROM run") == [(0,)]


def test_who_cannot_read_the_key_is_told_why(
    url: str, runyard: Command, runs: Runs, folder: Path, settings: Settings
) -> None:
    ensure_key(settings.data_dir).chmod(0o640)
    done = runyard("exec", "true")
    assert done.exit_code == 2
    assert "commands can only be submitted by the user who runs the server" in done.stderr
    assert runs.sql("SELECT count(*) FROM run") == [(0,)]
