"""`runyard launch` against a running server: queued runs, output and exit status."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from app.cli import launch
from app.cli.output import run_line
from app.web.run_selection import MOST_RUNS
from runyard import Runyard, RunyardError
from tests.app.cli.conftest import Command, Interceptor
from tests.conftest import Runs


def queued(runs: Runs) -> list[tuple[Any, ...]]:
    return runs.sql("SELECT family, size, dataset FROM run ORDER BY number")


def test_one_run_is_queued_with_what_the_flags_say_and_its_page_is_named(
    url: str, runyard: Command, runs: Runs
) -> None:
    words = "--family efficientnet --size tiny --dataset mnist --targets digit,thickness --option swish=learnable"
    words += " --batch-size 64 --lr 3e-4 --no-flip --tags a,b --seed 7 --priority -2 --notes x"
    done = runyard("launch", *words.split())
    assert (done.exit_code, done.stderr) == (0, "runyard: #1 is waiting: no worker is connected\n")
    ((run_id,),) = runs.sql("SELECT id FROM run")
    assert done.stdout.strip().endswith(f"{url}/runs/{run_id}")
    assert done.stdout.count("\n") == 1
    asked = runs.get(run_id).requested_spec
    assert asked == {
        "family": "efficientnet",
        "size": "tiny",
        "dataset": "mnist",
        "targets": ["digit", "thickness"],
        "options": {"swish": "learnable"},
        "batch_size": 64,
        "lr": 3e-4,
        "flip": False,
        "tags": ["a", "b"],
        "seed": 7,
        "priority": -2,
        "notes": "x",
    }


def test_several_runs_are_queued_in_order_and_shown_together(
    url: str, runyard: Command, runs: Runs, yard: Runyard
) -> None:
    done = runyard(
        "launch", "--family", "simple_mlp,vit", "--size", "all", "--tags", "zoo, 1", "--most-params", "300_000"
    )
    assert done.exit_code == 0, done.output
    assert queued(runs) == [
        *(("simple_mlp", size, "digits") for size in ("tiny", "small", "base")),
        *(("vit", size, "digits") for size in ("tiny", "small")),
    ]
    ids = [row[0] for row in runs.sql("SELECT id FROM run ORDER BY number")]
    lines = done.stdout.splitlines()
    assert re.fullmatch(rf"simple_mlp tiny · digits +8,390 parameters  {url}/runs/{ids[0]}", lines[0])
    assert lines[-2] == f"runs: {url}/runs?tag=1&tag=zoo"
    assert lines[-1] == f"comparison: {url}/compare?runs={','.join(ids)}"
    assert done.stderr == (
        "runyard: skipped networks with more than 300,000 parameters:"
        " vit base · digits (821,514), vit large · digits (14,384,650)\n"
        "runyard: #1 is waiting: no worker is connected\n"
    )
    assert {run.id for run in yard.runs(tag=["zoo", "1"])} == set(ids)


def test_launching_does_not_fail_because_the_queue_cannot_be_read(
    url: str, runyard: Command, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(_: Runyard) -> Any:
        raise RunyardError("the database does not respond", 503)

    monkeypatch.setattr(Runyard, "queue", unreadable)
    done = runyard("launch", "--family", "vit")
    assert (done.exit_code, done.stdout.count("\n")) == (0, 1)
    assert done.stderr == "runyard: cannot tell when the runs start: the database does not respond\n"
    assert len(queued(runs)) == 1


def test_more_runs_than_can_be_compared_at_once_are_not_offered_for_it(url: str, runyard: Command, runs: Runs) -> None:
    assert launch.MAX_COMPARED == MOST_RUNS
    done = runyard("launch", "--family", "all", "--size", "all", "--dataset", "digits,mnist")
    assert done.exit_code == 0, done.output
    assert done.stdout.count(" parameters ") == len(queued(runs)) > MOST_RUNS
    assert "compare" not in done.stdout
    assert "sweep: " in done.stdout


def test_as_json_the_runs_are_those_of_the_api(url: str, runyard: Command, runs: Runs, yard: Runyard) -> None:
    done = runyard("launch", "--family", "simple_cnn", "--size", "tiny,large", "--most-params", "10000", "--json")
    assert done.exit_code == 0
    output = json.loads(done.stdout)
    assert output["runs"] == [yard.run(output["runs"][0]["id"]).data]
    assert output["left_out"] == [{"family": "simple_cnn", "size": "large", "dataset": "digits", "params": 3_291_786}]
    assert (output["links"], output["sweep"]) == ({}, None)
    assert queued(runs) == [("simple_cnn", "tiny", "digits")]


def test_each_run_has_a_key_of_its_own_and_the_next_call_others(url: str, runyard: Command, runs: Runs) -> None:
    for _ in range(2):
        words = ("--family", "simple_cnn,vit", "--size", "all", "--most-params", "69000")
        assert runyard("launch", *words).exit_code == 0
    keys = [str(row[0]) for row in runs.sql("SELECT idempotency_key FROM run ORDER BY number")]
    assert len(set(keys)) == len(keys) == 6
    assert min(map(len, keys)) > 20


# Sweeps --------------------------------------------------------------------------------------------------------------


def test_every_combination_of_several_values_and_seeds_is_one_sweep(
    url: str, runyard: Command, runs: Runs, yard: Runyard
) -> None:
    words = "--family simple_cnn,vit --size tiny,small --dataset digits --lr 1e-3,3e-4 --seeds 2 --epochs 3 --tags a"
    done = runyard("launch", *words.split())
    assert done.exit_code == 0, done.output
    (sweep,) = (each.refresh() for each in yard.sweeps())
    assert (sweep.planned, len(sweep.runs)) == (16, 16)
    found = [yard.run(run_id) for run_id in sweep.runs]
    combinations = {(run.spec["family"], run.spec["size"], run.spec["lr"], run.spec["seed"]) for run in found}
    assert len(combinations) == 16
    assert {(run.spec["epochs"], *run.tags) for run in found} >= {(3, "a")}
    lines = done.stdout.splitlines()
    assert len([line for line in lines if " parameters " in line]) == 16
    assert f"sweep: {url}/sweeps/{sweep.id}" in lines
    assert lines[-1] == f"comparison: {url}/compare?runs={','.join(sweep.runs)}&by=variant"


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("--family vit --seeds 3", 3),
        ("--family vit --size all", 4),
        ("--family simple_mlp,vit --size all", 7),
        ("--family vit --option patch=4,7 --option pool=mean,cls", 4),
        ("--family vit --size tiny --seed 4,9", 2),
        ("--family vit --seed 5 --seeds 2 --weight-decay 0,0.1", 4),
        ("--preset mnist_cnn_8k --dataset digits,mnist", 2),
    ],
)
def test_what_is_named_several_times_is_one_sweep_of_what_the_plan_says(
    url: str, runyard: Command, yard: Runyard, words: str, number: int
) -> None:
    done = runyard("launch", *words.split(), "--json")
    assert done.exit_code == 0, done.output
    output = json.loads(done.stdout)
    assert len(output["runs"]) == output["sweep"]["planned"] == number
    assert [sweep.id for sweep in yard.sweeps()] == [output["sweep"]["id"]]
    assert output["links"]["sweep"] == f"{url}/sweeps/{output['sweep']['id']}"
    assert {run["sweep"] for run in output["runs"]} == {output["sweep"]["id"]}
    seeds = {run["spec"]["seed"] for run in output["runs"]}
    assert "seed" not in words or len(seeds) > 1
    assert "--seed 5" not in words or seeds == {5, 6}


def test_one_run_is_no_sweep(url: str, runyard: Command, yard: Runyard) -> None:
    assert runyard("launch", "--family", "vit", "--seeds", "1").exit_code == 0
    assert yard.sweeps() == []


@pytest.mark.parametrize(
    ("words", "sentences"),
    [
        ("", ["a family or a preset is required; families: "]),
        ("--family vit --size hug", ["no size 'hug' for vit; sizes: tiny, small, base, large"]),
        ("--family vit,simple_cnn --size large_pool4", ["no size 'large_pool4' for vit; sizes: "]),
        (
            "--family vit --epochs 0 --recipe slow",
            ["epochs must be at least 1", "no recipe 'slow'; recipes: "],
        ),
        (
            "--family vit,simple_cnn --auxiliary",
            ["vit does not support auxiliary scalars; families that do: simple_cnn"],
        ),
        ("--family vit --option pool", ["--option must be NAME=VALUE"]),
        (
            "--family vit --most-params 5",
            [
                "skipped networks with more than 5 parameters: vit small",
                "no runs to launch: all networks exceed --most-params",
            ],
        ),
        ("--family vit --seeds 2 --seed 1,2", ["--seed must be a single whole number when --seeds is used"]),
        ("--family vit --lr 0.1,fast,-1", ["lr must be a number", "lr must be greater than 0"]),
        (
            "--family vit --lr 1e-4..1e-2:log",
            ["lr must be a number; for a range: runyard sweep create --space lr=1e-4..1e-2:log"],
        ),
        ("--family vit --option patch=4,5", ["no choice '5' for option patch of vit; choices: 4, 7, 8, 14, 16, 32"]),
        (
            "--preset speedrun_mnist_95",
            ["no preset 'speedrun_mnist_95'; did you mean speedrun_mnist_99? `runyard presets` lists all "],
        ),
        ("--family vit --dataset cifar --size tinny", ["no dataset 'cifar'; datasets: ", "no size 'tinny' for vit"]),
    ],
)
def test_when_anything_is_wrong_nothing_is_launched(
    url: str, runyard: Command, runs: Runs, words: str, sentences: list[str]
) -> None:
    done = runyard("launch", *words.split())
    assert done.exit_code == 2
    lines = done.stderr.splitlines()
    assert len(lines) == len(sentences)
    for line, sentence in zip(lines, sentences, strict=True):
        assert line.startswith(f"runyard: {sentence}")
    assert done.stdout == ""
    assert queued(runs) == []


def test_a_network_that_cannot_take_the_images_stops_all_launches(
    url: str, runyard: Command, runs: Runs, intercept: Callable[[Interceptor], None]
) -> None:
    previewed: list[Any] = []

    def sent(call: Any, send: Callable[[], Any]) -> Any:
        if call.path != "/preview":
            return send()
        previewed.append(call.body)
        if call.body["dataset"] == "cifar10":
            raise RunyardError("patches of 7 do not fill 32 pixels", 422)
        raise RunyardError("none yet", 404)

    intercept(sent)
    done = runyard("launch", "--family", "vit", "--dataset", "mnist,cifar10", "--option", "patch=7", "--seeds", "2")
    assert (done.exit_code, done.stderr) == (2, "runyard: patches of 7 do not fill 32 pixels\n")
    assert [each["options"] for each in previewed] == [{"patch": 7}, {"patch": 7}]
    assert queued(runs) == []


def test_when_a_launch_fails_midway_those_before_it_are_named(
    url: str, runyard: Command, runs: Runs, intercept: Callable[[Interceptor], None]
) -> None:
    launches = iter(range(1000))

    def sent(call: Any, send: Callable[[], Any]) -> Any:
        if (call.method, call.path) == ("POST", "/runs") and next(launches) == 2:
            raise RunyardError("the disk is full", 500)
        return send()

    intercept(sent)
    done = runyard("launch", "--family", "simple_mlp,vit", "--size", "all", "--most-params", "69000")
    assert done.exit_code == 2
    lines = done.stderr.splitlines()[1:]
    ids = [row[0] for row in runs.sql("SELECT id FROM run ORDER BY number")]
    assert [line.rpartition("/")[2] for line in lines[:2]] == ids
    assert lines[-2:] == ["runyard: launched only 2 of 3 runs", "runyard: the disk is full"]
    assert done.stdout == ""


def test_without_a_server_one_sentence_says_how_to_start_one(runyard: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_URL", "http://127.0.0.1:9")
    done = runyard("launch", "--family", "vit")
    assert done.exit_code == 2
    assert done.stderr.startswith("runyard: cannot connect to a Runyard server at http://127.0.0.1:9; start one with")
    assert done.stderr.count("\n") == 1


def test_the_server_is_the_one_that_is_named_or_configured(
    url: str, runyard: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNYARD_URL", "http://127.0.0.1:9")
    assert runyard("launch", "--family", "vit", "--url", url).exit_code == 0
    monkeypatch.delenv("RUNYARD_URL")
    monkeypatch.setenv("RUNYARD_PORT", url.rpartition(":")[2])
    assert runyard("launch", "--family", "vit").exit_code == 0


# Waiting -------------------------------------------------------------------------------------------------------------


def ending(runs: Runs, *outcomes: str) -> Interceptor:
    """Return an interceptor that ends every launched run."""
    left = iter(outcomes)

    def sent(call: Any, send: Callable[[], Any]) -> Any:
        answer = send()
        if (call.method, call.path) in (("POST", "/runs"), ("POST", "/sweeps")):
            for (run,) in runs.sql("SELECT id FROM run WHERE status = 'queued' ORDER BY number"):
                runs.finish(run, next(left))
        return answer

    return sent


@pytest.mark.parametrize("how", ["--wait", "--watch"])
def test_waiting_ends_with_a_line_for_each_run_and_status_0_when_all_succeeded(
    url: str, runyard: Command, runs: Runs, intercept: Callable[[Interceptor], None], how: str
) -> None:
    intercept(ending(runs, "succeeded", "succeeded"))
    done = runyard("launch", "--family", "vit", "--size", "tiny,small", how)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[3].startswith("comparison: ")
    assert len(lines) == 2 + 2 + 2
    assert lines[4].startswith("succeeded  vit tiny · digits  ")
    assert lines[5].startswith("succeeded  vit small · digits  ")


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
@pytest.mark.parametrize("how", ["--wait", "--watch"])
def test_waiting_ends_with_status_1_when_one_did_not_succeed(
    url: str, runyard: Command, runs: Runs, intercept: Callable[[Interceptor], None], outcome: str, how: str
) -> None:
    intercept(ending(runs, outcome, "succeeded"))
    done = runyard("launch", "--family", "vit", "--size", "tiny,small", how, "--json")
    assert done.exit_code == 1
    assert [run["status"] for run in json.loads(done.stdout)["runs"]] == [outcome, "succeeded"]


def test_an_ended_run_in_a_line_says_what_it_reached_or_why_it_failed() -> None:
    run: dict[str, Any] = {
        "spec": {"family": "vit", "size": "tiny", "dataset": "mnist"},
        "id": "r1",
        "url": "/runs/r1",
        "status": "succeeded",
        "reason": "",
        "seconds": 12.34,
        "summary": {"val/acc": {"last": 0.1}, "test/digit/acc": {"last": 0.98765}, "test/loss": {"last": 1.0}},
    }
    assert run_line(run, "http://a") == ("succeeded  vit tiny · mnist  test/digit/acc 98.77%  12 s  http://a/runs/r1")
    run |= {"status": "failed", "reason": "out of memory", "seconds": None}
    assert run_line(run, "http://a") == "failed     vit tiny · mnist  out of memory  http://a/runs/r1"
    assert run_line({"id": "r1", "status": "deleted"}, "http://a") == "deleted    run r1"


@pytest.mark.parametrize(
    ("how", "function"), [("--wait", "app.cli.launch.wait_for"), ("--watch", "app.cli.watch.watch_runs")]
)
def test_who_stops_waiting_is_told_that_the_runs_go_on_and_how_to_stop_them(
    url: str, runyard: Command, runs: Runs, monkeypatch: pytest.MonkeyPatch, how: str, function: str
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(function, interrupted)
    done = runyard("launch", "--family", "vit", how)
    assert done.exit_code == 130
    ((run_id, status),) = runs.sql("SELECT id, status FROM run")
    assert status == "queued"
    assert done.stderr.splitlines() == [
        "runyard: #1 is waiting: no worker is connected",
        f"runyard: stopped waiting; the runs continue (stop them with `runyard cancel {run_id}`)",
    ]


def test_who_waits_for_a_paused_queue_is_told_so(
    url: str, runyard: Command, runs: Runs, yard: Runyard, intercept: Callable[[Interceptor], None]
) -> None:
    yard.pause_queue()
    intercept(ending(runs, "succeeded"))
    done = runyard("launch", "--family", "vit", "--wait")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines()[0] == "runyard: the queue is paused; resume it with `runyard queue resume`"
