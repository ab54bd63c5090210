"""A worker counts as connected while its heartbeats are recent."""

from __future__ import annotations

from typing import Any

from app.contract.events import DeviceInfo, Heartbeat
from app.store.database import reading, writing
from app.store.worker import any_silent, forget, forget_silent, list_workers, record_heartbeat
from tests.conftest import Runs


def beat(worker: str, host: str = "here", slots: int = 1, time: float | None = None) -> Heartbeat:
    device = DeviceInfo(kind="cpu", name="a CPU", memory_bytes=2**34, cores=2)
    said: dict[str, Any] = {"worker": worker, "beat": 1, "host": host, "pid": 7, "slots": slots}
    return Heartbeat(**said, device=device, versions={"torch": "2"}, runs=[], time=time)


def test_a_worker_is_listed_with_the_runs_it_holds(runs: Runs) -> None:
    held, ended = runs.add(), runs.add()
    runs.set(held, worker="w1", status="running")
    runs.set(ended, worker="w1", status="failed")
    with writing(runs.engine) as connection:
        assert record_heartbeat(connection, beat("w1", slots=3), 100.0)
        assert not record_heartbeat(connection, beat("w1", slots=3), 105.0)
        (found,) = list_workers(connection, 105.0, 10.0)
    assert (found.id, found.first_seen, found.last_seen, found.versions) == ("w1", 100.0, 105.0, {"torch": "2"})
    assert (found.runs, found.free_slots) == ([held], 2)


def test_a_worker_with_more_runs_than_slots_has_no_free_one(runs: Runs) -> None:
    for _ in range(2):
        runs.set(runs.add(), worker="w1", status="running")
    with writing(runs.engine) as connection:
        record_heartbeat(connection, beat("w1"), 100.0)
        assert list_workers(connection, 100.0, 10.0)[0].free_slots == 0


def test_a_silent_worker_is_not_listed_and_then_forgotten(runs: Runs) -> None:
    with writing(runs.engine) as connection:
        record_heartbeat(connection, beat("quiet"), 100.0)
        record_heartbeat(connection, beat("lively"), 109.0)
        assert [worker.id for worker in list_workers(connection, 111.0, 10.0)] == ["lively"]
        assert any_silent(connection, 101.0)
        assert forget_silent(connection, 101.0) == ["quiet"]
        assert not any_silent(connection, 101.0)


def test_a_worker_that_says_goodbye_is_gone_at_once(runs: Runs) -> None:
    with writing(runs.engine) as connection:
        record_heartbeat(connection, beat("w1"), 100.0)
        forget(connection, "w1")
        forget(connection, "nobody")
    with reading(runs.engine) as connection:
        assert list_workers(connection, 100.0, 10.0) == []


def test_a_clock_that_is_far_off_is_kept_and_told_once(runs: Runs) -> None:
    with writing(runs.engine) as connection:
        assert record_heartbeat(connection, beat("w1", time=1000.0), 1000.0)
        assert not record_heartbeat(connection, beat("w1", time=1050.0), 1002.0)
        assert record_heartbeat(connection, beat("w1", time=4604.0), 1004.0)
        assert not record_heartbeat(connection, beat("w1", time=4606.0), 1006.0)
        assert [worker.clock_off for worker in list_workers(connection, 1006.0, 10.0)] == [3600.0]
        assert record_heartbeat(connection, beat("w1"), 1008.0)
        assert [worker.clock_off for worker in list_workers(connection, 1008.0, 10.0)] == [0.0]
