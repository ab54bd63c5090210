"""Commands that manage runs, sweeps and the queue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.flags import read_changes
from app.cli.sweep import read_space
from app.store.alias import point_alias
from app.store.database import writing
from runyard import Runyard
from tests.app.cli.conftest import Command
from tests.conftest import Runs


def test_runs_are_cancelled_by_name_as_a_sweep_or_all_that_wait(
    url: str, runyard: Command, runs: Runs, yard: Runyard
) -> None:
    ids = [runs.add() for _ in range(4)]
    done = runyard("cancel", "1", "#2")
    assert done.stdout == "2 queued runs cancelled, 0 running runs stopping\n"
    assert [runs.status(run) for run in ids] == ["cancelled", "cancelled", "queued", "queued"]
    assert runyard("launch", "--family", "vit", "--seeds", "2").exit_code == 0
    output = json.loads(runyard("cancel", "--sweep", "1", "--json").stdout)
    assert len(output["cancelled"]) == 2
    assert runyard("cancel", "--all-queued").stdout == "2 queued runs cancelled, 0 running runs stopping\n"
    assert {run.status for run in yard.runs()} == {"cancelled"}
    for words in ([], ["1", "--all-queued"]):
        done = runyard("cancel", *words)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)


def test_a_run_is_launched_again_as_it_was_or_with_changes(
    url: str, runyard: Command, runs: Runs, yard: Runyard
) -> None:
    first = yard.launch(family="vit", size="tiny", lr=0.01)
    runs.finish(first.id, "failed")
    done = runyard("retry", "1")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("#2 vit tiny · digits: queued  ")
    done = runyard("clone", "#1", "--set", "lr=3e-4", "--set", "option.pool=mean", "--set", "tags=a,b", "--json")
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert (made["spec"]["lr"], made["spec"]["tags"], made["relation"]) == (3e-4, ["a", "b"], "clone")
    assert (made["parent"], made["asked"]["options"]) == (first.id, {"pool": "mean"})
    assert [run.relation for run in yard.runs(limit=2)] == ["clone", "retry"]


def test_ended_runs_go_to_the_trash_and_come_back(url: str, runyard: Command, runs: Runs, yard: Runyard) -> None:
    ids = [runs.add() for _ in range(3)]
    for each in ids[:2]:
        runs.finish(each)
    done = runyard("rm", "1", "3")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "#3 is queued; `runyard cancel` stops a run" in done.stderr
    assert len(list(yard.runs())) == 3
    done = runyard("rm", "1", "#2")
    assert done.stdout == f"2 runs deleted; `runyard rm --undo {ids[0]} {ids[1]}` restores them\n"
    assert [run.id for run in yard.runs()] == [ids[2]]
    assert runyard("rm", "--undo", ids[0]).stdout == "1 run restored\n"
    assert json.loads(runyard("rm", "--undo", ids[1], "--json").stdout)["runs"][0]["id"] == ids[1]
    assert len(list(yard.runs())) == 3
    assert json.loads(runyard("rm", "1", "--json").stdout) == {"deleted": [ids[0]]}


def test_what_was_deleted_or_restored_before_a_failure_is_said(
    url: str, runyard: Command, runs: Runs, yard: Runyard
) -> None:
    ids = [runs.add() for _ in range(3)]
    for each in ids:
        runs.finish(each)
    with writing(runs.engine) as connection:
        point_alias(connection, "production", ids[1], 0.0)
    done = runyard("rm", "1", "2", "3")
    assert (done.exit_code, done.stdout) == (1, f"1 run deleted; `runyard rm --undo {ids[0]}` restores it\n")
    assert "production" in done.stderr
    assert sorted(run.id for run in yard.runs()) == sorted(ids[1:])
    assert runyard("rm", "3").exit_code == 0
    done = runyard("rm", "--undo", "r_none", ids[2], "r_nothing", ids[0])
    assert (done.exit_code, done.stdout) == (1, "2 runs restored\n")
    first, second = done.stderr.splitlines()
    assert "r_none'" in first
    assert "r_nothing'" in second
    assert len(list(yard.runs())) == 3


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("rm",), 2, "specify the runs to delete"),
        (("rm", "--undo"), 2, "specify the runs to restore"),
        (("rm", ","), 2, "specify the runs to delete"),
        (("rm", "--undo", "12"), 2, "--undo takes the whole ids that `runyard rm` printed, not '12'"),
        (("rm", "--undo", "r_nothing/x"), 1, "r_nothing"),
        (("rm", "99"), 1, "no run 99; list runs with `runyard ls`"),
        (("resume", "1"), 1, "checkpoint"),
        (("fork", "1", "--epoch", "3", "--set", "lr=1"), 1, "epoch"),
        (("clone", "1", "--set", "lr=-1"), 1, "lr must be greater than 0"),
        (("clone", "1", "--set", "learning=1"), 1, "unknown field 'learning'"),
        (("clone", "1", "--set", "lr"), 2, "--set must be FIELD=VALUE, e.g. lr=3e-4, not 'lr'"),
        (("retry",), 2, "specify the runs to retry"),
        (("queue", "move", "1"), 2, "specify one position: first, last, up, down, --before RUN or --after RUN"),
        (("queue", "move", "1", "sideways"), 2, "unknown position 'sideways'; positions: first, last, up, down"),
        (("queue", "move", "1", "first"), 1, "is no longer queued (status: failed)"),
        (("sweep", "show", "3"), 1, "no sweep 3; list sweeps with `runyard sweep ls`"),
        (("sweep", "extend", "1", "--set", "lr=1..2"), 2, "--set takes a list of values, not a range: lr=0.1,0.01"),
        (("sweep", "extend", "1", "--set", "lr"), 2, "--set must be FIELD=A,B, e.g. lr=0.1,0.01, not 'lr'"),
        (("sweep", "create", "--family", "vit", "--space", "lr=1..x"), 2, "'x' is not a number in --space lr=1..x"),
        (("sweep", "create", "--file", "none.json"), 1, "No such file or directory"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    url: str, runyard: Command, runs: Runs, words: tuple[str, ...], status: int, sentence: str
) -> None:
    runs.finish(runs.add(), "failed")
    done = runyard(*words)
    assert (done.exit_code, done.stdout) == (status, "")
    assert done.stderr.startswith("runyard: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert len(runs.sql("SELECT id FROM run")) == 1


def test_the_queue_is_listed_reordered_paused_and_resumed(url: str, runyard: Command, runs: Runs) -> None:
    assert runyard("queue").stdout == "no queued runs\n"
    for seed in range(3):
        runs.add(seed=seed)
    assert runyard("queue", "move", "3", "first").stdout == "now at position 1\n"
    assert runyard("queue", "move", "1", "--after", "2").stdout == "now at position 3\n"
    lines = runyard("queue").stdout.splitlines()
    assert [line.split()[:2] for line in lines[2:]] == [["1", "3"], ["2", "2"], ["3", "1"]]
    assert runyard("queue", "pause").stdout == "queue paused; no more runs start\n"
    assert runyard("queue", "-n", "1").stdout.splitlines()[0].startswith("the queue is paused")
    assert runyard("queue", "-n", "1").stdout.splitlines()[-1] == "and 2 more"
    assert json.loads(runyard("queue", "--json").stdout)["paused"] is True
    assert runyard("queue", "resume").stdout == "queue resumed\n"
    assert json.loads(runyard("queue", "--json").stdout)["paused"] is False


def test_a_sweep_is_made_from_flags_shown_extended_and_stopped(url: str, runyard: Command, yard: Runyard) -> None:
    done = runyard("sweep", "create", "--family", "vit", "--lr", "1e-3,3e-4", "--seeds", "2", "--name", "rates")
    assert done.exit_code == 0, done.output
    (sweep,) = yard.sweeps()
    assert (sweep.name, sweep.planned, sweep.status, sweep.ended) == ("rates", 4, "running", False)
    assert done.stdout == f"#1 rates: 4 runs  {url}/sweeps/{sweep.id}\n"
    assert f"url       {url}/sweeps/{sweep.id}" in runyard("sweep", "show", "#1").stdout.replace("  " * 4, "      ")
    done = runyard("sweep", "extend", sweep.id[:8], "--seeds", "3", "--set", "lr=1e-2", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["planned"] == 9
    assert [line.split()[0] for line in runyard("sweep", "ls").stdout.splitlines()[2:]] == ["1"]
    assert json.loads(runyard("sweep", "stop", "1", "--json").stdout)["status"] == "stopped"
    assert sweep.refresh().ended
    assert sweep.wait(timeout=10) is sweep


def test_a_search_is_made_from_flags_and_from_a_file(url: str, runyard: Command, yard: Runyard, tmp_path: Path) -> None:
    words = "--family vit --size tiny --space lr=1e-4..1e-1:log --space optimizer=adam,sgd --method random --draws 3"
    done = runyard("sweep", "create", *words.split(), "--pruning", "median", "--json")
    assert done.exit_code == 0, done.output
    output = json.loads(done.stdout)
    assert (output["planned"], output["method"], output["pruning"]) == (3, "random", "median")
    assert {yard.run(run).spec["optimizer"] for run in output["runs"]} <= {"adam", "sgd"}
    file = tmp_path / "sweep.json"
    file.write_text(json.dumps({"base": {"family": "vit"}, "grid": {"size": ["tiny", "small"]}}))
    assert json.loads(runyard("sweep", "create", "--file", str(file), "--json").stdout)["planned"] == 2
    done = runyard("sweep", "create", "--file", str(file), "--family", "vit")
    assert (done.exit_code, done.stderr) == (2, "runyard: --file cannot be combined with run settings\n")
    file.write_text("[]")
    assert "is not a sweep" in runyard("sweep", "create", "--file", str(file)).stderr


@pytest.mark.parametrize(
    ("output", "space"),
    [
        ("lr=1e-5..0.1:log", {"lr": {"low": 1e-5, "high": 0.1, "log": True}}),
        ("batch-size=32..256:32", {"batch_size": {"low": 32, "high": 256, "step": 32}}),
        ("warmup=0..0.5", {"warmup": {"low": 0, "high": 0.5}}),
        ("optimizer=adam, sgd", {"optimizer": {"choice": ["adam", "sgd"]}}),
        ("lr=0.1,1", {"lr": {"choice": [0.1, 1]}}),
    ],
)
def test_a_space_as_it_is_typed(output: str, space: dict[str, Any]) -> None:
    assert read_space([output]) == space


@pytest.mark.parametrize("output", ["lr", "=1..2", "lr= "])
def test_a_space_without_a_field_or_a_range_says_how_it_is_written(output: str) -> None:
    with pytest.raises(
        ValueError, match=r"--space must be FIELD=LOW\.\.HIGH or FIELD=A,B, e\.g\. lr=1e-5\.\.1e-1:log, not '"
    ):
        read_space([output])


@pytest.mark.parametrize(
    ("output", "changes"),
    [
        ("lr=3e-4", {"lr": 3e-4}),
        ("batch-size=64", {"batch_size": 64}),
        ("flip=true", {"flip": True}),
        ("precision=32", {"precision": "32"}),
        ("name=32", {"name": "32"}),
        ("targets=digit,thickness", {"targets": ["digit", "thickness"]}),
        ("option.patch=7", {"options": {"patch": 7}}),
        ("lr=fast", {"lr": "fast"}),
        ("notes=a=b", {"notes": "a=b"}),
    ],
)
def test_a_change_as_it_is_typed(output: str, changes: dict[str, Any]) -> None:
    assert read_changes([output]) == changes
