"""Lost runs are queued again, workers are woken, chunks are merged and what is too old is removed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis
from sqlalchemy import Engine

from app.contract import broker
from app.contract.events import (
    Checkpoint,
    Goodbye,
    Result,
)
from app.contract.settings import Settings
from app.services import artifacts, cleaner, retention
from app.services.recorder import Recorder
from app.store import lease
from app.store.database import reading, writing
from app.store.worker import list_workers
from tests.app.services.recording import curve, tick
from tests.conftest import Clock, Runs
from tests.fake_worker import Worker

pytestmark = pytest.mark.both_databases


def test_a_run_whose_worker_is_silent_is_lost_and_starts_again_elsewhere(
    runs: Runs, recorder: Recorder, worker: Worker, clock: Clock
) -> None:
    run = runs.add()
    worker.beat()
    worker.train(recorder)
    tick(recorder, clock, 9)
    assert runs.status(run) == "running"
    tick(recorder, clock, 2)
    assert runs.status(run) == "lost"
    with reading(runs.engine) as connection:
        assert list_workers(connection, clock.now, 1000) == []
    tick(recorder, clock, 1.5)
    assert runs.status(run) == "queued"
    trainer = Worker(worker.redis, "w2").train(recorder)
    assert (trainer.run, trainer.fence) == (run, 2)
    assert runs.get(run).attempt == 2


def test_a_recorder_that_was_away_gives_workers_time_before_it_calls_runs_lost(
    settings: Settings, engine: Engine, runs: Runs, recorder: Recorder, worker: Worker, clock: Clock, redis: Redis
) -> None:
    run = runs.add()
    worker.train(recorder)
    clock.now += 3600
    successor = Recorder(settings, engine, redis, clock)
    successor.connect()
    successor.step()
    assert runs.status(run) == "running"
    tick(successor, clock, 11)
    assert runs.status(run) == "lost"
    successor.celery.close()


@pytest.mark.parametrize("back", [2.0, 3600.0])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_that_is_set_back_delays_nothing(
    settings: Settings,
    engine: Engine,
    runs: Runs,
    recorder: Recorder,
    worker: Worker,
    clock: Clock,
    redis: Redis,
    back: float,
    restarted: bool,
) -> None:
    lost, stopped = runs.add(), runs.add()
    worker.beat()
    worker.train(recorder)
    tick(recorder, clock, 11)
    assert runs.status(lost) == "lost"
    silent = Worker(redis, "w2")
    silent.beat()
    silent.train(recorder)
    with writing(engine) as connection:
        lease.request_cancel(connection, stopped, runs.commit(), clock.now, 25.0)
    clock.now -= back
    if restarted:
        recorder = Recorder(settings, engine, redis, clock)
        recorder.connect()
    tick(recorder, clock, 0)
    tick(recorder, clock, 1.5)
    assert runs.status(lost) == "queued"
    assert runs.status(stopped) == "cancelling"
    tick(recorder, clock, 11)
    assert runs.status(stopped) == "cancelled"
    with reading(engine) as connection:
        assert list_workers(connection, clock.now, 1000) == []
    if restarted:
        recorder.celery.close()


def test_a_worker_that_says_goodbye_is_gone(runs: Runs, recorder: Recorder, worker: Worker, clock: Clock) -> None:
    worker.beat()
    recorder.step()
    worker.send("goodbye", Goodbye(worker="w1"))
    recorder.step()
    with reading(runs.engine) as connection:
        assert list_workers(connection, clock.now, 10) == []


@pytest.mark.parametrize(
    ("slots", "kind", "wanted", "expected"),
    [(1, "cpu", ["auto"] * 3, 1), (4, "cpu", ["auto"] * 3, 3), (4, "cpu", ["cuda"] * 3, 0), (2, "cuda", ["cuda"], 1)],
)
def test_workers_are_woken_as_often_as_claims_could_be_granted(
    runs: Runs, recorder: Recorder, redis: Redis, clock: Clock, slots: int, kind: str, wanted: list[str], expected: int
) -> None:
    for device in wanted:
        runs.add(device=device)
    Worker(redis, "w1", kind, slots).beat()
    tick(recorder, clock)
    # Unread wake-ups count.
    tick(recorder, clock)
    assert redis.llen(broker.QUEUE) == expected


def test_nobody_is_woken_while_no_slot_is_free(runs: Runs, recorder: Recorder, worker: Worker, clock: Clock) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    worker.redis.delete(broker.QUEUE)
    runs.add()
    worker.beat((run, trainer.fence))
    tick(recorder, clock)
    assert worker.redis.llen(broker.QUEUE) == 0


def test_many_commits_are_merged_and_a_deleted_run_is_purged_with_its_files(
    settings: Settings, runs: Runs, recorder: Recorder, worker: Worker, clock: Clock
) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    for step in range(1, 300):
        trainer.points(train__loss=[(step, 1.0)])
        recorder.step()
    (before,) = runs.sql("SELECT count(*) FROM metric_chunk")[0]
    tick(recorder, clock, 6)
    (after,) = runs.sql("SELECT count(*) FROM metric_chunk")[0]
    assert after < before - 20
    assert len(curve(runs, run)) == 299
    trainer.say("result", Result(outcome="succeeded"))
    recorder.step()
    folder = settings.data_dir / "artifacts" / run
    folder.mkdir(parents=True)
    (folder / "best.safetensors").write_bytes(b"x")
    runs.set(run, deleted_at=clock.now)
    tick(recorder, clock, 86400 * settings.trash_days - 1)
    assert folder.exists()
    tick(recorder, clock, 3601)
    assert runs.sql("SELECT count(*) FROM run") == [(0,)]
    assert runs.sql("SELECT count(*) FROM metric_chunk") == [(0,)]
    assert not folder.exists()


def test_an_ended_run_is_merged_to_the_last_point_by_whoever_records_then(
    settings: Settings, engine: Engine, runs: Runs, recorder: Recorder, worker: Worker, clock: Clock, redis: Redis
) -> None:
    for ended_before in (False, True):
        run = runs.add()
        trainer = worker.train(recorder)
        for step in range(1, 6):
            trainer.points(train__loss=[(step, 1.0)])
            recorder.step()
        tick(recorder, clock, 6)
        assert runs.sql("SELECT count(*) FROM metric_chunk WHERE tier = 0") == [(5,)]
        trainer.say("result", Result(outcome="succeeded"))
        recorder.step()
        if ended_before:
            recorder.celery.close()
            recorder = Recorder(settings, engine, redis, clock)
            recorder.connect()
        for _ in range(4):
            tick(recorder, clock, 6)
        assert runs.sql("SELECT count(*) FROM metric_chunk WHERE tier = 0") == [(0,)]
        assert len(curve(runs, run)) == 5


@pytest.fixture
def long_ended(settings: Settings, runs: Runs, clock: Clock) -> list[str]:
    """Three runs that ended four days ago, each with a best checkpoint and one to resume from."""
    found = []
    for _ in range(3):
        found.append(run := runs.add())
        runs.finish(run, now=clock.now - 4 * 86400)
        for column in ("checkpoint", "best_checkpoint"):
            path = f"{run}/1/{column}.safetensors"
            artifacts.write(settings, path, b"x")
            runs.set(run, **{column: Checkpoint(path=path, epoch=1, step=1, bytes=1).model_dump_json()})
    return found


@pytest.fixture
def cleaning(settings: Settings, engine: Engine, clock: Clock, redis: Redis) -> Iterator[Recorder]:
    """A recorder that keeps checkpoints for three days."""
    found = Recorder(settings.model_copy(update={"checkpoints_days": 3.0}), engine, redis, clock)
    found.connect()
    yield found
    found.celery.close()


def test_what_the_settings_no_longer_keep_goes_a_little_at_a_time(
    settings: Settings,
    runs: Runs,
    long_ended: list[str],
    cleaning: Recorder,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "PER_COMMIT", 2)
    monkeypatch.setattr(cleaner, "STEP_SECONDS", 0.0)
    left = []
    for _ in range(4):
        tick(cleaning, clock)
        known = runs.sql("SELECT count(*) FROM run WHERE checkpoint <> ''")[0][0]
        left.append((known, len(artifacts.find(settings, "*/*/*"))))
    assert left == [(1, 5), (0, 4), (0, 3), (0, 3)]
    assert all(artifacts.exists(settings, f"{run}/1/best_checkpoint.safetensors") for run in long_ended)


def test_a_file_that_cannot_be_deleted_delays_no_other_and_is_tried_again(
    settings: Settings,
    runs: Runs,
    long_ended: list[str],
    cleaning: Recorder,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(cleaner, "STEP_SECONDS", 60.0)
    stuck, remove = f"{long_ended[0]}/1/checkpoint.safetensors", artifacts.remove

    def refuse(settings: Settings, path: str) -> None:
        if path == stuck:
            raise PermissionError(13, "Permission denied", path)
        remove(settings, path)

    monkeypatch.setattr(artifacts, "remove", refuse)
    tick(cleaning, clock)
    assert len(artifacts.find(settings, "*/*/*")) == 4
    assert "could not delete" in caplog.text
    assert runs.sql("SELECT path FROM removal") == [(stuck,)]
    monkeypatch.setattr(artifacts, "remove", remove)
    tick(cleaning, clock, 30)
    assert artifacts.exists(settings, stuck)
    tick(cleaning, clock, 31)
    assert not artifacts.exists(settings, stuck)
    assert runs.sql("SELECT path FROM removal") == []
