"""`runyard exec --sweep`: which values its options mean, and what is submitted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.command_sweep import LARGEST_SEED, choice_value, read_sweep
from app.contract.command import CommandRequest
from app.contract.command_key import ensure_key, is_signed, read_key
from app.contract.settings import Settings
from runyard import Runyard
from tests.app.cli.conftest import Command
from tests.conftest import Runs

SEED = {"low": 0, "high": LARGEST_SEED, "whole": True}


@pytest.mark.parametrize(
    ("entry", "allowed"),
    [
        ("lr=1e-4..1e-1:log", {"low": 1e-4, "high": 0.1, "log": True, "whole": False}),
        ("layers=2..8", {"low": 2, "high": 8, "whole": True}),
        ("units=16..512:log", {"low": 16, "high": 512, "log": True, "whole": True}),
        ("batch=16..64:16", {"low": 16, "high": 64, "step": 16, "whole": True}),
        ("drop=0..0.5:0.1", {"low": 0, "high": 0.5, "step": 0.1, "whole": False}),
        ("weight-decay=1.0..2.0", {"low": 1.0, "high": 2.0, "whole": False}),
        ("opt=adam, sgd,adam", {"choice": ["adam", "sgd"]}),
        ("data=../a,../b", {"choice": ["../a", "../b"]}),
        (
            "x=1,2.5,1e-3,007,3.10,nan,inf,true,1_0",
            {"choice": [1, 2.5, 0.001, "007", "3.10", "nan", "inf", "true", "1_0"]},
        ),
        ("expression=a=1,b=2", {"choice": ["a=1", "b=2"]}),
    ],
)
def test_values_mean_what_they_mean_in_other_sweeps(entry: str, allowed: dict[str, Any]) -> None:
    found = read_sweep([entry], None, {})
    assert found is not None
    assert found[0] == {entry.partition("=")[0]: allowed}
    kinds = [type(value) for value in allowed.get("choice", [])]
    assert [type(value) for value in found[0][entry.partition("=")[0]].get("choice", [])] == kinds


@pytest.mark.parametrize("text", ["1", "-3", "0.25", "1e-05", "adam", "1.0"])
def test_a_number_of_a_list_is_passed_on_as_it_was_typed(text: str) -> None:
    assert str(choice_value(text)) == text


@pytest.mark.parametrize(
    ("entries", "seeds", "options", "sweep"),
    [
        (["lr=1e-4..1e-1:log"], None, {"draws": 20}, {"draws": 20, "method": "tpe"}),
        (["lr=1e-4..1e-1:log"], None, {}, {"method": "tpe"}),
        (["opt=a,b"], None, {}, {"method": "grid"}),
        (["opt=a,b"], None, {"draws": 5}, {"draws": 5, "method": "tpe"}),
        (["lr=0..1"], None, {"method": "random", "direction": "min"}, {"method": "random", "direction": "minimize"}),
        ([], 3, {}, {"method": "grid", "seeds": 3}),
    ],
)
def test_the_method_follows_from_the_values(
    entries: list[str], seeds: int | None, options: dict[str, Any], sweep: dict[str, Any]
) -> None:
    found = read_sweep(entries, seeds, options)
    assert found is not None
    assert found[1] == sweep
    assert found[0].get("seed") == (SEED if seeds else None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the command is typed."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sweep_is_submitted_with_the_values_signed(
    url: str, yard: Runyard, runyard: Command, runs: Runs, folder: Path, settings: Settings
) -> None:
    options = ["--sweep", "lr=1e-4..1e-1:log", "--sweep", "opt=adam,sgd", "--trials", "12", "--seeds", "2", "--name"]
    options += ["tune", "--tag", "a", "--metric", "val_loss", "--goal", "min", "--prune", "asha", "--prune-after", "3"]
    options += ["--prune-after-runs", "5", "--restarts", "1"]
    words = ["python3", "train.py", "--lr={lr}", "{opt}", "--seed", "{seed}", "{{x}}"]
    done = runyard("exec", *options, "--", *words)
    assert done.exit_code == 0, done.output
    (sweep,) = yard.sweeps()
    assert done.stdout == f"#1 tune: 24 runs  {url}/sweeps/{sweep.id}\n"
    ((content,),) = runs.sql("SELECT spec FROM sweep")
    request = CommandRequest.model_validate(json.loads(content)["template"])
    assert (request.command.argv, request.restarts, request.tags) == (words, 1, ["a"])
    assert is_signed(read_key(ensure_key(settings.data_dir)), request.command)
    assert request.command.placeholders["seed"].contains(10**9)
    spec = sweep.refresh().data["spec"]
    assert {name: spec[name] for name in ("method", "draws", "seeds", "metric", "direction", "pruning")} == {
        **{"method": "tpe", "draws": 12, "seeds": 2},
        **{"metric": "val_loss", "direction": "minimize", "pruning": "asha"},
    }
    assert (spec["prune_after_epochs"], spec["prune_after_runs"]) == (3, 5)
    assert runyard("sweep", "show", "1").stdout.startswith("sweep")
    assert runyard("sweep", "extend", "1", "--draws", "20").exit_code == 0
    assert yard.find_sweep(sweep.id).planned == 40
    assert runyard("sweep", "stop", "1").exit_code == 0


def test_braces_mean_nothing_without_a_sweep(url: str, runyard: Command, runs: Runs, folder: Path) -> None:
    assert runyard("exec", "--", "awk", "{print $1}", "{lr}").exit_code == 0
    ((content,),) = runs.sql("SELECT content FROM run_command")
    assert json.loads(content)["argv"] == ["awk", "{print $1}", "{lr}"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--sweep", "lr"], "--sweep must be NAME=LOW..HIGH or NAME=A,B"),
        (["--sweep", "lr="], "--sweep must be NAME=LOW..HIGH or NAME=A,B"),
        (["--sweep", "lr=1..x"], "'x' is not a number in --sweep lr=1..x"),
        (["--sweep", "lr=3..1"], "--sweep lr: low must be at most high"),
        (["--sweep", "lr=0..1:log"], "--sweep lr: low must be greater than 0 if log is true"),
        (["--sweep", "lr=1,2", "--sweep", "lr=3"], "--sweep lr=… is given twice"),
        (["--sweep", "seed=1,2"], "write --seeds N for the seeds 1 to N"),
        (["--sweep", "depth=1,2"], "the command has '{lr}', but there are no values for it"),
        (["--sweep", "lr=1,2", "--sweep", "depth=1,2"], "but the command has no '{depth}'"),
        (["--sweep", "lr=1,2", "--seeds", "2"], "there are values for 'seed', but the command has no '{seed}'"),
        (["--sweep", "lr=1..2", "--method", "grid"], "a grid needs discrete values for lr"),
        (["--sweep", "lr=1,2", "--method", "grid", "--trials", "2"], "a grid tries every combination"),
        (["--sweep", "lr=1,2", "--method", "best"], "--method must be grid, random or tpe, not 'best'"),
        (["--sweep", "lr=1,2", "--prune", "best"], "--prune must be median or asha, not 'best'"),
        (["--sweep", "lr=1,2", "--prune-after", "2"], "--prune-after needs --prune median or --prune asha"),
        (["--sweep", "lr=1,2", "--goal", "up"], "--goal must be max or min, not 'up'"),
        (["--metric", "loss"], "--metric needs --sweep NAME=LOW..HIGH"),
        (["--trials", "3"], "--trials needs --sweep NAME=LOW..HIGH"),
    ],
)
def test_what_is_not_a_sweep_is_refused_with_a_sentence(
    options: list[str], sentence: str, url: str, runyard: Command, runs: Runs, folder: Path
) -> None:
    done = runyard("exec", *options, "--", "true", "{lr}")
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr
    assert runs.sql("SELECT (SELECT count(*) FROM run) + (SELECT count(*) FROM sweep)") == [(0,)]


def test_waiting_ends_with_the_sweep_and_says_whether_a_run_succeeded(
    url: str, runyard: Command, yard: Runyard, runs: Runs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runyard import Sweep

    def wait(self: Sweep) -> Sweep:
        for run in self.runs:
            runs.set(run, status="running", fence=1, started_at=1_700_000_000.0)
            runs.finish(run, outcome)
        return self.refresh()

    monkeypatch.setattr(Sweep, "wait", wait)
    for outcome, status in (("failed", 1), ("succeeded", 0)):
        done = runyard("exec", "--wait", "--sweep", "lr=1,2", "--", "true", "{lr}")
        assert (done.exit_code, f"{outcome} 2" in done.stdout) == (status, True)
