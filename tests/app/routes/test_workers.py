"""The connected workers."""

from __future__ import annotations

from starlette.testclient import TestClient

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
