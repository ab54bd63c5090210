"""While a disk is full, no run starts there and workers learn why nothing is committed; all goes on by itself."""

from __future__ import annotations

import errno
import os
import threading
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from app.contract import broker
from app.contract.disk_space import DiskSpace
from app.contract.settings import Settings
from app.services import housekeeper
from app.services.recorder import Recorder
from app.store.database import reading, writing
from app.store.lease import claim_next
from app.store.queue import claimable, held_for, pause, paused_at
from app.store.waiting_reason import why_waiting
from app.store.worker import list_workers
from tests.app.services.test_recorder_trouble import Waits
from tests.conftest import Runs
from tests.fake_worker import Worker

SPACE = DiskSpace(host="here", folder="/srv", free=1, total=100, needed=3, state="full")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The state of the recorder's disk, which a test sets."""
    told: dict[str, Any] = {"state": "ok"}
    monkeypatch.setattr(housekeeper, "measure", lambda settings, before: SPACE.model_copy(update=told))
    return told


def test_no_run_starts_while_the_disk_of_the_recorder_is_full(
    runs: Runs, recorder: Recorder, worker: Worker, disk: dict[str, Any]
) -> None:
    runs.add()
    disk["state"] = "full"
    recorder.housekeeper.reconcile()
    with reading(runs.engine) as connection:
        assert held_for(connection) == "the disk of here is full"
    reply = worker.ask()
    recorder.step()
    granted = worker.answer(reply)
    assert granted is not None
    assert not granted.run
    disk["state"] = "low"
    recorder.housekeeper.reconcile()
    reply = worker.ask()
    recorder.step()
    granted = worker.answer(reply)
    assert granted is not None
    assert granted.run


def test_what_a_user_has_paused_stays_paused(runs: Runs, recorder: Recorder, disk: dict[str, Any]) -> None:
    with writing(runs.engine) as connection:
        pause(connection, 5.0)
    for state in ("full", "ok"):
        disk["state"] = state
        recorder.housekeeper.reconcile()
        with reading(runs.engine) as connection:
            assert paused_at(connection) == 5.0
            assert bool(held_for(connection)) == (state == "full")


def test_a_worker_whose_disk_is_full_gets_no_run_and_the_run_says_why(
    runs: Runs, recorder: Recorder, worker: Worker, disk: dict[str, Any]
) -> None:
    run = runs.add()
    worker.disk = SPACE
    worker.beat()
    recorder.step()
    with writing(runs.engine) as connection:
        workers = list_workers(connection, recorder.clock(), 1e9)
        assert [each.disk for each in workers] == [SPACE]
        assert claimable(connection, lambda: workers) == 0
        assert why_waiting(runs.get(run), 0, workers) == "the disk of here is full"
        assert claim_next(connection, "c", worker.name, 0, worker.device, 1, 1e12) is None
    worker.disk = SPACE.model_copy(update={"state": "ok"})
    worker.beat()
    recorder.step()
    with writing(runs.engine) as connection:
        assert claim_next(connection, "c", worker.name, 0, worker.device, 1, 1e12) is not None


def test_a_run_that_waits_for_disk_space_shows_it_until_it_goes_on(
    runs: Runs, recorder: Recorder, worker: Worker
) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    trainer.say("progress", b'{"epoch":1,"epochs":2,"step":3,"steps":6}')
    worker.waiting = [run]
    worker.beat((run, 1))
    recorder.step()
    progress = runs.get(run).progress
    assert (progress["phase"], progress["step"]) == ("waiting for disk space on here", 3)
    before = runs.commit()
    worker.beat((run, 1))
    recorder.step()
    assert runs.get(run).row["status_commit"] <= before
    worker.waiting = []
    worker.beat((run, 1))
    recorder.step()
    assert runs.get(run).progress["phase"] == "training"
    assert runs.get(run).row["status_commit"] > before


def test_a_recorder_that_can_commit_nothing_tells_workers_and_gives_them_time_afterwards(
    settings: Settings, engine: Engine, runs: Runs, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(settings, engine, redis)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    tries: list[str] = []

    def take_over() -> None:
        tries.append("take over")
        if len(tries) == 1:
            raise OperationalError("UPDATE", {}, full)

    monkeypatch.setattr(recorder.housekeeper, "take_over", take_over)
    recorder.run(Waits())
    assert redis.get(broker.DISK_FULL) == b"1"
    assert 0 < int(redis.ttl(broker.DISK_FULL)) <= broker.DISK_FULL_SECONDS
    stop = threading.Event()

    def step(block_milliseconds: int) -> int:
        stop.set()
        return 0

    monkeypatch.setattr(recorder, "step", step)
    recorder.run(stop)
    assert tries == ["take over"] * 2
    recorder.celery.close()
