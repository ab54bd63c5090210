"""A run that asked for its robustness at its launch has it measured once after it has succeeded."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from redis import Redis
from sqlalchemy import Engine

from app.contract import broker
from app.contract.events import Checkpoint, Result
from app.services.recorder import Recorder
from app.store.database import reading, writing
from app.store.model_job import JobRecord, end_job, jobs_of
from tests.conftest import Runs, until
from tests.fake_worker import Trainer, Worker


def jobs(engine: Engine, run: str) -> list[JobRecord]:
    with reading(engine) as connection:
        return jobs_of(connection, run)


def trained(worker: Worker, recorder: Recorder) -> Trainer:
    trainer = worker.train(recorder)
    trainer.say("checkpoint", Checkpoint(path=f"{trainer.run}/1/best", epoch=1, step=2, best=True))
    return trainer


def test_the_job_is_queued_in_the_commit_that_ends_the_run_and_the_server_is_told(
    runs: Runs, recorder: Recorder, worker: Worker, redis: Redis, engine: Engine
) -> None:
    run = runs.add(robustness=True)
    trainer = trained(worker, recorder)
    recorder.step()
    assert jobs(engine, run) == []
    with cast(Any, redis).pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(broker.COMMITS)
        until(lambda: redis.pubsub_numsub(broker.COMMITS)[0][1], what="subscribed")
        trainer.say("result", Result(outcome="succeeded"))
        recorder.step()
        notice = until(lambda: subscription.get_message(timeout=0.1))
    assert json.loads(notice["data"])["runs"] == {run: ["job", "status"]}
    (job,) = jobs(engine, run)
    assert (job.kind, job.options, job.status) == ("robustness", {"seed": 0}, "queued")


def test_an_end_that_is_told_again_queues_nothing_more(
    runs: Runs, recorder: Recorder, worker: Worker, engine: Engine
) -> None:
    run = runs.add(robustness=True)
    trainer = trained(worker, recorder)
    trainer.say("result", Result(outcome="succeeded"))
    recorder.step()
    with writing(engine) as connection:
        assert end_job(connection, jobs_of(connection, run)[0].id, "cancelled", 1.0)
    trainer.say("result", Result(outcome="succeeded"))
    recorder.step()
    assert [job.status for job in jobs(engine, run)] == ["cancelled"]


@pytest.mark.parametrize("outcome", ["failed", "cancelled", "interrupted"])
def test_a_run_that_has_not_succeeded_queues_nothing(
    runs: Runs, recorder: Recorder, worker: Worker, engine: Engine, outcome: Any
) -> None:
    run = runs.add(robustness=True)
    trained(worker, recorder).say("result", Result(outcome=outcome, reason="it rained"))
    recorder.step()
    assert runs.status(run) != "running"
    assert jobs(engine, run) == []


def test_a_run_that_did_not_ask_for_it_queues_nothing(
    runs: Runs, recorder: Recorder, worker: Worker, engine: Engine
) -> None:
    run = runs.add()
    trained(worker, recorder).say("result", Result(outcome="succeeded"))
    recorder.step()
    assert runs.status(run) == "succeeded"
    assert jobs(engine, run) == []
