"""`runyard launch` against a running server: what is queued, what is said, and the exit status."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from app.cli import launch
from app.cli.api import Api, ApiError
from app.routes.compare import MOST_RUNS
from tests.app.cli.conftest import Said
from tests.conftest import Runs


def queued(runs: Runs) -> list[tuple[Any, ...]]:
    return runs.sql("SELECT family, size, dataset FROM run ORDER BY number")


def test_one_run_is_queued_with_what_the_flags_say_and_its_page_is_named(url: str, runyard: Said, runs: Runs) -> None:
    words = "--family efficientnet --size tiny --dataset mnist --targets digit,thickness --option swish=learnable"
    words += " --batch-size 64 --lr 3e-4 --no-flip --tags a,b --seed 7 --priority -2 --notes x"
    done = runyard("launch", *words.split())
    assert (done.exit_code, done.stderr) == (0, "")
    ((run_id,),) = runs.sql("SELECT id FROM run")
    assert done.stdout.strip().endswith(f"{url}/runs/{run_id}")
    assert done.stdout.count("\n") == 1
    asked = runs.get(run_id).asked_spec
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


def test_several_runs_are_queued_in_order_and_shown_together(url: str, runyard: Said, runs: Runs) -> None:
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
    assert lines[-2] == f"together: {url}/runs?tag=1&tag=zoo"
    assert lines[-1] == f"compared: {url}/compare?runs={','.join(ids)}"
    assert done.stderr == (
        "runyard: left out, with more than 300,000 parameters:"
        " vit base · digits (821,514), vit large · digits (14,384,650)\n"
    )
    assert Api(url).get("/runs", tag=["zoo", "1"])["total"] == 5


def test_more_runs_than_can_be_compared_at_once_are_not_offered_for_it(url: str, runyard: Said) -> None:
    assert launch.MOST_COMPARED == MOST_RUNS
    done = runyard("launch", "--family", "all", "--size", "all", "--dataset", "digits,mnist")
    assert done.exit_code == 0
    assert done.stdout.count(" parameters ") == Api(url).get("/runs", limit=1)["total"] > MOST_RUNS
    assert "compare" not in done.stdout


def test_as_json_the_runs_are_those_of_the_api(url: str, runyard: Said, runs: Runs) -> None:
    done = runyard("launch", "--family", "simple_cnn", "--size", "tiny,large", "--most-params", "10000", "--json")
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert said["runs"] == [Api(url).get(f"/runs/{said['runs'][0]['id']}")]
    assert said["left_out"] == [{"family": "simple_cnn", "size": "large", "dataset": "digits", "params": 3_291_786}]
    assert said["links"] == {}
    assert queued(runs) == [("simple_cnn", "tiny", "digits")]


def test_each_run_has_a_key_of_its_own_and_the_next_call_others(url: str, runyard: Said, runs: Runs) -> None:
    for _ in range(2):
        assert runyard("launch", "--family", "simple_cnn", "--size", "tiny,small").exit_code == 0
    keys = [str(row[0]) for row in runs.sql("SELECT idempotency_key FROM run ORDER BY number")]
    assert len(set(keys)) == 4
    tokens = [key.rpartition("-")[0] for key in keys]
    assert tokens[0] == tokens[1] != tokens[2] == tokens[3]
    assert len(tokens[0]) > 20


@pytest.mark.parametrize(
    ("words", "sentences"),
    [
        ("", ["name a family or a preset; families: "]),
        ("--family vit --size hug", ["no size 'hug' for vit; sizes: tiny, small, base, large"]),
        ("--family vit,simple_cnn --size large_pool4", ["no size 'large_pool4' for vit; sizes: "]),
        ("--family vit --epochs 0 --recipe slow", ["epochs must be at least 1"]),
        ("--family vit,simple_cnn --auxiliary", ["vit takes no auxiliary scalars; families that do: simple_cnn"]),
        ("--family vit --option pool", ["--option wants name=value"]),
        ("--family vit --most-params 5", ["left out, with more than 5 parameters: vit small", "no run is left"]),
        ("--family vit --dataset cifar --size tinny", ["no dataset 'cifar'; datasets: ", "no size 'tinny' for vit"]),
    ],
)
def test_when_anything_is_wrong_nothing_is_launched(
    url: str, runyard: Said, runs: Runs, words: str, sentences: list[str]
) -> None:
    done = runyard("launch", *words.split())
    assert done.exit_code == 2
    lines = done.stderr.splitlines()
    assert len(lines) == len(sentences)
    for line, sentence in zip(lines, sentences, strict=True):
        assert line.startswith(f"runyard: {sentence}")
    assert done.stdout == ""
    assert queued(runs) == []


def refusing(at: int, error: ApiError) -> Callable[..., Any]:
    """Api.post that lets through what comes before the launch number ``at``."""
    real, launches = Api.post, iter(range(1000))

    def post(self: Api, path: str, body: Any, key: str = "") -> Any:
        if path == "/runs" and next(launches) == at:
            raise error
        return real(self, path, body, key)

    return post


def test_a_network_that_cannot_take_the_images_stops_all_launches(
    url: str, runyard: Said, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    previewed: list[Any] = []

    def post(self: Api, path: str, body: Any, key: str = "") -> Any:
        assert path == "/preview"
        previewed.append(body)
        if body["dataset"] == "cifar10":
            raise ApiError("patches of 7 do not fill 32 pixels", 422)
        raise ApiError("none yet", 404)

    monkeypatch.setattr(Api, "post", post)
    done = runyard("launch", "--family", "vit", "--dataset", "mnist,cifar10", "--option", "patch=7")
    assert (done.exit_code, done.stderr) == (2, "runyard: patches of 7 do not fill 32 pixels\n")
    assert [each["options"] for each in previewed] == [{"patch": 7}, {"patch": 7}]
    assert queued(runs) == []


def test_when_a_launch_fails_midway_those_before_it_are_named(
    url: str, runyard: Said, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Api, "post", refusing(2, ApiError("the disk is full", 500)))
    done = runyard("launch", "--family", "vit", "--size", "all")
    assert done.exit_code == 2
    lines = done.stderr.splitlines()
    ids = [row[0] for row in runs.sql("SELECT id FROM run ORDER BY number")]
    assert [line.rpartition("/")[2] for line in lines[:2]] == ids
    assert lines[-2:] == ["runyard: only 2 of 4 runs were launched", "runyard: the disk is full"]
    assert done.stdout == ""


def test_without_a_server_one_sentence_says_how_to_start_one(runyard: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNYARD_URL", "http://127.0.0.1:9")
    done = runyard("launch", "--family", "vit")
    assert done.exit_code == 2
    assert done.stderr.startswith("runyard: no Runyard answers at http://127.0.0.1:9; start one with `runyard up`")
    assert done.stderr.count("\n") == 1


def test_the_server_is_the_one_that_is_named_or_configured(
    url: str, runyard: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNYARD_URL", "http://127.0.0.1:9")
    assert runyard("launch", "--family", "vit", "--url", url).exit_code == 0
    monkeypatch.delenv("RUNYARD_URL")
    monkeypatch.setenv("RUNYARD_PORT", url.rpartition(":")[2])
    assert runyard("launch", "--family", "vit").exit_code == 0


# Waiting -------------------------------------------------------------------------------------------------------------


def ending(runs: Runs, *outcomes: str) -> Callable[..., Any]:
    """Api.post after which the run that it launched has ended."""
    real, left = Api.post, iter(outcomes)

    def post(self: Api, path: str, body: Any, key: str = "") -> Any:
        answer = real(self, path, body, key)
        runs.finish(answer["id"], next(left))
        return answer

    return post


def test_waiting_ends_with_a_line_for_each_run_and_status_0_when_all_succeeded(
    url: str, runyard: Said, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Api, "post", ending(runs, "succeeded", "succeeded"))
    done = runyard("launch", "--family", "vit", "--size", "tiny,small", "--wait")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 2 + 1 + 2
    assert lines[3].startswith("succeeded  vit tiny · digits  ")
    assert lines[4].startswith("succeeded  vit small · digits  ")


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
def test_waiting_ends_with_status_1_when_one_did_not_succeed(
    url: str, runyard: Said, runs: Runs, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    monkeypatch.setattr(Api, "post", ending(runs, outcome, "succeeded"))
    done = runyard("launch", "--family", "vit", "--size", "tiny,small", "--wait", "--json")
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
    assert launch._line(run, "http://a") == (
        "succeeded  vit tiny · mnist  test/digit/acc 0.9877  12.3 s  http://a/runs/r1"
    )
    run |= {"status": "failed", "reason": "out of memory", "seconds": None}
    assert launch._line(run, "http://a") == "failed     vit tiny · mnist  out of memory  http://a/runs/r1"
    assert launch._line({"id": "r1", "status": "deleted"}, "http://a") == "deleted    run r1"


def test_who_stops_waiting_is_told_that_the_runs_go_on(
    url: str, runyard: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "wait_for", interrupted)
    done = runyard("launch", "--family", "vit", "--wait")
    assert done.exit_code == 130
    assert done.stderr == "runyard: not waiting any longer; the runs go on\n"
