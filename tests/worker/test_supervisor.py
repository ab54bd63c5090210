from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch
from redis import Redis
from sqlalchemy import Engine, text

from app.contract import broker
from app.contract.events import Checkpoint, DeviceInfo, Log, LogLine
from app.contract.settings import Settings
from app.contract.spec import RunConfig
from app.services import signals
from app.services.recorder import Recorder
from app.store import lease, log, metric, run
from app.store.database import migrate, next_commit, open_database, reading, writing
from tests.worker.conftest import RedisServer, make_config, until
from worker import supervisor as supervisor_module
from worker.reporting.sender import Sender
from worker.reporting.spool import Said, Spool, leftovers
from worker.supervisor import Supervisor, _how_it_died

LONG = make_config(epochs=100_000, batch_size=64)


class Yard:
    """A server's side with the real recorder in a thread, and what a user would do with it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine: Engine = open_database(settings.database)
        migrate(self.engine)
        self._stop = threading.Event()
        redis = Redis.from_url(settings.redis, socket_timeout=30)
        recorder = Recorder(settings, self.engine, redis)
        self._thread = threading.Thread(target=recorder.run, args=(self._stop,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.engine.dispose()

    def launch(self, config: RunConfig) -> str:
        with writing(self.engine) as connection:
            return run.insert_run(connection, config, {}, None, time.time())

    def row(self, run_id: str) -> run.RunRecord:
        with reading(self.engine) as connection:
            found = run.load_run(connection, run_id)
        assert found is not None
        return found

    def status(self, run_id: str) -> str:
        return str(self.row(run_id).status)

    def is_(self, run_id: str, status: str) -> bool:
        return self.status(run_id) == status

    def trains(self, run_id: str) -> bool:
        row = self.row(run_id)
        return bool(row.status == "running" and row.progress and row.progress["step"] > 0)

    def cancel(self, run_id: str) -> None:
        with writing(self.engine) as connection:
            lease.request_cancel(connection, run_id, next_commit(connection), time.time(), 60.0)

    def change(self, run_id: str, assignment: str) -> None:
        with writing(self.engine) as connection:
            connection.execute(text(f"UPDATE run SET {assignment} WHERE id = :run"), {"run": run_id})

    def steps(self, run_id: str, name: str) -> list[int]:
        with reading(self.engine) as connection:
            curves = metric.read_curves(connection, run_id, [name], 0)
        return [int(step) for step in curves[name].steps] if name in curves else []

    def words(self, run_id: str) -> list[str]:
        with reading(self.engine) as connection:
            return [str(line["text"]) for line in log.read_lines(connection, run_id, tail=100_000)]


@pytest.fixture
def settings(server: RedisServer, data_dir: Path) -> Settings:
    # Two slots, of which most tests use one: a trainer then has half the cores, and a busy machine hardly slows it.
    return Settings(data_dir=data_dir, redis_url=server.url, device="cpu", slots=2, heartbeat_seconds=0.2)


@pytest.fixture
def yard(settings: Settings) -> Iterator[Yard]:
    made = Yard(settings)
    yield made
    made.close()


class Worker:
    """A supervisor in this process, and its slots as Celery's threads would run them."""

    def __init__(self, settings: Settings) -> None:
        self.supervisor = Supervisor(settings)
        self.supervisor.start()
        self._threads: list[threading.Thread] = []

    def work(self) -> threading.Thread:
        thread = threading.Thread(target=self.supervisor.work, daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    def trainer(self) -> psutil.Process:
        """The one process that trains now."""
        (found,) = until(lambda: trainers(os.getpid()), "a trainer runs")
        assert isinstance(found, psutil.Process)
        return found

    def close(self) -> None:
        for each in trainers(os.getpid()):
            with suppress(psutil.NoSuchProcess):  # it may end by itself meanwhile
                each.resume()
        self.supervisor.stop()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()
        self.supervisor.leave()


def fork_servers(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if "forkserver" in " ".join(child.cmdline())]


def trainers(pid: int) -> list[psutil.Process]:
    """The living children of a worker's fork server."""
    return [child for each in fork_servers(pid) for child in each.children() if alive(child)]


@contextmanager
def started(settings: Settings) -> Iterator[Worker]:
    with ExitStack() as stack:
        worker = Worker(settings)
        stack.callback(worker.close)
        yield worker


@pytest.fixture
def worker(settings: Settings, yard: Yard) -> Iterator[Worker]:
    with started(settings) as made:
        yield made


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# Runs that end by themselves -----------------------------------------------------------------------------------------


def test_one_slot_trains_one_run_after_another_to_the_end_and_leaves_nothing_behind(
    yard: Yard, worker: Worker, redis: Redis, settings: Settings
) -> None:
    """Two of two: computing before the fork would make a fit hang for ever."""
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
    assert yard.row(run_id).reason == "the batch size 2000 is more than the training images; the largest is 1257"


def test_work_returns_when_nothing_is_queued_and_at_once_when_no_slot_is_free(yard: Yard, worker: Worker) -> None:
    idle = worker.work()
    idle.join(5)
    assert not idle.is_alive()
    runs = [yard.launch(LONG) for _ in range(3)]
    worker.work()
    worker.work()
    until(lambda: all(yard.trains(each) for each in runs[:2]), "both runs train")
    began = time.monotonic()
    worker.supervisor.work()
    assert time.monotonic() - began < 0.5
    assert [yard.status(each) for each in runs] == ["running", "running", "queued"]


# Runs that are ended -------------------------------------------------------------------------------------------------


def test_a_nudge_stops_a_run_long_before_the_next_heartbeat(yard: Yard, settings: Settings, redis: Redis) -> None:
    with started(settings.model_copy(update={"heartbeat_seconds": 60.0})) as worker:
        run_id = yard.launch(LONG)
        slot = worker.work()
        until(lambda: yard.trains(run_id), "the run trains")
        yard.cancel(run_id)
        assert yard.status(run_id) == "cancelling"
        signals.nudge_cancel(redis, run_id)
        until(lambda: yard.status(run_id) == "cancelled", "the run is cancelled", 10.0)
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
    until(lambda: yard.status(run_id) == "cancelled", "the run is cancelled", 10.0)


def test_a_run_that_belongs_to_another_attempt_by_now_is_killed_and_changes_nothing(
    yard: Yard, worker: Worker, settings: Settings
) -> None:
    run_id = yard.launch(LONG)
    slot = worker.work()
    until(lambda: yard.trains(run_id), "the run trains")
    trainer = worker.trainer()
    yard.change(run_id, "fence = fence + 1, applied = 0, status = 'starting', lease_until = 1e12")
    until(lambda: not alive(trainer), "the trainer is killed", 10.0)
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
    worker.trainer().kill()
    until(lambda: yard.status(run_id) == "queued", "the run is queued again", 10.0)
    assert "signal 9" in yard.row(run_id).reason
    assert "from its checkpoint at step" in yard.row(run_id).reason
    assert yard.row(run_id).losses == 0, "it had got further"
    slot.join(10)
    assert leftovers(settings.spool) == []
    slot = worker.work()
    until(lambda: yard.row(run_id).attempt == 2 and yard.trains(run_id), "the run goes on")
    until(lambda: any("goes on from step" in line for line in yard.words(run_id)), "and says so")
    yard.cancel(run_id)
    until(lambda: yard.status(run_id) == "cancelled", "the run is cancelled", 10.0)
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
    until(lambda: yard.status(run_id) == "failed", "the run has failed", 10.0)
    assert yard.row(run_id).reason == (
        "the machine ran out of memory and the system ended the run; try batch size 32, or find_batch"
    )


def test_a_trainer_that_does_not_react_to_a_stop_is_killed_after_its_time(yard: Yard, settings: Settings) -> None:
    with started(settings.model_copy(update={"cancel_seconds": 1.0})) as worker:
        run_id = yard.launch(LONG)
        worker.work()
        until(lambda: yard.trains(run_id), "the run trains")
        trainer = worker.trainer()
        trainer.suspend()
        yard.cancel(run_id)
        began = time.monotonic()
        until(lambda: not alive(trainer), "the trainer is killed", 10.0)
        assert time.monotonic() - began > 0.9
        until(lambda: yard.status(run_id) == "cancelled", "the run is cancelled", 10.0)
        assert yard.row(run_id).reason == "it did not stop within 1 s and was killed"


def test_a_trainer_that_makes_no_step_for_long_is_killed(yard: Yard, worker: Worker) -> None:
    run_id = yard.launch(LONG)
    worker.work()
    until(lambda: yard.trains(run_id), "the run trains")
    trainer = worker.trainer()
    worker.supervisor.settings = worker.supervisor.settings.model_copy(update={"stall_seconds": 1.0})
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 1.2 or not alive(trainer), "more time than the rule allows")
    assert alive(trainer), "a trainer that makes steps is left alone"
    trainer.suspend()
    until(lambda: yard.status(run_id) == "failed", "the run has failed", 10.0)
    assert yard.row(run_id).reason == "it made no step for 1 s and was killed"
    assert not alive(trainer)


def test_the_end_of_a_process_is_told_in_a_sentence() -> None:
    assert _how_it_died(None) == "the training process vanished"
    assert "memory" in _how_it_died(-9)
    assert _how_it_died(-11) == "the training process was ended by signal 11 (SIGSEGV)"
    assert "exit code 3" in _how_it_died(3)


# Workers that end ----------------------------------------------------------------------------------------------------


def test_a_worker_that_stops_gives_its_run_back_and_the_next_one_goes_on(yard: Yard, settings: Settings) -> None:
    run_id = yard.launch(make_config(epochs=40, batch_size=32))
    with started(settings) as first:
        first.work()
        until(lambda: yard.trains(run_id), "the run trains")
    until(lambda: yard.status(run_id) == "queued", "the run is queued again", 10.0)
    row = yard.row(run_id)
    checkpoint = Checkpoint.model_validate_json(row.checkpoint)
    assert 0 < checkpoint.step < 40 * 39
    assert row.reason == f"its worker stopped; goes on from step {checkpoint.step:,}"
    until(lambda: all_workers(yard) == [], "the worker is forgotten", 10.0)
    with started(settings) as second:
        second.work()
        until(lambda: yard.status(run_id) == "succeeded", "the run has succeeded", 60.0)
    assert yard.row(run_id).attempt == 2
    assert yard.steps(run_id, "train/loss") == list(range(1, 40 * 39 + 1))
    assert yard.steps(run_id, "val/loss") == list(range(39, 40 * 39 + 1, 39))


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
        assert any("goes on from step" in line for line in yard.words(run_id))
        yard.cancel(run_id)
        until(lambda: yard.is_(run_id, "cancelled"), "the run is cancelled", 10.0)
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
    monkeypatch.setattr(supervisor_module, "LAST_SECONDS", 0.5)
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
    Sender(redis, spool).put(Said(1, "log", line.model_dump_json().encode()))
    spool.close()
    busy = Spool(settings.spool, "r_busy", 1)
    with started(settings):
        until(lambda: leftovers(settings.spool) == [("r_busy", 1)], "the spool is brought home", 10.0)
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
            until(lambda: not any(alive(each) for each in found), "all of them are gone", 5.0)
        finally:
            process.kill()
            for each in found:
                if alive(each):
                    each.kill()


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
    """The first parallel operation would start torch's threads, which no fork takes along."""
    (server,) = fork_servers(os.getpid())
    mapped = {Path(each.path).name for each in server.memory_maps()}
    assert "libtorch_cpu.so" in mapped, "it has not imported torch beforehand"
    assert server.num_threads() == 1
    before = psutil.Process().num_threads()
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    torch.ones(1_000_000).exp()
    torch.set_num_threads(threads)
    assert psutil.Process().num_threads() > before, "this test would not notice torch's threads"


def test_a_gpu_that_is_demanded_and_not_there_is_told_at_the_start(settings: Settings) -> None:
    supervisor = Supervisor(settings.model_copy(update={"device": "cuda"}))
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(RuntimeError, match="RUNYARD_DEVICE is cuda, but torch finds no GPU here"):
        supervisor.start()


def test_a_heartbeat_tells_what_the_worker_has_and_holds(yard: Yard, worker: Worker) -> None:
    run_id = yard.launch(LONG)
    worker.work()
    until(lambda: yard.trains(run_id), "the run trains")
    beat = worker.supervisor._heartbeat()
    assert [(each.run, each.fence) for each in beat.runs] == [(run_id, 1)]
    assert (beat.worker, beat.pid, beat.slots) == (worker.supervisor.id, os.getpid(), 2)
    assert beat.device.kind == "cpu"
    assert set(beat.versions) == {"torch", "lightning"}


def test_a_redis_that_is_not_there_gives_the_slot_back(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Supervisor(settings.model_copy(update={"redis_url": f"unix://{tmp_path}/none.sock"}))
    supervisor.device = DeviceInfo(kind="cpu", name="cpu", memory_bytes=1, cores=1)
    supervisor._slots.put(0)
    with caplog.at_level(logging.WARNING):
        supervisor.work()
        supervisor.work()
    assert len([each for each in caplog.records if "the next wake-up tries again" in each.message]) == 2
