from __future__ import annotations

import threading
from functools import partial

import pytest
from redis import Redis

from app.contract import broker
from app.contract.settings import Settings
from tests.worker.conftest import make_config, until
from tests.worker.supervised import LONG, Yard, started
from worker import idle_slots
from worker.idle_slots import IdleSlots


def test_a_wake_up_that_celery_leaves_lying_is_taken_by_the_worker_itself(
    yard: Yard, settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_slots, "PATIENCE_SECONDS", 0.2)
    with started(settings.model_copy(update={"heartbeat_seconds": 0.1})) as worker:
        run_id = yard.launch(make_config(batch_size=32))
        redis.lpush(broker.QUEUE, "a wake-up")
        until(partial(yard.is_, run_id, "succeeded"), "the run has succeeded", 60.0)
        assert not redis.llen(broker.QUEUE)
        # A worker that leaves waits for such a run as for any other.
        run_id = yard.launch(LONG)
        redis.lpush(broker.QUEUE, "a wake-up")
        until(lambda: yard.trains(run_id), "the run trains", 60.0)
        worker.supervisor.stop()
        worker.supervisor.leave()
        assert not [thread for thread in threading.enumerate() if thread.name == "idle_slot"]
    until(lambda: yard.status(run_id) == "queued", "the run waits for another worker")


@pytest.mark.parametrize(("free", "patience", "taken"), [(0, 0.0, 0), (1, 3600.0, 0), (1, 0.0, 1), (2, 0.0, 2)])
def test_wake_ups_are_left_to_celery_while_no_slot_is_free_or_they_have_just_come(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, free: int, patience: float, taken: int
) -> None:
    monkeypatch.setattr(idle_slots, "PATIENCE_SECONDS", patience)
    slots, worked = [free], []

    def work() -> None:
        worked.append(threading.current_thread().name)

    idle = IdleSlots(lambda: slots[0], work)
    redis.lpush(broker.QUEUE, "1", "2", "3")
    for _ in range(free + 1):
        idle.look(redis)
        idle.join()
        # As `work` does for as long as it trains.
        slots[0] = free - len(worked)
    assert worked == ["idle_slot"] * taken
    assert redis.llen(broker.QUEUE) == 3 - taken
