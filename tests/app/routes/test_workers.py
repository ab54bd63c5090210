"""The connected workers."""

from __future__ import annotations

from redis import Redis
from starlette.testclient import TestClient

from app.contract.protocol import PROTOCOL
from app.services.recorder import Recorder
from tests.conftest import Clock, Runs
from tests.fake_worker import Worker


def test_a_worker_is_listed_while_it_is_heard_of(
    client: TestClient, runs: Runs, recorder: Recorder, worker: Worker
) -> None:
    assert client.get("/api/v1/workers").json() == {"workers": []}
    run = runs.add()
    worker.slots = 2
    worker.beat()
    worker.train(recorder)
    (found,) = client.get("/api/v1/workers").json()["workers"]
    assert (found["id"], found["runs"], found["slots"], found["free_slots"]) == ("w1", [run], 2, 1)
    assert (found["device"], found["device_kind"], found["cores"]) == ("made-up cpu", "cpu", 2)
    assert found["memory_bytes"] == 2**34
    assert found["last_seen"].endswith("Z")


def test_a_worker_that_fell_silent_is_not_listed(
    client: TestClient, recorder: Recorder, worker: Worker, clock: Clock
) -> None:
    clock.now -= 60
    worker.beat()
    recorder.step()
    assert client.get("/api/v1/workers").json() == {"workers": []}


def test_the_board_and_the_api_say_which_worker_gets_no_runs_and_why(
    client: TestClient, runs: Runs, recorder: Recorder, redis: Redis
) -> None:
    other, newer = Worker(redis, "w1"), Worker(redis, "w2")
    newer.protocol = PROTOCOL + 1
    for each in (other, newer):
        each.beat()
    recorder.step()
    found = {each["id"]: each for each in client.get("/api/v1/workers").json()["workers"]}
    assert (found["w1"]["refusal"], found["w1"]["free_slots"], found["w1"]["protocol"]) == ("", 1, PROTOCOL)
    assert found["w2"]["free_slots"] == 0
    assert "install the newer version for the server" in found["w2"]["refusal"]
    page = client.get("/").text
    assert page.count("Gets no runs:") == 1
    assert f"(protocol {PROTOCOL + 1})" in page
    runs.add()
    assert "starting" in client.get("/queue").text


def test_a_worker_with_another_version_that_understands_the_server_is_only_shown(
    client: TestClient, recorder: Recorder, worker: Worker
) -> None:
    worker.versions = {"runyard": "0.1.9"}
    worker.beat()
    recorder.step()
    page = client.get("/").text
    assert "runyard 0.1.9" in page
    assert "Its version of Runyard differs from the server's." in page
    assert "Gets no runs" not in page
