from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import torch
from redis import Redis

from app.contract import broker
from app.contract.events import Checkpoint, DeviceInfo, Renewal
from app.contract.protocol import PROTOCOL
from app.contract.settings import Settings
from app.services import pubsub
from app.store.database import writing
from app.store.queue import pause, resume
from tests.worker.conftest import make_config, until
from tests.worker.supervised import LONG, Worker, Yard, alive, fork_servers, started, trainers
from worker import supervisor as supervisor_module
from worker.active_run import exit_reason
from worker.reporting.spool import leftovers
from worker.supervisor import Supervisor

# Runs that end by themselves -----------------------------------------------------------------------------------------


def test_one_slot_trains_one_run_after_another_to_the_end_and_leaves_nothing_behind(
    yard: Yard, worker: Worker, redis: Redis, settings: Settings
) -> None:
    """Two in a row: computing before the fork would make a fit hang forever."""
    first, second = (yard.launch(make_config(seed=seed, batch_size=32)) for seed in (1, 2))
    worker.work().join(60)
    for run_id in (first, second):
        until(partial(yard.is_, run_id, "succeeded"), "the run has succeeded")
        assert yard.steps(run_id, "train/loss") == list(range(1, 79))
        assert yard.steps(run_id, "val/acc") == [39, 78]
        assert yard.steps(run_id, "test/acc") == [78]
        assert yard.row(run_id).params == 8_390
        assert (settings.data_dir / "artifacts" / run_id / "1" / "best.safetensors").exists()
        assert not [line for line in yard.words(run_id) if "Warning" in line]
    assert leftovers(settings.spool) == []
    until(lambda: not redis.xlen(broker.EVENTS), "the recorder has read everything")
    assert redis.hgetall(broker.COMMITTED) == {}
    assert trainers(os.getpid()) == []


def test_a_run_that_cannot_be_trained_fails_with_its_sentence(yard: Yard, worker: Worker) -> None:
    run_id = yard.launch(make_config(batch_size=2000))
    worker.work()
    until(lambda: yard.status(run_id) == "failed", "the run has failed")
    assert yard.row(run_id).reason == "batch size must be at most 1,257, the number of training images, not 2,000"


def test_work_returns_when_nothing_is_queued_and_at_once_when_no_slot_is_free(yard: Yard, worker: Worker) -> None:
    idle = worker.work()
    idle.join(30)
    assert not idle.is_alive()
    runs = [yard.launch(LONG) for _ in range(3)]
    worker.work()
    worker.work()
    until(lambda: all(yard.trains(each) for each in runs[:2]), "both runs train")
    began = time.monotonic()
    worker.supervisor.work()
    assert time.monotonic() - began < 10
    assert [yard.status(each) for each in runs] == ["running", "running", "queued"]


# Runs that are ended -------------------------------------------------------------------------------------------------


def test_a_nudge_stops_a_run_long_before_the_next_heartbeat(settings: Settings, redis: Redis) -> None:
    # Without heartbeats, no lease may expire meanwhile.
    patient = settings.model_copy(update={"heartbeat_seconds": 60.0, "lease_seconds": 600.0})
    with closing(Yard(patient)) as yard, started(patient) as worker:
        run_id = yard.launch(LONG)
        slot = worker.work()
        until(lambda: yard.trains(run_id), "the run trains")
        yard.cancel(run_id)
        assert yard.status(run_id) == "cancelling"
        pubsub.nudge_cancel(redis, run_id)
        until(lambda: yard.status(run_id) == "cancelled", "the run is cancelled")
        slot.join(10)
        assert not slot.is_alive()
        row = yard.row(run_id)
        assert row.reason.startswith("stopped at step ")
        checkpoint = Checkpoint.model_validate_json(row.checkpoint)
        assert (settings.data_dir / "artifacts" / checkpoint.path).exists()
        assert yard.steps(run_id, "train/loss") == list(range(1, checkpoint.step + 1))


def test_a_stop_whose_nudge_was_lost_comes_with_the_next_heartbeat(yard: Yard, worker: Worker) -> None:
    run_id = yard.launch(LONG)
    worker.work()
    until(lambda: yard.trains(run_id), "the run trains")
    yard.cancel(run_id)
    until(lambda: yard.status(run_id) == "cancelled", "the run is cancelled")


def test_a_run_that_belongs_to_another_attempt_by_now_is_killed_and_changes_nothing(
    yard: Yard, worker: Worker, settings: Settings
) -> None:
    run_id = yard.launch(LONG)
    slot = worker.work()
    until(lambda: yard.trains(run_id), "the run trains")
    trainer = worker.trainer()
    yard.change(run_id, "fence = fence + 1, applied = 0, status = 'starting', lease_until = 1e12")
    until(lambda: not alive(trainer), "the trainer is killed")
    slot.join(10)
    assert not slot.is_alive()
    row = yard.row(run_id)
    assert (row.status, row.reason, row.fence) == ("starting", "", 2)
    assert leftovers(settings.spool) == []


def test_a_run_whose_trainer_is_killed_from_outside_goes_on_from_its_checkpoint(
    yard: Yard, worker: Worker, settings: Settings
) -> None:
    run_id = yard.launch(LONG)
    slot = worker.work()
    until(lambda: yard.trains(run_id) and yard.row(run_id).checkpoint, "the run trains and has a checkpoint")
    # Else the slot might take the run again before this test has seen it in the queue.
    with writing(yard.engine) as connection:
        pause(connection, time.time())
    worker.trainer().kill()
    until(lambda: yard.status(run_id) == "queued", "the run is queued again")
    assert "signal 9" in yard.row(run_id).reason
    assert "resuming from the checkpoint at step" in yard.row(run_id).reason
    assert yard.row(run_id).losses == 0, "it had got further"
    slot.join(10)
    assert leftovers(settings.spool) == []
    with writing(yard.engine) as connection:
        resume(connection)
    slot = worker.work()
    until(lambda: yard.row(run_id).attempt == 2 and yard.trains(run_id), "the run goes on")
    until(lambda: any("resuming from step" in line for line in yard.words(run_id)), "and says so")
    yard.cancel(run_id)
    until(lambda: yard.status(run_id) == "cancelled", "the run is cancelled")
    points = yard.steps(run_id, "train/loss")
    assert points == list(range(1, len(points) + 1))
    slot.join(10)
    again = yard.launch(make_config())
    worker.work()
    until(lambda: yard.status(again) == "succeeded", "the slot trains the next run")


def test_a_trainer_that_the_system_ends_for_want_of_memory_fails_its_run_with_what_to_try(
    yard: Yard, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = iter([4, 5])
    monkeypatch.setattr(supervisor_module, "out_of_memory_kills", lambda: next(kills))
    run_id = yard.launch(LONG)
    worker.work()
    until(lambda: yard.trains(run_id), "the run trains")
    worker.trainer().kill()
    until(lambda: yard.status(run_id) == "failed", "the run has failed")
    assert yard.row(run_id).reason == (
        "the operating system killed the run because memory ran out; try batch size 32, or set find_batch"
    )


def test_a_trainer_that_does_not_react_to_a_stop_is_killed_after_its_time(yard: Yard, settings: Settings) -> None:
    with started(settings.model_copy(update={"cancel_seconds": 1.0})) as worker:
        run_id = yard.launch(LONG)
        worker.work()
        until(lambda: yard.trains(run_id), "the run trains")
        trainer = worker.trainer()
        trainer.suspend()
        began = time.monotonic()
        yard.cancel(run_id)
        until(lambda: not alive(trainer), "the trainer is killed")
        assert time.monotonic() - began > 0.9
        until(lambda: yard.status(run_id) == "cancelled", "the run is cancelled")
        assert yard.row(run_id).reason == "killed because it did not stop within 1 s"


def test_a_trainer_that_makes_no_step_for_long_is_killed(yard: Yard, worker: Worker) -> None:
    run_id = yard.launch(LONG)
    worker.work()
    until(lambda: yard.trains(run_id), "the run trains")
    trainer = worker.trainer()
    worker.supervisor.settings = worker.supervisor.settings.model_copy(update={"stall_seconds": 4.0})
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 4.8 or not alive(trainer), "more time than the rule allows")
    assert alive(trainer), "a trainer that makes steps is left alone"
    trainer.suspend()
    until(lambda: yard.status(run_id) == "failed", "the run has failed")
    assert yard.row(run_id).reason == "killed because it completed no training step for 4 s (RUNYARD_STALL_SECONDS)"
    assert not alive(trainer)


def test_the_end_of_a_process_is_told_in_a_sentence() -> None:
    assert exit_reason(None) == "the trainer ended without an exit code"
    assert "memory" in exit_reason(-9)
    assert exit_reason(-11) == "the trainer was killed by signal 11 (SIGSEGV)"
    assert "exited with code 3" in exit_reason(3)


# What a supervisor is made of ----------------------------------------------------------------------------------------


def in_a_fresh_interpreter(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_the_worker_s_own_process_never_imports_torch() -> None:
    program = "import sys, worker.tasks, worker.supervisor, worker.job; print(*sorted(sys.modules))"
    modules = set(in_a_fresh_interpreter(program).split())
    assert "worker.supervisor" in modules
    assert not modules & {"torch", "lightning", "numpy", "sqlalchemy", "fastapi"}


@pytest.mark.usefixtures("worker")
def test_the_fork_server_has_computed_nothing() -> None:
    """The first parallel operation would start torch's threads, which do not survive a fork."""
    (server,) = fork_servers(os.getpid())
    mapped = {Path(each.path).name for each in server.memory_maps()}
    assert "libtorch_cpu.so" in mapped, "it has not imported torch beforehand"
    assert server.num_threads() == 1
    program = (
        "import psutil, torch; before = psutil.Process().num_threads(); torch.set_num_threads(3);"
        "torch.ones(1_000_000).exp(); print(psutil.Process().num_threads() - before)"
    )
    assert int(in_a_fresh_interpreter(program)) > 0, "this test would not notice torch's threads"


def test_a_gpu_that_is_demanded_and_not_there_is_told_at_the_start(settings: Settings) -> None:
    supervisor = Supervisor(settings.model_copy(update={"device": "cuda"}))
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(RuntimeError, match="RUNYARD_DEVICE is cuda, but PyTorch finds no GPU on this machine"):
        supervisor.start()


def test_a_heartbeat_tells_what_the_worker_has_and_holds(yard: Yard, worker: Worker) -> None:
    run_id = yard.launch(LONG)
    worker.work()
    until(lambda: yard.trains(run_id), "the run trains")
    beat = worker.supervisor._heartbeat()
    assert [(each.run, each.fence) for each in beat.runs] == [(run_id, 1)]
    assert (beat.worker, beat.pid, beat.slots) == (worker.supervisor.id, os.getpid(), 2)
    assert beat.device.kind == "cpu"
    assert set(beat.versions) == {"runyard", "torch", "lightning"}


def test_a_redis_that_is_not_there_gives_the_slot_back(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Supervisor(settings.model_copy(update={"redis_url": f"unix://{tmp_path}/none.sock"}))
    supervisor.device = DeviceInfo(kind="cpu", name="cpu", memory_bytes=1, cores=1)
    supervisor._slots.put(0)
    with caplog.at_level(logging.WARNING):
        supervisor.work()
        supervisor.work()
    assert len([each for each in caplog.records if "retrying at the next wake-up" in each.message]) == 2


def test_a_worker_asks_a_server_with_another_protocol_for_nothing_and_says_so_once(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Supervisor(settings)
    supervisor._slots.put(0)
    newer = Renewal(beat=1, protocol=PROTOCOL + 1, version="9.0").model_dump_json()
    with caplog.at_level(logging.ERROR):
        supervisor._apply_renewal(newer)
        supervisor._apply_renewal(newer)
    (said,) = [each.message for each in caplog.records]
    assert said.endswith("so it gets no runs; install version 9.0 for the worker")
    # It does not even take a slot, and so asks for nothing.
    supervisor.work()
    assert supervisor._slots.qsize() == 1
    # A server of an earlier version says neither, and speaks the first protocol.
    supervisor._apply_renewal(Renewal(beat=2).model_dump_json())
    assert supervisor._refused == ""
