"""Broken entries, a Redis that restarts and a locked database neither stop the recorder nor lose reports."""

from __future__ import annotations

import json
import math
import threading
from typing import Any, cast

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from app.contract import broker
from app.contract.events import (
    Result,
    pack_points,
)
from app.contract.settings import Settings
from app.services.recorder import Recorder
from tests.app.services.recording import curve, dead, pending
from tests.conftest import Runs, until
from tests.fake_worker import Trainer, Worker, packed

pytestmark = pytest.mark.both_databases

POISON: dict[str, tuple[str, bytes]] = {
    "cut off points": ("metrics", packed({"train/loss": [(1, 1.0)]})[:-3]),
    "no points at all": ("metrics", b""),
    "points at no time": ("metrics", packed({"train/loss": [(1, 1.0)]}, base_time=math.nan)),
    "points at the end of time": ("metrics", packed({"train/loss": [(1, 1.0)]}, base_time=math.inf)),
    "a step that no database holds": ("started", b'{"step":%d,"epoch":0,"params":1,"environment":{}}' % 10**30),
    "a parameter count that none holds": ("started", b'{"step":0,"epoch":0,"params":%d,"environment":{}}' % 2**63),
    "a negative step": ("checkpoint", b'{"path":"p","epoch":0,"step":-1}'),
    "a line at no time": ("log", b'{"lines":[{"time":NaN,"level":"info","text":"x"}]}'),
    "a line of half a character": ("log", b'{"lines":[{"time":1,"level":"info","text":"\\ud800"}]}'),
    "a level that does not exist": ("log", b'{"lines":[{"time":1,"level":"shout","text":"x"}]}'),
    "not JSON": ("progress", b"{"),
    "not UTF-8": ("log", b'{"lines":[{"time":1,"level":"info","text":"\xff"}]}'),
    "an outcome that does not exist": ("result", b'{"outcome":"won"}'),
    "a kind that does not exist": ("song", b"{}"),
    "JSON that is too deep": ("started", b'{"step":0,"epoch":0,"params":1,"environment":{"a":' + b"[" * 5000),
}


@pytest.mark.parametrize("which", POISON)
def test_an_entry_that_cannot_be_read_is_put_aside_and_holds_nothing_up(
    runs: Runs, recorder: Recorder, worker: Worker, which: str
) -> None:
    kind, body = POISON[which]
    run, other = runs.add(), runs.add()
    trainer = worker.train(recorder)
    second = Worker(worker.redis, "w2").train(recorder)
    trainer.points(train__loss=[(1, 0.5)])
    number = trainer.say(kind, body)
    second.points(train__loss=[(1, 0.7)])
    trainer.points(train__loss=[(2, 0.4)])
    recorder.step()
    assert [fields[b"s"] for fields in dead(worker.redis)] == [str(number).encode()]
    assert curve(runs, run) == [(1, 0.5), (2, 0.4)]
    assert curve(runs, other) == [(1, 0.7)]
    assert trainer.committed == number + 1
    assert pending(worker.redis) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"k": "claim", "b": "{"},
        {"k": "heartbeat", "b": "{}"},
        {"k": "song", "b": "{}"},
        {"b": "{}"},
        {"k": "log", "r": "r_1", "f": "x", "s": "1", "b": "{}"},
        {"k": "log", "r": "r_1"},
        {"k": "log", "r": b"\xff", "f": "1", "s": "1", "b": "{}"},
        {"nonsense": "1"},
        {"k": "ended", "b": json.dumps({"run": "r", "fence": 10**30, "outcome": "failed", "reason": ""})},
    ],
)
def test_an_entry_of_no_known_form_is_put_aside(
    runs: Runs, recorder: Recorder, worker: Worker, fields: dict[str, Any]
) -> None:
    runs.add()
    worker.redis.xadd(broker.EVENTS, cast(Any, fields))
    reply = worker.ask()
    recorder.step()
    assert len(dead(worker.redis)) == 1
    assert worker.answer(reply) is not None
    assert pending(worker.redis) == 0


def test_values_that_are_no_numbers_are_recorded_as_they_are(runs: Runs, recorder: Recorder, worker: Worker) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    trainer.points(train__loss=[(1, math.nan), (2, math.inf), (3, 1.0)])
    trainer.say("metrics", pack_points(1.0, []))
    trainer.points(train__loss=[])
    recorder.step()
    values = [value for _, value in curve(runs, run)]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, 1.0]
    assert dead(worker.redis) == []


class Waits(threading.Event):
    """Ends a recorder's loop at its first wait, and records how long that would have taken."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout)
        self.set()
        return True


def test_what_comes_soon_after_a_commit_is_gathered_for_the_next(
    settings: Settings, engine: Engine, runs: Runs, redis: Redis, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.add()
    recorder = Recorder(settings, engine, redis)
    # Longer than anything takes here, so that the remaining time is known.
    monkeypatch.setattr("app.services.recorder.GATHER_SECONDS", 3600.0)
    before = runs.commit()
    worker.ask()
    stop = Waits()
    recorder.run(stop)
    assert runs.commit() == before + 1
    (seconds,) = stop.seconds
    assert seconds is not None
    assert 3500 < seconds < 3600
    recorder.celery.close()


def test_a_recorder_that_is_behind_does_not_wait(
    settings: Settings, engine: Engine, runs: Runs, redis: Redis, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(settings, engine, redis)
    recorder.connect()
    monkeypatch.setattr("app.services.recorder.BATCH", 2)
    for _ in range(5):
        worker.ask()
    before = runs.commit()
    stop = Waits()
    recorder.run(stop)
    # Two batches were full, and the last was not.
    assert runs.commit() == before + 3
    assert len(stop.seconds) == 1
    assert pending(redis) == 0
    recorder.celery.close()


def test_several_runs_that_share_a_batch_keep_to_themselves(
    runs: Runs, recorder: Recorder, worker: Worker, redis: Redis
) -> None:
    ids = [runs.add(), runs.add()]
    first, second = worker.train(recorder), Worker(redis, "w2").train(recorder)
    for step in range(1, 6):
        first.points(train__loss=[(step, 1.0 * step)], val__acc=[(step, 0.1)])
        second.points(train__loss=[(step, 10.0 * step)])
    second.say("result", Result(outcome="succeeded"))
    first.points(train__loss=[(6, 6.0)])
    recorder.step()
    assert curve(runs, ids[0]) == [(step, 1.0 * step) for step in range(1, 7)]
    assert curve(runs, ids[0], "val/acc") == [(step, 0.1) for step in range(1, 6)]
    assert curve(runs, ids[1]) == [(step, 10.0 * step) for step in range(1, 6)]
    assert [runs.status(run) for run in ids] == ["running", "succeeded"]
    assert [runs.get(run).row["applied"] for run in ids] == [7, 7]
    assert (first.committed, second.committed) == (7, 7)


def test_a_redis_that_was_emptied_is_noticed(runs: Runs, recorder: Recorder, redis: Redis) -> None:
    redis.flushall()
    with pytest.raises(RedisConnectionError, match="flushed"):
        recorder.step()


def test_a_recorder_goes_on_after_redis_was_emptied(
    settings: Settings, engine: Engine, runs: Runs, redis: Redis, worker: Worker
) -> None:
    run = runs.add()
    recorder = Recorder(settings, engine, redis)
    stop = threading.Event()
    thread = threading.Thread(target=recorder.run, args=(stop,))
    thread.start()
    try:
        reply = worker.ask()
        grant = until(lambda: worker.answer(reply))
        trainer = Trainer(redis, run, grant.fence)
        trainer.start()
        trainer.points(train__loss=[(1, 0.5)])
        until(lambda: trainer.committed == 2)
        redis.flushall()
        # Lost entries are resent from the spool; some of them were recorded already.
        trainer.points(train__loss=[(2, 0.4)])
        trainer.keep("metrics", packed({"train/loss": [(3, 0.3)]}))

        def sent_again() -> bool:
            trainer.send(1, 4)
            return trainer.committed == 4

        until(sent_again)
        assert curve(runs, run) == [(1, 0.5), (2, 0.4), (3, 0.3)]
    finally:
        stop.set()
        thread.join(10)
        recorder.celery.close()
    assert not thread.is_alive()


def test_a_locked_database_delays_and_loses_nothing(
    settings: Settings, engine: Engine, runs: Runs, redis: Redis, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.add()
    recorder = Recorder(settings, engine, redis)
    write = recorder._write_points
    failures = iter([True, True])

    def sometimes(*said: Any, **more: Any) -> None:
        if next(failures, False):
            raise OperationalError("INSERT", {}, Exception("database is locked"))
        write(*said, **more)

    stop = threading.Event()
    monkeypatch.setattr(recorder, "_write_points", sometimes)
    thread = threading.Thread(target=recorder.run, args=(stop,))
    thread.start()
    try:
        reply = worker.ask()
        grant = until(lambda: worker.answer(reply))
        assert next(failures, False) is False
        assert grant.run == run
        assert runs.get(run).attempt == 1
    finally:
        stop.set()
        thread.join(10)
        recorder.celery.close()
