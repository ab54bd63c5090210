"""Workers that stop or die: their runs return to the queue, and nothing is lost or left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from redis import Redis
from sqlalchemy import text

from app.contract.events import Checkpoint, Log, LogLine
from app.contract.settings import Settings
from app.store.database import reading
from tests.worker.conftest import RedisServer, make_config, until
from tests.worker.supervised import LONG, Yard, alive, fork_servers, started, trainers
from worker import supervisor as supervisor_module
from worker.reporting.sender import Sender
from worker.reporting.spool import Spool, SpoolEntry, leftovers


def test_a_worker_that_stops_gives_its_run_back_and_the_next_one_goes_on(yard: Yard, settings: Settings) -> None:
    run_id = yard.launch(make_config(epochs=160, batch_size=32))
    with started(settings) as first:
        first.work()
        until(lambda: yard.trains(run_id), "the run trains")
    until(lambda: yard.status(run_id) == "queued", "the run is queued again")
    row = yard.row(run_id)
    checkpoint = Checkpoint.model_validate_json(row.checkpoint)
    assert 0 < checkpoint.step < 160 * 39
    assert row.reason == f"the worker stopped; the run will resume from step {checkpoint.step:,}"
    until(lambda: all_workers(yard) == [], "the worker is forgotten")
    with started(settings) as second:
        second.work()
        until(lambda: yard.status(run_id) == "succeeded", "the run has succeeded", 120.0)
    assert yard.row(run_id).attempt == 2
    assert yard.steps(run_id, "train/loss") == list(range(1, 160 * 39 + 1))
    assert yard.steps(run_id, "val/loss") == list(range(39, 160 * 39 + 1, 39))


def all_workers(yard: Yard) -> list[str]:
    with reading(yard.engine) as connection:
        return [str(each) for each in connection.execute(text("SELECT id FROM worker")).scalars()]


def test_a_trainer_whose_lease_nobody_renews_saves_and_ends_and_its_run_goes_on_when_redis_is_back(
    yard: Yard, settings: Settings, server: RedisServer
) -> None:
    with started(settings.model_copy(update={"orphan_seconds": 1.0})) as worker:
        run_id = yard.launch(LONG)
        worker.work()
        until(lambda: yard.trains(run_id), "the run trains")
        trainer = worker.trainer()
        server.stop()
        until(lambda: not alive(trainer), "the trainer has ended", 20.0)
        server.start()
        until(lambda: yard.row(run_id).attempt == 2 and yard.trains(run_id), "the run goes on", 20.0)
        assert any("resuming from step" in line for line in yard.words(run_id))
        yard.cancel(run_id)
        until(lambda: yard.is_(run_id, "cancelled"), "the run is cancelled")
        step = Checkpoint.model_validate_json(yard.row(run_id).checkpoint).step
        assert yard.steps(run_id, "train/loss") == list(range(1, step + 1))


def test_a_worker_that_stops_while_redis_is_gone_ends_and_the_next_one_goes_on(
    yard: Yard, settings: Settings, server: RedisServer
) -> None:
    run_id = yard.launch(LONG)
    with started(settings) as first:
        slot = first.work()
        until(lambda: yard.trains(run_id), "the run trains")
        server.stop()
        first.supervisor.stop()
        slot.join(20)
        assert not slot.is_alive()
    assert leftovers(settings.spool) == [(run_id, 1)]
    server.start()
    with started(settings) as second:
        until(lambda: yard.status(run_id) == "queued", "the run is queued again", 20.0)
        checkpoint = Checkpoint.model_validate_json(yard.row(run_id).checkpoint)
        assert yard.steps(run_id, "train/loss") == list(range(1, checkpoint.step + 1))
        second.work()
        until(lambda: yard.row(run_id).attempt == 2 and yard.trains(run_id), "the run goes on", 20.0)


@pytest.mark.parametrize("killed", [False, True])
def test_a_worker_that_stops_waits_only_so_long_for_a_recorder_that_commits_nothing(
    yard: Yard, settings: Settings, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    monkeypatch.setattr(supervisor_module, "SHUTDOWN_SECONDS", 0.5)
    run_id = yard.launch(LONG)
    with started(settings) as worker:
        slot = worker.work()
        until(lambda: yard.trains(run_id), "the run trains")
        yard.close()
        if killed:
            worker.trainer().kill()
        worker.supervisor.stop()
        slot.join(20)
        assert not slot.is_alive()
    # All that a killed one had said may have been committed before; its end was not.
    assert killed or leftovers(settings.spool) == [(run_id, 1)]
    assert yard.status(run_id) == "running"


def test_what_a_dead_worker_s_trainer_had_to_say_is_brought_by_the_next_worker(
    yard: Yard, settings: Settings, redis: Redis
) -> None:
    run_id = yard.launch(make_config())
    yard.change(run_id, "status = 'running', fence = 1, attempt = 1, lease_until = 1e12")
    spool = Spool(settings.spool, run_id, 1)
    line = Log(lines=[LogLine(time=time.time(), level="info", text="my last words")])
    Sender(redis, spool).put(SpoolEntry(1, "log", line.model_dump_json().encode()))
    spool.close()
    busy = Spool(settings.spool, "r_busy", 1)
    with started(settings):
        until(lambda: leftovers(settings.spool) == [("r_busy", 1)], "the spool is brought home")
        assert yard.words(run_id) == ["my last words"]
    busy.remove()


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_nothing_outlives_a_worker_that_is_killed(yard: Yard, settings: Settings) -> None:
    environment = os.environ | {
        "RUNYARD_DATA_DIR": str(settings.data_dir),
        "RUNYARD_REDIS_URL": settings.redis,
        "RUNYARD_DEVICE": "cpu",
        "RUNYARD_SLOTS": str(settings.slots),
    }
    runs = [yard.launch(LONG.model_copy(update={"seed": seed})) for seed in (1, 2)]
    found: list[psutil.Process] = []
    with subprocess.Popen([sys.executable, "-m", "worker"], env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: all(yard.trains(each) for each in runs), "both runs train", 60.0)
            found = descendants(process.pid)
            assert len(trainers(process.pid)) == 2
            assert len(fork_servers(process.pid)) == 1
            process.send_signal(signal.SIGKILL)
            until(lambda: not any(alive(each) for each in found), "all of them are gone", 20.0)
        finally:
            process.kill()
            for each in found:
                if alive(each):
                    each.kill()
