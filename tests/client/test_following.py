"""Following runs with the Python client: points, logs, waiting, interrupted connections."""

from __future__ import annotations

import json
import math

import pytest
from redis import Redis

import runyard
from app.contract.events import Log
from app.contract.events import LogLine as SentLine
from app.services import pubsub
from app.services.recorder import Recorder
from runyard import Run, Runyard, RunyardError
from tests.client.conftest import end, follow, send
from tests.conftest import Runs
from tests.fake_worker import Trainer
from tests.served import breaking, hang_up, odd_server, say


def test_points_are_told_as_they_come_until_the_run_has_ended(
    yard: Runyard, trainer: Trainer, recorder: Recorder, runs: Runs, redis: Redis
) -> None:
    send(trainer, recorder, redis, train__loss=[(1, 2.0), (2, 1.5)])
    run = yard.run(trainer.run)
    received, thread = follow(run.metrics)
    assert [received.get(timeout=10)[:3] for _ in range(2)] == [("train/loss", 1, 2.0), ("train/loss", 2, 1.5)]
    send(trainer, recorder, redis, train__loss=[(3, math.nan)], val__acc=[(2, 0.5)])
    found = {received.get(timeout=10) for _ in range(2)}
    assert {(each.metric, each.step) for each in found} == {("train/loss", 3), ("val/acc", 2)}
    assert math.isnan(next(each.value for each in found if each.metric == "train/loss"))
    assert thread.is_alive()
    end(trainer.run, runs, redis)
    thread.join(10)
    assert not thread.is_alive()
    assert received.empty()
    assert [point.metric for point in run.metrics(["val/acc"])] == ["val/acc"]


@pytest.mark.parametrize("cuts", [(1,), (350, 500, 900), (700, 701, 702, 2000)])
def test_a_stream_that_breaks_anywhere_goes_on_without_a_gap_and_without_a_double(
    url: str, trainer: Trainer, recorder: Recorder, runs: Runs, redis: Redis, cuts: tuple[int, ...]
) -> None:
    expected = []
    with breaking(url, *cuts) as (way, passed), Runyard(way) as yard:
        # Created without a request, so that the stream is the first connection.
        run = Run(yard, {"id": trainer.run})
        received, thread = follow(run.metrics)
        for first in range(1, 41, 4):
            send(trainer, recorder, redis, train__loss=[(step, step / 8) for step in range(first, first + 4)])
            expected += [("train/loss", step, step / 8) for step in range(first, first + 4)]
            found = [received.get(timeout=10)[:3] for _ in range(4)]
            assert found == expected[-4:]
        end(trainer.run, runs, redis)
        thread.join(10)
        assert not thread.is_alive()
        assert received.empty()
        # The fault has happened: a stream was cut, and another one continued it.
        assert len(passed) > len(cuts)
        assert all(sent == cut for sent, cut in zip(passed, cuts, strict=False))


def test_when_curves_are_to_be_read_anew_no_point_comes_twice_and_none_is_left_out(
    yard: Runyard, trainer: Trainer, recorder: Recorder, runs: Runs, redis: Redis
) -> None:
    send(trainer, recorder, redis, train__loss=[(1, 1.0), (2, 2.0)])
    received, thread = follow(yard.run(trainer.run).metrics)
    assert [received.get(timeout=10).step for _ in range(2)] == [1, 2]
    trainer.points(train__loss=[(3, 3.0)])
    recorder.step()
    assert received.get(timeout=10).step == 3
    runs.set(trainer.run, reset_commit=runs.commit() + 1)
    send(trainer, recorder, redis, train__loss=[(4, 4.0), (5, 5.0)])
    assert [received.get(timeout=10).step for _ in range(2)] == [4, 5]
    end(trainer.run, runs, redis)
    thread.join(10)
    assert received.empty()


def test_points_of_a_script_come_in_any_order_and_once(yard: Runyard) -> None:
    head = {"key": "0123456789", "experiment": "old", "name": "one", "started": 1.0, "ended": 9.0}
    steps = [5, -3, 5, 2**63 - 1]
    curve = {"step": steps, "value": [1.0, 2.0, 3.0, "NaN"], "time": [1.0, 2.0, 3.0, 4.0]}
    imported = yard.run(yard.import_run(curves={"loss": curve}, **head)["id"])
    found = [(point.step, point.value) for point in imported.metrics()]
    assert found[:3] == [(5, 1.0), (-3, 2.0), (5, 3.0)]
    assert found[3][0] == 2**63 - 1
    assert math.isnan(found[3][1])
    unseen = runyard._Unseen(any_order=True)
    first = {"loss": {"step": [5], "value": [1.0], "time": [1.0]}}
    again = {"loss": {"step": [-3, 5], "value": [2.0, 1.0], "time": [2.0, 1.0]}}
    assert [point.step for curves in (first, again) for point in unseen.points(curves)] == [5, -3]


def test_who_waits_gets_the_run_when_it_has_ended(yard: Runyard, runs: Runs, redis: Redis) -> None:
    run = yard.launch(family="vit")
    received, thread = follow(lambda: iter([run.wait()]))
    with pytest.raises(TimeoutError, match=rf"^run {run.id} has not ended within 0\.2 s$"):
        yard.run(run.id).wait(timeout=0.2)
    assert thread.is_alive()
    end(run.id, runs, redis, "failed")
    assert received.get(timeout=10) is run
    assert (run.status, run.ended) == ("failed", True)
    assert yard.run(run.id).wait(timeout=5).status == "failed"


def test_who_waits_for_a_run_that_is_deleted_is_told(yard: Runyard, runs: Runs) -> None:
    run = yard.launch(family="vit").cancel()
    assert run.status == "cancelled"
    run.delete()
    with pytest.raises(RunyardError, match="no run '") as refusal:
        run.wait()
    assert refusal.value.status == 404
    assert run.restore().wait().status == "cancelled"


def test_a_server_that_stays_away_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runyard, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(runyard, "PAUSE_SECONDS", 0.01)
    with odd_server() as (address, answers, heard), Runyard(address) as yard:
        answers += [hang_up] * 500
        run = Run(yard, {"id": "r_1"})
        with pytest.raises(RunyardError, match="cannot connect to a Runyard server"):
            run.wait()
        assert len(heard) > 2


def test_a_server_that_begins_to_serve_again_is_waited_for_and_one_that_refuses_is_not() -> None:
    with odd_server() as (address, answers, heard), Runyard(address) as yard:
        run = Run(yard, {"id": "r_1"})
        problem = json.dumps({"detail": "not yet"}).encode()
        answers += [
            say(problem, 503),
            say(b"event: end\nid: 4\ndata: {}\n\n"),
            say(b'{"id": "r_1", "status": "failed"}'),
        ]
        assert run.wait().status == "failed"
        answers += [say(json.dumps({"detail": "no"}).encode(), 403)]
        with pytest.raises(RunyardError, match=r"^no$"):
            run.wait()
        assert answers == []
        assert len(heard) == 4


def test_the_log_is_told_and_followed_line_by_line(
    yard: Runyard, trainer: Trainer, recorder: Recorder, runs: Runs, redis: Redis
) -> None:
    def write(*texts: str) -> None:
        trainer.say("log", Log(lines=[SentLine(time=1.0, level="info", text=each) for each in texts]))
        recorder.step()

    write("one", "two")
    run = yard.run(trainer.run)
    assert [line.text for line in run.logs()] == ["one", "two"]
    assert [line.text for line in run.logs(tail=1)] == ["two"]
    received, thread = follow(lambda: run.logs(follow=True))
    assert [received.get(timeout=10).text for _ in range(2)] == ["one", "two"]
    write("three")
    assert received.get(timeout=10)[1:] == (1.0, "info", "three", 1)
    end(trainer.run, runs, redis)
    thread.join(10)
    assert not thread.is_alive()
    assert received.empty()


def test_changes_are_told_until_nobody_listens(yard: Runyard, runs: Runs, redis: Redis) -> None:
    changes = yard.changes(timeout=30)
    next(changes)
    run = runs.add()
    pubsub.announce(redis, runs.commit(), run, "status")
    next(changes)
    with pytest.raises(TimeoutError, match="no change within"):
        list(yard.changes(timeout=0.2))
