"""`runyard join` and `runyard worker-token`."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from app.contract.joining import make_token
from tests.app.cli.conftest import Command

REDIS = "rediss://:secret@10.0.0.1:6379/0"


class Started(Exception):
    """The worker would run now."""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of another machine."""
    folder = tmp_path / "machine"
    monkeypatch.setenv("RUNYARD_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The environments of workers that were started."""
    environments: list[dict[str, str]] = []

    def execve(program: str, command: list[str], environment: dict[str, str]) -> None:
        assert command == [program, "-m", "worker"]
        environments.append(environment)
        raise Started

    monkeypatch.setattr(os, "execve", execve)
    return environments


@pytest.fixture
def server_settings(server: FastAPI, tmp_path: Path) -> None:
    """Let other machines reach the server's stores."""
    (tmp_path / "ca.pem").write_text("PEM")
    parts = server.state.parts
    given = {"redis_url": f"{REDIS}?ssl_ca_certs={tmp_path / 'ca.pem'}", "artifact_url": "s3://yard/runyard"}
    parts.settings = parts.settings.model_copy(update=given)


def test_a_machine_joins_and_starts_again_without_the_token(
    runyard: Command, url: str, server_settings: None, machine: Path, started: list[dict[str, str]]
) -> None:
    command = runyard("worker-token", "add", "--server-url", url).stdout.split()
    assert command[:2] == ["runyard", "join"]
    for words in (command[1:], ["join"]):
        assert isinstance(runyard(*words).exception, Started)
    assert len(started) == 2
    for environment in started:
        assert environment["RUNYARD_REDIS_URL"].startswith(f"{REDIS}?ssl_ca_certs=")
        assert environment["RUNYARD_ARTIFACT_URL"] == "s3://yard/runyard"
        assert environment["RUNYARD_DATA_DIR"] == str(machine)
    assert (machine / "redis-ca.pem").read_text() == "PEM"
    for path in machine.iterdir():
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # It worked once. What the machine has stays.
    refused = runyard(*command[1:])
    assert refused.exit_code == 1
    assert refused.stderr.startswith("runyard: this token was used up by ")
    assert isinstance(runyard("join").exception, Started)
    listed = json.loads(runyard("worker-token", "ls", "--json").stdout)["tokens"]
    assert [each["uses_left"] for each in listed] == [0]
    assert listed[0]["id"] in runyard("worker-token", "ls").stdout
    assert runyard("worker-token", "rm", listed[0]["id"]).stdout == f"token {listed[0]['id']} deleted\n"


@pytest.mark.parametrize(
    ("token", "sentence"),
    [
        (None, "runyard: this machine has not joined a server; an administrator creates the command for it"),
        ("ryj_nothing", "runyard: this is not a token for workers; an administrator creates one"),
        (make_token("http://127.0.0.1:9", "x"), "runyard: cannot "),
    ],
)
def test_a_wrong_token_is_one_sentence(
    token: str | None, sentence: str, runyard: Command, machine: Path, started: list[Any]
) -> None:
    refused = runyard("join", *([token] if token else []))
    assert refused.exit_code == 1
    assert refused.stderr.startswith(sentence), refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not started
    assert not (machine / "join.json").exists()
