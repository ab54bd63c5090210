"""What workers report is recorded exactly once, whatever is lost or doubled on the way."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from sqlalchemy import Engine

from app.contract import broker
from app.contract.events import (
    Checkpoint,
    Ended,
    Finishing,
    Result,
    Started,
)
from app.contract.settings import Settings
from app.services.recorder import Recorder
from app.store import lineage
from app.store.database import reading
from tests.app.services.recording import PROGRESS, curve, lines, log, pending, tick
from tests.app.store.curves import STEPS
from tests.conftest import Clock, Runs, until
from tests.fake_worker import Trainer, Worker, packed

pytestmark = pytest.mark.both_databases


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


@given(batches=st.lists(st.lists(st.tuples(STEPS, st.floats(-9, 9)), min_size=1, max_size=5), min_size=1, max_size=4))
def test_any_64_bit_steps_are_recorded_as_they_were_reported(
    runs: Runs, recorder: Recorder, worker: Worker, batches: list[list[tuple[int, float]]]
) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    # Two entries in each batch of the recorder.
    for i, batch in enumerate(batches):
        trainer.points(train__loss=batch)
        if i % 2:
            recorder.step()
    trainer.say("result", Result(outcome="succeeded"))
    recorder.step()
    came = [point for batch in batches for point in batch]
    assert curve(runs, run) == sorted(came, key=lambda point: point[0])


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
    # The trainer learns the recorder's progress, and resends from there.
    assert trainer.committed == 1
    trainer.send(2, 4)
    recorder.step()
    assert curve(runs, run) == [(1, 0.5), (2, 0.4)]
    assert runs.status(run) == "succeeded"
    assert trainer.committed == 4


class Killed(BaseException):
    """The recorder died in the middle of its work."""


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
    # Entries delivered to the dead recorder come first, then new ones.
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
        assert [each.path for each in lineage.saved_checkpoints(connection, run)] == ["kept"]


def test_what_is_said_of_a_purged_run_is_called_committed(runs: Runs, recorder: Recorder, redis: Redis) -> None:
    stranger = Trainer(redis, "r_gone", 1)
    stranger.points(train__loss=[(1, 1.0)])
    recorder.step()
    assert stranger.committed is not None
    assert stranger.committed > 1


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
