"""The runs API: launch, list, watch, stop and delete runs, and the errors that it returns."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from redis import Redis
from starlette.testclient import TestClient

from app.contract import broker
from app.contract.events import Log, LogLine, Progress, Result
from app.contract.spec import RunSpec
from app.services.recorder import Recorder
from tests.conftest import Runs, Worker, errors_of

RUNS = "/api/v1/runs"


def post(client: TestClient, body: Any, **headers: str) -> Any:
    """Post any value as JSON, including NaN and lone surrogates."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(RUNS, content=sent, headers={"content-type": "application/json"} | headers)


# Launch --------------------------------------------------------------------------------------------------------------


def test_a_family_is_enough_to_launch(client: TestClient, redis: Redis, runs: Runs) -> None:
    answer = post(client, {"family": "simple_cnn"})
    assert answer.status_code == 201
    said = answer.json()
    assert (said["status"], said["number"], said["attempt"]) == ("queued", 1, 0)
    assert answer.headers["location"] == f"{RUNS}/{said['id']}"
    assert said["url"] == f"/runs/{said['id']}"
    assert (said["spec"]["size"], said["spec"]["dataset"], said["spec"]["epochs"]) == ("base", "digits", 10)
    assert said["asked"] == {"family": "simple_cnn"}
    assert said["params"] > 1000
    assert client.get(answer.headers["location"]).json() == said
    # A worker was woken.
    assert redis.llen(broker.QUEUE) == 1


def test_what_was_asked_for_is_what_is_trained(client: TestClient) -> None:
    asked = {
        "family": "vit",
        "size": "tiny",
        "options": {"pool": "mean"},
        "dataset": "cifar10",
        "targets": ["class", "size"],
        "recipe": "quick",
        "epochs": 3,
        "batch_size": 64,
        "seed": 7,
        "name": "mine",
        "tags": ["b", "a"],
        "notes": "why",
        "priority": 5,
        "lr": 0.01,
        "label_smoothing": 0.1,
    }
    said = post(client, asked).json()
    assert asked.items() <= said["spec"].items()
    assert said["asked"] == asked
    assert said["tags"] == ["a", "b"]
    assert said["title"] == "mine"
    # Two heads: the catalog's count is of one.
    assert said["params"] is None


BAD: dict[str, tuple[Any, str]] = {
    "no family": ({}, "family"),
    "unknown family": ({"family": "resnet"}, "family"),
    "unknown size": ({"family": "vit", "size": "giant"}, "size"),
    "unknown dataset": ({"family": "vit", "dataset": "imagenet"}, "dataset"),
    "unknown recipe": ({"family": "vit", "recipe": "slow"}, "recipe"),
    "unknown preset": ({"preset": "none"}, "preset"),
    "unknown target": ({"family": "vit", "targets": ["color"]}, "targets"),
    "unknown option": ({"family": "vit", "options": {"x": 1}}, "options"),
    "unknown choice": ({"family": "vit", "options": {"pool": "max"}}, "options"),
    "unknown field": ({"family": "vit", "color": 1}, "color"),
    "unknown long field": ({"family": "vit", "x" * 1000: 1}, "x" * 1000),
    "NaN": ({"family": "vit", "lr": math.nan}, "lr"),
    "Infinity": ({"family": "vit", "lr": math.inf}, "lr"),
    "NaN epochs": ({"family": "vit", "epochs": math.nan}, "epochs"),
    "1e999": (b'{"family":"vit","weight_decay":1e999}', "weight_decay"),
    "1e999 epochs": (b'{"family":"vit","epochs":1e999}', "epochs"),
    "NaN option": ({"family": "vit", "options": {"patch": math.nan}}, "options"),
    "negative epochs": ({"family": "vit", "epochs": -1}, "epochs"),
    "no batch": ({"family": "vit", "batch_size": 0}, "batch_size"),
    "a batch that is too large": ({"family": "vit", "batch_size": 60_000}, "batch_size"),
    "a batch that is too small": ({"family": "efficientnet", "batch_size": 1}, "batch_size"),
    "1 MB name": ({"family": "vit", "name": "x" * 2**20}, "name"),
    "1 MB family": ({"family": "x" * 2**20}, "family"),
    "1 MB notes": ({"family": "vit", "notes": "x" * 2**20}, "notes"),
    "1 MB option": ({"family": "vit", "options": {"pool": "x" * 2**20}}, "options"),
    "many tags": ({"family": "vit", "tags": [str(i) for i in range(21)]}, "tags"),
    "empty tag": ({"family": "vit", "tags": [" "]}, "tags"),
    "true epochs": ({"family": "vit", "epochs": True}, "epochs"),
    "false seed": ({"family": "vit", "seed": False}, "seed"),
    "true lr": ({"family": "vit", "lr": True}, "lr"),
    "huge seed": ({"family": "vit", "seed": 2**64}, "seed"),
    "huger seed": ({"family": "vit", "seed": 10**4000}, "seed"),
    "hugest seed": (b'{"family":"vit","seed":' + b"9" * 10_000 + b"}", "body"),
    "huge priority": ({"family": "vit", "priority": 10**30}, "priority"),
    "half epoch": ({"family": "vit", "epochs": 1.5}, "epochs"),
    "deep": (b'{"family":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "body"),
    "deep enough to parse": ({"family": "vit", "options": {"pool": json.loads("[" * 300 + "]" * 300)}}, "options"),
    "deep notes": ({"family": "vit", "notes": json.loads("[" * 300 + "]" * 300)}, "notes"),
    "a list": ([{"family": "vit"}], "body"),
    "null": (None, "body"),
    "text": ("vit", "body"),
    "no JSON": (b"family=vit", "body"),
    "no UTF-8": (b'{"family":"\xff"}', "body"),
    "null tags": ({"family": "vit", "tags": None}, "tags"),
    "aux": ({"family": "vit", "auxiliary": True}, "auxiliary"),
    "end above start": ({"family": "vit", "schedule": "cosine", "lr_min": 1.0}, "lr_min"),
}
SURROGATES = ["family", "size", "dataset", "recipe", "preset", "name", "notes", "optimizer", "device", "precision"]
BAD |= {f"half a character in {name}": ({"family": "vit", name: "a\ud800b"}, name) for name in SURROGATES}
BAD |= {
    "half a character in a tag": ({"family": "vit", "tags": ["\udfff"]}, "tags"),
    "half a character in a target": ({"family": "vit", "targets": ["\udfff"]}, "targets"),
    "half a character in a choice": ({"family": "vit", "options": {"pool": "\ud800"}}, "options"),
    "half a character in an option": ({"family": "vit", "options": {"\ud800": 1}}, "options"),
}


def test_whatever_cannot_be_trained_is_refused_with_its_field_and_changes_nothing(
    client: TestClient, runs: Runs, redis: Redis
) -> None:
    before = (runs.sql("SELECT count(*) FROM run"), runs.commit())
    for which, (body, field) in BAD.items():
        answer = post(client, body)
        assert answer.status_code == 422, (which, answer.status_code, answer.text[:200])
        found = errors_of(answer)
        assert field in found, (which, found)
        assert len(found[field]) < 1500, which
        assert len(answer.content) < 20_000, (which, len(answer.content))
        assert (runs.sql("SELECT count(*) FROM run"), runs.commit()) == before, which
    assert redis.llen(broker.QUEUE) == 0


@pytest.mark.parametrize(("field", "exists"), [("family", "simple_cnn"), ("recipe", "quick"), ("dataset", "cifar100")])
def test_a_refusal_names_what_exists(client: TestClient, field: str, exists: str) -> None:
    assert exists in errors_of(post(client, {"family": "vit", field: "none"}))[field]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("aé\0\ud800 '\"", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab\ud800", max_size=3), inner, max_size=3),
    max_leaves=6,
)
VALUE = JSON | st.sampled_from(
    ["vit", "digits", "quick", "digit", "adamw", "cosine", "cpu", "32", 1, 128, 0.5, ["digit"]]
)


@hypothesis_settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(body=JSON | st.dictionaries(st.sampled_from([*RunSpec.model_fields, "x\ud800"]), VALUE, max_size=5))
def test_any_json_is_launched_or_refused_and_never_a_fault(client: TestClient, body: Any) -> None:
    answer = post(client, body)
    assert answer.status_code in (201, 422), answer.text
    if answer.status_code == 201:
        assert client.get(f"{RUNS}/{answer.json()['id']}").json()["spec"] == answer.json()["spec"]
    else:
        assert errors_of(answer)


def test_the_same_key_launches_once(client: TestClient, runs: Runs) -> None:
    headers = {"idempotency-key": "k1"}
    first = post(client, {"family": "vit"}, **headers)
    again = post(client, {"family": "vit"}, **headers)
    other = post(client, {"family": "vit"}, **{"idempotency-key": "k2"})
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]
    assert runs.sql("SELECT count(*) FROM run") == [(2,)]


def test_the_same_key_launches_once_although_twenty_ask_at_the_same_moment(client: TestClient, runs: Runs) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: post(client, {"family": "vit"}, **{"idempotency-key": "k"}), range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert runs.sql("SELECT count(*) FROM run") == [(1,)]


def test_a_key_that_is_too_long_is_refused(client: TestClient) -> None:
    assert post(client, {"family": "vit"}, **{"idempotency-key": "x" * 201}).status_code == 422


def test_twenty_launches_at_the_same_moment_are_twenty_runs(client: TestClient, runs: Runs) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda i: post(client, {"family": "vit", "seed": i}), range(20)))
    assert sorted(answer.json()["number"] for answer in answers) == list(range(1, 21))


# List ----------------------------------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first_and_page_by_page(client: TestClient) -> None:
    made = [post(client, {"family": "vit", "seed": i}).json()["id"] for i in range(5)]
    seen, after = [], None
    while True:
        said = client.get(RUNS, params={"limit": 2} | ({"after": after} if after else {})).json()
        assert said["total"] == 5
        seen += [run["id"] for run in said["runs"]]
        after = said["next"]
        if after is None:
            break
    assert seen == made[::-1]


def test_runs_are_filtered(client: TestClient) -> None:
    for family in ("vit", "simple_cnn", "simple_mlp"):
        post(client, {"family": family, "tags": ["mine"], "name": f"100% {family}"})

    def listed(**params: Any) -> list[str]:
        return sorted(run["spec"]["family"] for run in client.get(RUNS, params=params).json()["runs"])

    assert listed(family=["vit", "simple_cnn"]) == ["simple_cnn", "vit"]
    assert listed(status="queued", tag="mine", q="100%", dataset="digits", size="small") == ["vit"]
    assert listed(q="100_") == []
    assert listed(status="failed") == []


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"sort": "color"}, "sort"),
        ({"status": "done"}, "status"),
        ({"after": "x"}, "after"),
        ({"after": "WzFlOTk5LDFd"}, "after"),
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"q": "x" * 201}, "q"),
    ],
)
def test_a_list_that_cannot_be_made_says_which_part(client: TestClient, params: dict[str, Any], field: str) -> None:
    assert list(errors_of(client.get(RUNS, params=params))) == [field]


# One run -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(client: TestClient, recorder: Recorder, worker: Worker) -> str:
    """A succeeded run with 5,000 points, of which one is a spike and one is NaN."""
    run = str(post(client, {"family": "simple_mlp"}).json()["id"])
    trainer = worker.train(recorder)
    values = [1.0 / (1 + step) for step in range(5000)]
    values[1234], values[4000] = 50.0, math.nan
    trainer.points(train__loss=list(enumerate(values)), val__acc=[(2500, 0.8), (4999, 0.7)])
    trainer.say("log", Log(lines=[LogLine(time=i, level="info", text=f"line {i}") for i in range(300)]))
    trainer.say("progress", Progress(epoch=1, epochs=1, step=5000, steps=5000))
    trainer.say("result", Result(outcome="succeeded"))
    recorder.step()
    return run


def test_a_run_in_the_list_is_the_run_alone(client: TestClient, trained: str) -> None:
    post(client, {"family": "vit", "tags": ["a"], "notes": "é"})
    listed = client.get(RUNS)
    assert listed.headers["content-type"] == "application/json"
    assert [run["id"] for run in listed.json()["runs"]][1:] == [trained]
    for run in listed.json()["runs"]:
        assert run == client.get(f"{RUNS}/{run['id']}").json()


def test_a_run_says_how_it_went(client: TestClient, trained: str) -> None:
    said = client.get(f"{RUNS}/{trained}").json()
    assert said["status"] == "succeeded"
    assert (said["attempt"], said["params"], said["worker"]) == (1, 1000, "w1")
    assert said["progress"]["step"] == 5000
    assert said["environment"] == {"python": "3.11"}
    assert said["summary"]["val/acc"] == {
        "last": 0.7,
        "last_step": 4999,
        "best": 0.8,
        "best_step": 2500,
        "min": 0.7,
        "max": 0.8,
        "points": 2,
        "not_finite": 0,
    }
    loss = said["summary"]["train/loss"]
    assert (loss["points"], loss["not_finite"], loss["max"]) == (5000, 1, 50.0)
    assert all(said[name].endswith("Z") for name in ("created", "started", "ended"))
    assert said["seconds"] >= 0


def test_curves_are_reduced_without_losing_a_spike_or_read_whole(client: TestClient, trained: str) -> None:
    few = client.get(f"{RUNS}/{trained}/metrics", params={"points": 100}).json()
    assert set(few) == {"train/loss", "val/acc"}
    assert len(few["train/loss"]["step"]) <= 100
    assert 50.0 in few["train/loss"]["value"]
    whole = client.get(f"{RUNS}/{trained}/metrics", params={"points": 0, "names": "train/loss"}).json()
    assert list(whole) == ["train/loss"]
    assert whole["train/loss"]["step"] == list(range(5000))
    assert whole["train/loss"]["value"][4000] is None
    assert whole["train/loss"]["value"][:2] == [1.0, 0.5]
    assert len(client.get(f"{RUNS}/{trained}/metrics").json()["train/loss"]["step"]) <= 1000


def test_a_metric_that_does_not_exist_is_answered_with_those_that_do(client: TestClient, trained: str) -> None:
    answer = client.get(f"{RUNS}/{trained}/metrics", params={"names": "train/loss,val/los"})
    found = errors_of(answer)
    assert "no metric 'val/los'" in found["names"]
    assert "train/loss, val/acc" in found["names"]


@pytest.mark.parametrize("points", [-1, "x", 10**9])
def test_a_number_of_points_has_limits(client: TestClient, trained: str, points: Any) -> None:
    assert list(errors_of(client.get(f"{RUNS}/{trained}/metrics", params={"points": points}))) == ["points"]


def test_the_end_of_a_log_is_read(client: TestClient, trained: str) -> None:
    lines = client.get(f"{RUNS}/{trained}/logs").json()["lines"]
    assert [line["text"] for line in lines] == [f"line {i}" for i in range(100, 300)]
    assert set(lines[0]) == {"id", "time", "level", "text", "attempt"}
    assert len(client.get(f"{RUNS}/{trained}/logs", params={"tail": 1000}).json()["lines"]) == 300


def test_the_events_of_an_ended_run_are_told_and_resume(client: TestClient, trained: str) -> None:
    answer = client.get(f"{RUNS}/{trained}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    events = [line.removeprefix("event: ") for line in answer.text.split("\n") if line.startswith("event: ")]
    assert events == ["metrics", "log", "progress", "status", "end"]
    ids = [line.removeprefix("id: ") for line in answer.text.split("\n") if line.startswith("id: ")]
    for again in (
        client.get(f"{RUNS}/{trained}/events", headers={"last-event-id": ids[-1]}),
        client.get(f"{RUNS}/{trained}/events", params={"after": ids[-1]}),
    ):
        assert "event: metrics" not in again.text
        assert "event: end" in again.text
    half = client.get(f"{RUNS}/{trained}/events", headers={"last-event-id": ids[0]})
    assert "event: metrics" not in half.text
    assert "event: log" in half.text


@pytest.mark.parametrize("after", ["x", "-1", "1.2", "9" * 30, "9" * 100])
def test_an_event_id_of_no_stream_is_refused(client: TestClient, trained: str, after: str) -> None:
    assert client.get(f"{RUNS}/{trained}/events", params={"after": after}).status_code == 422
    assert client.get(f"{RUNS}/{trained}/events", headers={"last-event-id": after}).status_code == 422


# Stop and delete -----------------------------------------------------------------------------------------------------


def test_a_waiting_run_is_cancelled_at_once(client: TestClient) -> None:
    run = post(client, {"family": "vit"}).json()["id"]
    said = client.post(f"{RUNS}/{run}/cancel").json()
    assert (said["id"], said["status"]) == (run, "cancelled")
    assert said["ended"]
    assert client.post(f"{RUNS}/{run}/cancel").json()["status"] == "cancelled"


def test_a_running_run_is_asked_to_stop_and_keeps_its_points(
    client: TestClient, recorder: Recorder, worker: Worker
) -> None:
    run = post(client, {"family": "vit"}).json()["id"]
    trainer = worker.train(recorder)
    trainer.points(train__loss=[(1, 0.5)])
    recorder.step()
    assert client.post(f"{RUNS}/{run}/cancel").json()["status"] == "cancelling"
    worker.beat((run, trainer.fence))
    recorder.step()
    assert worker.renewal is not None
    assert [held.run for held in worker.renewal.cancel] == [run]
    trainer.points(train__loss=[(2, 0.4)])
    trainer.say("result", Result(outcome="cancelled", reason="stop requested"))
    recorder.step()
    assert client.get(f"{RUNS}/{run}").json()["status"] == "cancelled"
    assert client.get(f"{RUNS}/{run}/metrics").json()["train/loss"]["step"] == [1, 2]


def test_only_a_run_that_has_ended_can_be_deleted_and_it_can_be_restored(client: TestClient) -> None:
    run = post(client, {"family": "vit", "tags": ["mine"]}).json()["id"]
    answer = client.delete(f"{RUNS}/{run}")
    assert answer.status_code == 409
    assert "queued" in answer.json()["detail"]
    client.post(f"{RUNS}/{run}/cancel")
    before = client.get(f"{RUNS}/{run}").json()
    assert client.delete(f"{RUNS}/{run}").status_code == 204
    assert client.get(f"{RUNS}/{run}").status_code == 404
    assert client.get(RUNS).json()["runs"] == []
    assert client.delete(f"{RUNS}/{run}").status_code == 404
    assert client.post(f"{RUNS}/{run}/restore").json() == before
    assert client.post(f"{RUNS}/{run}/restore").status_code == 404


@pytest.mark.parametrize("run", ["r_none", "x" * 3000, "%00", "%ED%A0%80", "é", "' OR 1=1 --", "..%2f..%2fetc"])
def test_a_run_that_does_not_exist_is_not_found(client: TestClient, run: str) -> None:
    for method, path in (
        ("GET", ""),
        ("GET", "/metrics"),
        ("GET", "/logs"),
        ("GET", "/events"),
        ("POST", "/cancel"),
        ("POST", "/restore"),
        ("DELETE", ""),
    ):
        answer = client.request(method, f"{RUNS}/{run}{path}")
        assert answer.status_code == 404, (method, path)
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(answer.content) < 1000


def test_a_key_that_launched_one_run_does_not_stand_for_another(client: Any) -> None:
    headers = {"Idempotency-Key": "mine"}
    first = client.post("/api/v1/runs", json={"family": "simple_mlp", "epochs": 1}, headers=headers)
    again = client.post("/api/v1/runs", json={"family": "simple_mlp", "epochs": 1}, headers=headers)
    assert again.json()["id"] == first.json()["id"]
    other = client.post("/api/v1/runs", json={"family": "simple_mlp", "epochs": 2}, headers=headers)
    assert other.status_code == 409
    assert first.json()["id"] in other.json()["detail"]
    assert client.get("/api/v1/runs").json()["total"] == 1


def test_a_body_that_is_not_said_to_be_json_is_told_so(client: Any) -> None:
    answer = client.post("/api/v1/runs", content='{"family": "vit"}', headers={"content-type": "text/plain"})
    assert answer.status_code == 422
    assert "sent with 'content-type: application/json'" in answer.json()["detail"]


def test_the_description_of_the_api_shows_a_launch_that_works_and_the_errors_as_they_are(client: Any) -> None:
    described = client.get("/openapi.json").json()
    (example,) = described["components"]["schemas"]["RunSpec"]["examples"]
    assert client.post("/api/v1/runs", json=example).status_code == 201
    schema = described["paths"]["/api/v1/runs"]["post"]["responses"]["422"]["content"]["application/json"]["schema"]
    assert schema["$ref"].endswith("/Problem")
