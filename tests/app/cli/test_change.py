"""`runyard change`, and the client's methods behind it."""

from __future__ import annotations

import json

import pytest

from runyard import Runyard, RunyardError
from tests.app.cli.conftest import Command
from tests.conftest import Runs


def test_a_run_is_changed_by_the_command_line(runyard: Command, yard: Runyard, runs: Runs) -> None:
    run = runs.add(schedule="cosine")
    done = runyard("change", "1", "--lr-factor", "0.3", "--epochs", "30", "--note", "slower now")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].startswith(
        "#1: epochs 30 (waiting). If the run has already passed the new total, it ends after the current epoch."
    )
    assert lines[1].startswith(
        "#1: learning rate × 0.3 (waiting). Multiplies the learning rate for the rest of the cosine schedule"
    )
    assert lines[2].startswith("#1: note slower now (waiting).")
    assert [(each.kind, each.value) for each in yard.run(run).changes()] == [
        ("epochs", 30),
        ("lr_factor", 0.3),
        ("note", "slower now"),
    ]
    done = runyard("change", "1", "--checkpoint", "--stop-after-epoch", "--json")
    assert [each["kind"] for each in json.loads(done.output)["changes"]] == ["checkpoint", "stop_after_epoch"]
    listed = runyard("change", "1").output
    assert "learning rate × 0.3" in listed
    assert "waiting" in listed


def test_a_run_without_changes_says_so_and_an_ended_one_why_it_has_none(runyard: Command, url: str, runs: Runs) -> None:
    run = runs.add()
    assert url
    assert runyard("change", "1").output == "no changes\n"
    runs.finish(run)
    done = runyard("change", "1", "--checkpoint")
    assert done.exit_code == 1
    assert "can no longer be changed" in done.output


def test_the_client_changes_one_thing_at_a_time(yard: Runyard, runs: Runs) -> None:
    run = yard.run(runs.add())
    made = run.change(lr_factor=0.5)
    assert (made.state, made.kind, made.value, made.step) == ("waiting", "lr_factor", 0.5, None)
    assert made.data["via"] == "API"
    assert run.change(stop_after_epoch=True).value is None
    assert run.marks() == []
    with pytest.raises(ValueError, match="pass exactly one of epochs"):
        run.change()
    with pytest.raises(ValueError, match="pass exactly one of epochs"):
        run.change(epochs=3, checkpoint=True)
    with pytest.raises(RunyardError) as refused:
        run.change(lr_factor=-1.0)
    assert refused.value.errors[0].field == "value"
