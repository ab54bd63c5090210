"""What workers report is recorded exactly once, whatever is lost, doubled or broken on the way."""

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
    Checkpoint,
    Ended,
    Finishing,
    Goodbye,
    Log,
    LogLine,
    Progress,
    Result,
    Started,
    pack_points,
)
from app.contract.settings import Settings
from app.services.recorder import Recorder
from app.store import lineage
from app.store.database import reading
from app.store.log import read_lines
from app.store.metric import read_curves
from app.store.worker import list_workers
from tests.conftest import Clock, Runs, Trainer, Worker, packed, until

PROGRESS = Progress(epoch=1, epochs=2, step=10, steps=20, samples_per_second=100.0, eta_seconds=1.0)


def log(*texts: str) -> Log:
    return Log(lines=[LogLine(time=1.0, level="info", text=said) for said in texts])


def curve(runs: Runs, run: str, name: str = "train/loss") -> list[tuple[int, float]]:
    with reading(runs.engine) as connection:
        found = read_curves(connection, run, [name], 0)
    return list(zip(found[name].steps.tolist(), found[name].values.tolist(), strict=True)) if found else []


def lines(runs: Runs, run: str) -> list[str]:
    with reading(runs.engine) as connection:
        return [line["text"] for line in read_lines(connection, run)]


def dead(redis: Redis) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in cast(Any, redis.xrange(broker.DEAD))]


def pending(redis: Redis) -> int:
    """Entries that are in the stream, acknowledged or not."""
    return redis.xlen(broker.EVENTS)


def tick(recorder: Recorder, clock: Clock, seconds: float = 1.0) -> None:
    """Let time pass and the recorder look after leases and the queue."""
    clock.now += seconds
    recorder.step()


# What a trainer says -------------------------------------------------------------------------------------------------


def test_a_run_is_recorded_from_its_claim_to_its_end(runs: Runs, recorder: Recorder, worker: Worker) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    assert runs.status(run) == "running"
    assert runs.get(run).environment == {"python": "3.11"}
    trainer.points(train__loss=[(1, 0.5), (2, 0.4)], val__acc=[(2, 0.9)])
    trainer.say("log", log("epoch 1"))
    trainer.say("progress", PROGRESS)
    trainer.say("checkpoint", Checkpoint(path="r/last", epoch=1, step=2))
    trainer.say("checkpoint", Checkpoint(path="r/best", epoch=1, step=2, best=True))
    trainer.say("finishing", Finishing())
    recorder.step()
    assert runs.status(run) == "finishing"
    last = trainer.say("result", Result(outcome="succeeded"))
    recorder.step()
    found = runs.get(run)
    assert found.status == "succeeded"
    assert curve(runs, run) == [(1, 0.5), (2, 0.4)]
    assert curve(runs, run, "val/acc") == [(2, 0.9)]
    assert lines(runs, run) == ["epoch 1"]
    assert found.progress["step"] == 10
    assert json.loads(found.row["checkpoint"])["path"] == "r/last"
    assert json.loads(found.row["best_checkpoint"])["path"] == "r/best"
    assert trainer.committed == last
    assert pending(worker.redis) == 0


def test_points_said_before_the_result_in_one_batch_are_kept(runs: Runs, recorder: Recorder, worker: Worker) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    trainer.points(train__loss=[(1, 0.5)])
    trainer.say("result", Result(outcome="failed", reason="out of memory"))
    recorder.step()
    assert (runs.status(run), runs.get(run).reason) == ("failed", "out of memory")
    assert curve(runs, run) == [(1, 0.5)]


def test_entries_that_are_sent_again_are_recorded_once(runs: Runs, recorder: Recorder, worker: Worker) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    trainer.points(train__loss=[(1, 0.5)])
    trainer.say("log", log("once"))
    trainer.points(train__loss=[(2, 0.4)])
    recorder.step()
    trainer.send(1, 4)
    recorder.step()
    trainer.send(2, 3)
    trainer.send(3, 4)
    recorder.step()
    assert curve(runs, run) == [(1, 0.5), (2, 0.4)]
    assert lines(runs, run) == ["once"]
    assert trainer.committed == 4


def test_entries_after_a_gap_wait_until_the_gap_is_sent(runs: Runs, recorder: Recorder, worker: Worker) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    trainer.keep("metrics", packed({"train/loss": [(1, 0.5)]}))
    trainer.points(train__loss=[(2, 0.4)])
    trainer.say("result", Result(outcome="succeeded"))
    recorder.step()
    assert curve(runs, run) == []
    assert runs.status(run) == "running"
    # The trainer hears how far the recorder is, and sends again from there.
    assert trainer.committed == 1
    trainer.send(2, 4)
    recorder.step()
    assert curve(runs, run) == [(1, 0.5), (2, 0.4)]
    assert runs.status(run) == "succeeded"
    assert trainer.committed == 4


class Killed(BaseException):
    """The recorder is gone in mid-work."""


def test_a_recorder_that_dies_after_its_commit_doubles_nothing(
    settings: Settings,
    engine: Engine,
    runs: Runs,
    recorder: Recorder,
    worker: Worker,
    clock: Clock,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, waiting = runs.add(), runs.add()
    trainer = worker.train(recorder)
    trainer.points(train__loss=[(1, 0.5)])
    trainer.say("log", log("once"))
    reply = worker.ask("second", slot=1)
    before = runs.commit()

    def die(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(recorder, "_announce", die)
    with pytest.raises(Killed):
        recorder.step()
    assert runs.commit() == before + 1
    assert curve(runs, run) == [(1, 0.5)]
    assert worker.answer(reply) is None
    assert trainer.committed == 1
    assert pending(redis) == 3

    successor = Recorder(settings, engine, redis, clock)
    successor.connect()
    assert successor.step() == 3
    assert curve(runs, run) == [(1, 0.5)]
    assert lines(runs, run) == ["once"]
    assert trainer.committed == 3
    grant = worker.answer(reply)
    assert grant is not None
    assert (grant.run, grant.fence) == (waiting, 1)
    assert pending(redis) == 0
    successor.celery.close()


def test_a_recorder_that_dies_before_its_commit_loses_nothing(
    settings: Settings,
    engine: Engine,
    runs: Runs,
    recorder: Recorder,
    worker: Worker,
    clock: Clock,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    trainer.points(train__loss=[(1, 0.5)])

    def die(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(recorder, "_write_points", die)
    with pytest.raises(Killed):
        recorder.step()
    assert curve(runs, run) == []
    # What came since is new; what the other one was given comes first.
    trainer.points(train__loss=[(2, 0.4)])
    successor = Recorder(settings, engine, redis, clock)
    successor.connect()
    assert [successor.step(), successor.step()] == [1, 1]
    assert curve(runs, run) == [(1, 0.5), (2, 0.4)]
    successor.celery.close()


def test_an_interruption_that_is_told_again_keeps_the_run_in_the_queue(
    runs: Runs, recorder: Recorder, worker: Worker
) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    ended = Ended(run=run, fence=trainer.fence, outcome="interrupted", reason="did not stop in time")
    worker.send("ended", ended)
    worker.send("ended", ended)
    recorder.step()
    worker.send("ended", ended)
    recorder.step()
    assert runs.status(run) == "queued"
    assert worker.redis.hget(broker.COMMITTED, f"{run}:{trainer.fence}:ended") == b"1"


def test_a_trainer_that_died_without_a_word_is_ended_by_its_supervisor(
    runs: Runs, recorder: Recorder, worker: Worker
) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    trainer.points(train__loss=[(1, 0.5)])
    worker.send("ended", Ended(run=run, fence=trainer.fence, outcome="failed", reason="signal 9"))
    recorder.step()
    assert (runs.status(run), runs.get(run).reason) == ("failed", "signal 9")
    assert curve(runs, run) == [(1, 0.5)]


# Attempts ------------------------------------------------------------------------------------------------------------


def test_what_an_older_attempt_says_is_ignored_and_called_committed(
    runs: Runs, recorder: Recorder, worker: Worker, clock: Clock
) -> None:
    run = runs.add()
    old = worker.train(recorder)
    old.points(train__loss=[(1, 0.5)])
    tick(recorder, clock, 11)
    tick(recorder, clock, 2)
    assert runs.status(run) == "queued"
    new = worker.train(recorder)
    assert new.fence == old.fence + 1
    before = runs.get(run).row
    old.points(train__loss=[(2, 9.9)])
    old.say("checkpoint", Checkpoint(path="old", epoch=1, step=2))
    old.say("result", Result(outcome="succeeded"))
    worker.send("ended", Ended(run=run, fence=old.fence, outcome="failed", reason=""))
    recorder.step()
    assert runs.get(run).row == before
    assert curve(runs, run) == []
    assert old.committed is not None
    assert old.committed > len(old.said)
    assert new.committed == 1


def test_what_an_older_attempt_says_in_the_batch_in_which_the_run_is_granted_again_is_ignored(
    runs: Runs, recorder: Recorder, worker: Worker, clock: Clock
) -> None:
    run = runs.add()
    old = worker.train(recorder)
    tick(recorder, clock, 11)
    tick(recorder, clock, 2)
    assert runs.status(run) == "queued"
    old.points(train__loss=[(1, 1.0)])
    reply = worker.ask()
    old.points(train__loss=[(2, 2.0)])
    old.say("log", log("too late"))
    recorder.step()
    grant = worker.answer(reply)
    assert grant is not None
    assert (grant.run, grant.fence) == (run, old.fence + 1)
    assert curve(runs, run) == [(1, 1.0)]
    assert lines(runs, run) == []
    new = Trainer(worker.redis, run, grant.fence)
    new.start()
    new.points(train__loss=[(1, 10.0)])
    recorder.step()
    assert curve(runs, run) == [(1, 10.0)]


def test_an_attempt_that_goes_on_from_a_checkpoint_voids_the_points_after_it(
    runs: Runs, recorder: Recorder, worker: Worker
) -> None:
    run = runs.add()
    first = worker.train(recorder)
    first.points(train__loss=[(step, float(step)) for step in range(1, 11)])
    first.say("checkpoint", Checkpoint(path="p", epoch=0, step=6))
    first.points(train__loss=[(11, 11.0)])
    first.say("result", Result(outcome="interrupted", reason="its worker stopped"))
    recorder.step()
    reply = worker.ask()
    recorder.step()
    grant = worker.answer(reply)
    assert grant is not None
    assert grant.resume is not None
    assert (grant.attempt, grant.resume.step) == (2, 6)
    second = Trainer(worker.redis, run, grant.fence)
    second.start(6)
    second.points(train__loss=[(7, 70.0)])
    recorder.step()
    assert curve(runs, run) == [(step, float(step)) for step in range(1, 7)] + [(7, 70.0)]
    assert runs.get(run).row["reset_commit"] == runs.commit()


def test_what_an_earlier_attempt_was_tested_with_goes_when_the_next_one_starts_at_the_same_step(
    runs: Runs, recorder: Recorder, worker: Worker
) -> None:
    run = runs.add()
    first = worker.train(recorder)
    first.say("checkpoint", Checkpoint(path="p", epoch=2, step=6))
    first.points(val__acc=[(6, 0.5)], test__acc=[(6, 0.4)])
    first.say("result", Result(outcome="interrupted", reason="its worker stopped"))
    recorder.step()
    reply = worker.ask()
    recorder.step()
    grant = worker.answer(reply)
    assert grant is not None
    second = Trainer(worker.redis, run, grant.fence)
    second.start(6)
    recorder.step()
    assert curve(runs, run, "test/acc") == []
    second.points(test__acc=[(6, 0.4)])
    recorder.step()
    assert curve(runs, run, "test/acc") == [(6, 0.4)]
    assert curve(runs, run, "val/acc") == [(6, 0.5)]


def test_a_start_tells_what_trains_the_run_and_which_batch_was_found(
    runs: Runs, recorder: Recorder, worker: Worker
) -> None:
    run = runs.add(find_batch=True)
    trainer = worker.train(recorder)
    said = Started(step=0, epoch=0, params=5, environment={"torch": "2"}, capture={"command": "x"}, batch_size=640)
    trainer.say("started", said)
    trainer.say("checkpoint", Checkpoint(path="p", epoch=1, step=9))
    trainer.say("checkpoint", Checkpoint(path="kept", epoch=1, step=9, kept=True))
    recorder.step()
    found = runs.get(run)
    assert (found.batch_size, found.config.batch_size) == (640, 640)
    assert found.environment == {"torch": "2"}
    assert Checkpoint.model_validate_json(found.checkpoint).path == "p"
    with reading(runs.engine) as connection:
        assert lineage.read_capture(connection, run) == {"command": "x"}
        assert [each.path for each in lineage.kept(connection, run)] == ["kept"]


def test_what_is_said_of_a_purged_run_is_called_committed(runs: Runs, recorder: Recorder, redis: Redis) -> None:
    stranger = Trainer(redis, "r_gone", 1)
    stranger.points(train__loss=[(1, 1.0)])
    recorder.step()
    assert stranger.committed is not None
    assert stranger.committed > 1


# Poison --------------------------------------------------------------------------------------------------------------

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


# Claims and heartbeats -----------------------------------------------------------------------------------------------


def test_a_claim_is_answered_although_there_is_nothing_to_do(runs: Runs, recorder: Recorder, worker: Worker) -> None:
    reply = worker.ask()
    recorder.step()
    assert 0 < worker.redis.ttl(reply) <= broker.REPLY_SECONDS
    grant = worker.answer(reply)
    assert grant is not None
    assert grant.run == ""


def test_a_claim_that_nobody_waits_for_any_more_is_not_granted(
    runs: Runs, recorder: Recorder, worker: Worker, redis: Redis
) -> None:
    run = runs.add()
    seconds, _ = cast(Any, redis.time())
    late, fresh = worker.claim("late"), worker.claim("fresh")
    worker.send("claim", late, f"{(seconds - 11) * 1000}-0")
    recorder.step()
    assert worker.answer(late.reply) is None
    assert runs.status(run) == "queued"
    worker.send("claim", fresh, f"{(seconds - 5) * 1000}-0")
    recorder.step()
    grant = worker.answer(fresh.reply)
    assert grant is not None
    assert grant.run == run


def test_a_heartbeat_makes_a_worker_known_and_keeps_its_run(
    runs: Runs, recorder: Recorder, worker: Worker, clock: Clock
) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    for _ in range(4):
        beat = worker.beat((run, trainer.fence))
        tick(recorder, clock, 6)
        renewal = worker.renewal
        assert renewal is not None
        assert (renewal.beat, renewal.cancel, renewal.drop) == (beat, [], [])
    assert runs.status(run) == "running"
    with reading(runs.engine) as connection:
        (found,) = list_workers(connection, clock.now, 10)
    assert (found.id, found.runs) == ("w1", [run])


def test_a_heartbeat_hears_of_runs_to_stop_and_of_runs_it_no_longer_holds(
    runs: Runs, recorder: Recorder, worker: Worker
) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    runs.set(run, status="cancelling")
    worker.beat((run, trainer.fence), (run, trainer.fence + 1), ("r_none", 1))
    recorder.step()
    renewal = worker.renewal
    assert renewal is not None
    assert [(held.run, held.fence) for held in renewal.cancel] == [(run, trainer.fence)]
    assert [(held.run, held.fence) for held in renewal.drop] == [(run, trainer.fence + 1), ("r_none", 1)]


def test_a_heartbeat_of_long_ago_renews_nothing(
    runs: Runs, recorder: Recorder, worker: Worker, redis: Redis, clock: Clock
) -> None:
    run = runs.add()
    reply = worker.ask()
    recorder.step()
    assert worker.answer(reply) is not None
    lease = runs.get(run).row["lease_until"]
    # Redis takes ids in order only, so the stream begins anew.
    redis.delete(broker.EVENTS)
    redis.xgroup_create(broker.EVENTS, broker.GROUP, id="0", mkstream=True)
    seconds, _ = cast(Any, redis.time())
    worker.beat((run, 1), entry_id=f"{(seconds - 30) * 1000}-0")
    clock.now += 5
    recorder.step()
    assert worker.renewal is None
    assert runs.get(run).row["lease_until"] == lease


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


def test_a_worker_that_says_goodbye_is_gone(runs: Runs, recorder: Recorder, worker: Worker, clock: Clock) -> None:
    worker.beat()
    recorder.step()
    worker.send("goodbye", Goodbye(worker="w1"))
    recorder.step()
    with reading(runs.engine) as connection:
        assert list_workers(connection, clock.now, 10) == []


# Wake-ups ------------------------------------------------------------------------------------------------------------


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
    # What lies unread is counted.
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


# What servers are told -----------------------------------------------------------------------------------------------


def test_every_commit_is_announced_after_it_can_be_read(
    runs: Runs, recorder: Recorder, worker: Worker, redis: Redis
) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    with cast(Any, redis).pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(broker.COMMITS)
        until(lambda: redis.pubsub_numsub(broker.COMMITS)[0][1], what="subscribed")
        trainer.points(train__loss=[(1, 0.5)])
        trainer.say("progress", PROGRESS)
        trainer.say("log", log("x"))
        worker.beat((run, trainer.fence))
        recorder.step()
        notice = until(lambda: subscription.get_message(timeout=0.1))
    said = json.loads(notice["data"])
    assert said == {
        "commit": runs.commit(),
        "runs": {run: ["log", "metrics", "progress"]},
        "workers": True,
    }


# How often it commits -------------------------------------------------------------------------------------------------


class Waits(threading.Event):
    """Ends a recorder's loop at its first wait, and knows how long that would have been."""

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
    # Longer than anything takes here, so that what is left of it is known.
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


# Trouble -------------------------------------------------------------------------------------------------------------


def test_a_redis_that_was_emptied_is_noticed(runs: Runs, recorder: Recorder, redis: Redis) -> None:
    redis.flushall()
    with pytest.raises(RedisConnectionError, match="emptied"):
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
        # What Redis lost is sent again from the spool, and some of it had been recorded already.
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


def test_an_environment_that_json_has_no_words_for_does_not_reach_the_database(
    runs: Runs, recorder: Recorder, worker: Worker
) -> None:
    run = runs.add()
    reply = worker.ask()
    recorder.step()
    grant = worker.answer(reply)
    assert grant is not None
    trainer = Trainer(worker.redis, run, grant.fence)
    trainer.say("started", b'{"step":0,"epoch":0,"params":1,"environment":{"memory":NaN,"ok":1}}')
    recorder.step()
    (kept,) = runs.sql("SELECT environment FROM run")[0]
    json.loads(kept, parse_constant=lambda word: pytest.fail(f"{word} was kept"))
