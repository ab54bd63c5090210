"""The queue: its order, and why a run waits."""

from __future__ import annotations

import pytest

from app.store.database import reading
from app.store.queue import positions_in_queue, queue, why_waiting
from app.store.worker import WorkerRecord
from tests.conftest import Runs


def worker(kind: str = "cpu", slots: int = 1, busy: int = 0) -> WorkerRecord:
    return WorkerRecord("w", "here", 1, slots, kind, kind, 1, 1, {}, 0.0, 0.0, [f"r{i}" for i in range(busy)])


def test_the_queue_stands_in_the_order_in_which_runs_will_start(runs: Runs) -> None:
    second, first, third = runs.add(10.0), runs.add(20.0, priority=5), runs.add(11.0)
    with reading(runs.engine) as connection:
        waiting, total = queue(connection, [worker(slots=2)], limit=2)
        assert positions_in_queue(connection, [third, first, "r_none"]) == {first: 1, third: 3}
        assert positions_in_queue(connection, []) == {}
    assert [(each.run.id, each.position) for each in waiting] == [(first, 1), (second, 2)]
    assert total == 3


@pytest.mark.parametrize(
    ("wanted", "ahead", "workers", "why"),
    [
        ("auto", 0, [], "no worker is connected"),
        ("cuda", 0, [worker(), worker()], "asks for cuda, and the workers have cpu"),
        ("auto", 0, [worker()], "starting"),
        ("auto", 0, [worker(busy=1)], "the slot is taken"),
        ("auto", 1, [worker(slots=2, busy=1)], "all 2 slots are taken, 1 ahead"),
        ("cpu", 3, [worker(slots=2, busy=2), worker("cuda", slots=4)], "all 2 slots are taken, 3 ahead"),
    ],
)
def test_a_waiting_run_says_why_it_waits(
    runs: Runs, wanted: str, ahead: int, workers: list[WorkerRecord], why: str
) -> None:
    assert why_waiting(runs.get(runs.add(device=wanted)), ahead, workers) == why
