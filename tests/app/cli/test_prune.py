"""`runyard prune` says what the server no longer keeps, and removes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from app.cli import prune
from app.contract.events import LogLine
from app.contract.settings import Settings
from app.store.database import writing
from app.store.log import add_lines
from app.store.removal import finish_removal
from tests.app.cli.conftest import Command, Interceptor
from tests.checkpoints import finished_run
from tests.conftest import Runs


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Checkpoints and logs of old runs go."""
    return settings.model_copy(update={"checkpoints_days": 30.0, "logs_days": 2.5})


@pytest.fixture
def old(settings: Settings, engine: Engine, runs: Runs) -> str:
    """A run that ended years ago."""
    run, _ = finished_run(runs, settings, family="simple_mlp", size="tiny", dataset="digits", epochs=3)
    with writing(engine) as connection:
        add_lines(connection, run, 1, [LogLine(time=1_700_000_100.0, level="info", text="x" * 250_000)], 1)
    return run


def test_a_dry_run_says_of_which_run_what_goes_and_why(runyard: Command, url: str, runs: Runs, old: str) -> None:
    for _ in range(2):
        said = runyard("prune", "--dry-run")
        assert said.exit_code == 0
        lines = said.stdout.splitlines()
        assert (
            lines[0] == "limits of the server: RUNYARD_CHECKPOINTS_DAYS=30 RUNYARD_LOGS_DAYS=2.5 RUNYARD_TRASH_DAYS=7"
        )
        table = [" ".join(line.split()) for line in lines[3:5]]
        assert table[0].startswith("1 simple_mlp tiny · digits checkpoints ")
        assert "days ago, kept for 30 days" in table[0]
        assert table[1].startswith("1 simple_mlp tiny · digits log 0.2 MB ended ")
        assert lines[-2].startswith("would remove 2 things, 0.")
        assert lines[-1].startswith("kept: runs that have not ended, ended within the last hour, ")
    planned = json.loads(runyard("prune", "--dry-run", "--json").stdout)
    assert [entry["kind"] for entry in planned["entries"]] == ["checkpoints", "logs"]
    assert runs.get(old).checkpoint


def test_it_removes_and_waits_until_the_recorder_has_deleted(
    runyard: Command,
    url: str,
    runs: Runs,
    engine: Engine,
    old: str,
    intercept: Callable[[Interceptor], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = []

    def delete_at_the_second_look(call: Any, send: Callable[[], Any]) -> Any:
        if call.method == "GET":
            looks.append(call.path)
            if len(looks) == 2:
                with writing(engine) as connection:
                    finish_removal(connection, f"{old}/1/last-20.safetensors")
        return send()

    intercept(delete_at_the_second_look)
    monkeypatch.setattr(prune, "LOOK_SECONDS", 0.0)
    said = runyard("prune")
    assert said.exit_code == 0, said.output
    assert said.stdout.startswith("removed 2 things, ")
    assert "deleting: 1 files" in said.stderr
    assert looks == ["/retention", "/retention"]
    assert runs.get(old).checkpoint == ""
    assert "removed checkpoints, log" in " ".join(runyard("show", "1").stdout.split())
    log = runyard("logs", "1")
    assert (log.exit_code, log.stdout) == (0, "")
    assert "its log was removed on 20" in log.stderr
    assert runyard("prune").stdout == "nothing to remove\n"
    assert json.loads(runyard("prune", "--json").stdout) == {"count": 0, "bytes": 0}


def test_without_a_recorder_it_does_not_wait_for_ever(
    runyard: Command, url: str, old: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(prune, "PATIENCE_SECONDS", 0.0)
    said = runyard("prune")
    assert said.exit_code == 0
    assert "the recorder deletes the rest when it can" in said.stderr


def test_a_refusal_is_a_sentence(runyard: Command) -> None:
    said = runyard("prune", "--url", "http://127.0.0.1:9")
    assert said.exit_code == 1
    assert "runyard: " in said.stderr
