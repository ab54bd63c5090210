"""Estimates for queued runs: durations from successful runs, starts from simulating the queue."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.contract.datasets import DATASETS
from app.store.database import reading, writing
from app.store.duration_estimate import Estimate, estimate_page
from app.store.queue import pause, read_queue
from app.store.worker import WorkerRecord
from tests.conftest import Runs

NOW = 1_700_001_000.0
# An epoch of digits takes ten seconds at this throughput.
SPEED = DATASETS["digits"].train / 10


def worker(name: str = "w", slots: int = 1, runs: list[str] | None = None, device: str = "cpu") -> WorkerRecord:
    kind = "cpu" if device == "cpu" else "cuda"
    return WorkerRecord(name, name, 1, slots, kind, device, 1, 1, {}, 0.0, 0.0, runs or [])


def finished(runs: Runs, speed: float = SPEED, device: str = "cpu", ended: float = NOW - 50, **said: Any) -> str:
    run = runs.add(**said)
    runs.set(run, device=device, progress=json.dumps({"samples_per_second": speed}))
    runs.finish(run, now=ended)
    return run


def look(runs: Runs, *workers: WorkerRecord, after: int = 0) -> list[Estimate]:
    with reading(runs.engine) as connection:
        cursor = read_queue(connection, after).next if after else None
        return estimate_page(connection, read_queue(connection, 50, cursor), list(workers), NOW)


def starts(found: list[Estimate]) -> list[float | None]:
    return [None if each.start is None else round(each.start - NOW, 1) for each in found]


def test_runs_start_one_after_the_other_as_slots_become_free(runs: Runs) -> None:
    finished(runs)
    for epochs in (3, 2, 1, 4):
        runs.add(NOW, epochs=epochs)
    found = look(runs, worker(slots=2))
    assert [each.seconds and round(each.seconds) for each in found] == [30, 20, 10, 40]
    assert starts(found) == [0.0, 0.0, 20.0, 30.0]
    assert found[0].estimate == "based on 1 successful run of the same network, dataset and batch size"
    assert {each.start_why for each in found} == {""}


def test_a_slot_that_is_taken_is_free_when_its_run_will_have_ended(runs: Runs) -> None:
    finished(runs)
    tells, silent, ending = (runs.add(epochs=5) for _ in range(3))
    runs.set(tells, status="running", device="cpu", started_at=NOW - 20, progress='{"eta_seconds": 12.5}')
    runs.set(silent, status="running", device="cpu", started_at=NOW - 20)
    runs.set(ending, status="finishing", device="cpu", started_at=NOW - 20)
    for _ in range(2):
        runs.add(NOW, epochs=1)
    assert starts(look(runs, worker(runs=[tells]))) == [12.5, 22.5]
    assert starts(look(runs, worker(runs=[silent]))) == [30.0, 40.0]
    assert starts(look(runs, worker(runs=[ending]))) == [0.0, 10.0]


def test_what_is_not_known_is_said_and_not_guessed(runs: Runs) -> None:
    finished(runs)
    runs.add(NOW, family="vit", size="large")
    runs.add(NOW)
    unknown, behind = look(runs, worker())
    assert (unknown.seconds, unknown.estimate) == (None, "no successful run of vit large on cpu yet")
    number = runs.sql("SELECT number FROM run WHERE family = 'vit'")[0][0]
    assert (behind.start, behind.start_why) == (None, f"unknown, because run #{number} has no estimate")
    assert behind.seconds is not None
    # With another free slot, the second run still starts immediately.
    assert starts(look(runs, worker(slots=2))) == [0.0, 0.0]


def test_without_workers_or_while_paused_nothing_is_expected_to_start(runs: Runs) -> None:
    finished(runs)
    runs.add(NOW, epochs=1)
    [found] = look(runs)
    assert (found.start, found.start_why) == (None, "no connected worker can run it")
    assert found.seconds == pytest.approx(10.0)
    with writing(runs.engine) as connection:
        pause(connection, NOW)
    [found] = look(runs, worker())
    assert (found.start, found.start_why) == (None, "the queue is paused")


def test_nothing_at_all_has_finished(runs: Runs) -> None:
    runs.add(NOW)
    [found] = look(runs)
    assert (found.seconds, found.estimate) == (None, "no run has succeeded yet")


def test_a_run_waits_for_the_worker_that_it_asks_for(runs: Runs) -> None:
    finished(runs)
    finished(runs)
    finished(runs, speed=10 * SPEED, device="GPU")
    runs.add(NOW, epochs=3, device="cuda")
    runs.add(NOW, epochs=3, device="cuda")
    runs.add(NOW, epochs=3, device="cpu")
    runs.add(NOW, epochs=3, worker="far")
    found = look(runs, worker("near"), worker("nigh", device="GPU"))
    assert starts(found) == [0.0, 3.0, 0.0, None]
    assert [each.seconds and round(each.seconds) for each in found] == [3, 3, 30, 30]


def test_a_later_page_counts_on_what_stands_before_it(runs: Runs) -> None:
    finished(runs)
    for _ in range(6):
        runs.add(NOW, epochs=1)
    assert starts(look(runs, worker(), after=4)) == [40.0, 50.0]


def test_a_run_that_goes_on_has_less_to_train(runs: Runs) -> None:
    finished(runs)
    run = runs.add(NOW, epochs=5)
    runs.set(run, checkpoint='{"path": "p", "epoch": 3, "step": 30}')
    [found] = look(runs, worker())
    assert found.seconds == pytest.approx(20.0)


def test_a_run_that_has_just_finished_changes_what_is_expected(runs: Runs) -> None:
    finished(runs)
    runs.add(NOW, epochs=1)
    assert look(runs, worker())[0].seconds == pytest.approx(10.0)
    for i in range(3):
        finished(runs, speed=2 * SPEED, ended=NOW - 40 + i)
    assert look(runs, worker())[0].seconds == pytest.approx(5.0)
