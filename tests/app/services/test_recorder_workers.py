"""Claims are granted, and heartbeats renew leases and learn which runs to stop or drop."""

from __future__ import annotations

from typing import Any, cast

from redis import Redis

from _runyard import __version__
from app.contract import broker
from app.contract.command_key import ensure_key, key_id
from app.contract.protocol import PROTOCOL
from app.services.recorder import Recorder
from app.store.database import reading
from app.store.worker import list_workers
from tests.app.services.recording import tick
from tests.command_runs import command_run
from tests.conftest import Clock, Runs
from tests.fake_worker import Worker


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
    # Redis accepts only increasing ids, so the stream is recreated.
    redis.delete(broker.EVENTS)
    redis.xgroup_create(broker.EVENTS, broker.GROUP, id="0", mkstream=True)
    seconds, _ = cast(Any, redis.time())
    worker.beat((run, 1), entry_id=f"{(seconds - 30) * 1000}-0")
    clock.now += 5
    recorder.step()
    assert worker.renewal is None
    assert runs.get(run).row["lease_until"] == lease


def test_a_worker_with_another_protocol_gets_no_run_and_is_told_the_servers(
    runs: Runs, recorder: Recorder, worker: Worker, clock: Clock
) -> None:
    run = runs.add()
    worker.protocol = PROTOCOL + 1
    worker.beat()
    reply = worker.ask()
    recorder.step()
    grant, renewal = worker.answer(reply), worker.renewal
    assert grant is not None
    assert renewal is not None
    assert grant.run == ""
    assert (renewal.protocol, renewal.version) == (PROTOCOL, __version__)
    assert runs.status(run) == "queued"
    with reading(runs.engine) as connection:
        (found,) = list_workers(connection, clock.now, 10)
    assert (found.compatible, found.free_slots, found.takes("auto", "")) == (False, 0, False)
    assert f"install version {__version__} for the server" not in found.refusal
    assert "so it gets no runs" in found.refusal
    worker.protocol = PROTOCOL
    reply = worker.ask()
    recorder.step()
    grant = worker.answer(reply)
    assert grant is not None
    assert grant.run == run


def test_a_command_waits_for_a_worker_with_the_servers_key(
    runs: Runs, recorder: Recorder, worker: Worker, clock: Clock
) -> None:
    folder = recorder.settings.data_dir
    # A command that was launched first does not keep others from a worker that may not start it.
    command, trained = command_run(runs.engine, "queued"), runs.add()
    worker.command_key = ""
    reply = worker.ask()
    recorder.step()
    grant = worker.answer(reply)
    assert grant is not None
    assert grant.run == trained
    for key in ("", "another"):
        worker.command_key = key
        worker.beat()
        reply = worker.ask()
        recorder.step()
        grant = worker.answer(reply)
        assert grant is not None
        assert grant.run == ""
    ensure_key(folder)
    with reading(runs.engine) as connection:
        (found,) = list_workers(connection, clock.now, 10)
    assert (found.takes("auto", ""), found.takes("auto", "", executes=True)) == (True, False)
    worker.command_key = key_id(folder)
    worker.beat()
    reply = worker.ask()
    recorder.step()
    grant = worker.answer(reply)
    assert grant is not None
    assert (grant.run, grant.architectures) == (command, None)
    with reading(runs.engine) as connection:
        (found,) = list_workers(connection, clock.now, 10)
    assert found.takes("auto", "", executes=True)
