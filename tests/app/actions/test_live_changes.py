"""Changes of a run travel from a request to its worker and back, each exactly once; the row is the truth."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from app.contract import broker
from app.contract.events import Change, Changed, Checkpoint, Grant, Log, LogLine, PendingChanges, Result
from app.services.live import Cursor
from app.services.live import changes as live_changes
from app.services.recorder import Recorder
from tests.conftest import Runs, errors_of, until
from tests.fake_worker import Trainer, Worker


def ask(client: TestClient, run: str, kind: str, value: Any = None) -> dict[str, Any]:
    answer = client.post(f"/api/v1/runs/{run}/changes", json={"kind": kind, "value": value})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def changes(client: TestClient, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/api/v1/runs/{run}/changes").json()["changes"]
    return found


def marks(client: TestClient, run: str) -> list[tuple[str, int, str]]:
    found = client.get(f"/api/v1/runs/{run}/marks").json()["marks"]
    return [(each["kind"], each["step"], each["text"]) for each in found]


def granted(worker: Worker, recorder: Recorder) -> Grant:
    """The run that a claim is given."""
    reply = worker.ask()
    recorder.step()
    grant = worker.answer(reply)
    assert grant is not None
    return grant


def asked_of(worker: Worker, recorder: Recorder, trainer: Trainer) -> list[PendingChanges]:
    """What a heartbeat is answered with."""
    worker.beat((trainer.run, trainer.fence))
    recorder.step()
    assert worker.renewal is not None
    return worker.renewal.asked


def nudges(redis: Redis) -> Any:
    subscription = redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    subscription.subscribe(broker.CONTROL)
    subscription.get_message(timeout=1)
    return subscription


def test_a_change_nudges_the_worker_comes_with_its_renewal_and_is_settled_by_the_trainer(
    client: TestClient, runs: Runs, recorder: Recorder, worker: Worker, redis: Redis
) -> None:
    run = runs.add(schedule="one_cycle")
    trainer = worker.train(recorder)
    heard = nudges(redis)
    asked = ask(client, run, "lr_factor", 0.3)
    assert (asked["state"], asked["step"], asked["via"], asked["value"]) == ("waiting", None, "API", 0.3)
    assert "the learning rate for the rest of the one cycle schedule" in asked["sentence"]
    second = ask(client, run, "epochs", 20)
    said = [json.loads(until(lambda: heard.get_message(timeout=0.1))["data"]) for _ in range(2)]
    assert [[each["id"] for each in one["asked"]["changes"]] for one in said] == [
        [asked["id"]],
        [asked["id"], second["id"]],
    ]
    # Told again with every heartbeat, as long as it waits.
    for _ in range(2):
        (told,) = asked_of(worker, recorder, trainer)
        assert told.run == run
        assert told.changes == [
            Change(id=asked["id"], kind="lr_factor", value=0.3),
            Change(id=second["id"], kind="epochs", value=20),
        ]
    done = Changed(id=asked["id"], outcome="applied", step=40, epochs=2)
    trainer.say("change", done)
    number = trainer.say("change", Changed(id=second["id"], outcome="refused", step=41, epochs=2, reason="no"))
    recorder.step()
    trainer.send(number - 1, number)  # twice changes nothing
    trainer.say("change", done.model_copy(update={"step": 90}))
    recorder.step()
    assert asked_of(worker, recorder, trainer) == []
    found = changes(client, run)
    assert [(each["state"], each["step"], each["reason"]) for each in found] == [
        ("applied", 40, ""),
        ("refused", 41, "no"),
    ]
    assert found[0]["settled"] is not None
    assert marks(client, run) == [("change", 40, "learning rate × 0.3"), ("change", 41, "20 epochs refused: no")]


def test_the_next_attempt_is_given_what_was_changed_and_what_waits(
    client: TestClient, runs: Runs, recorder: Recorder, worker: Worker
) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    first, second = ask(client, run, "lr_factor", 0.3), ask(client, run, "note", "x")
    trainer.say("change", Changed(id=first["id"], outcome="applied", step=40, epochs=2))
    trainer.say("checkpoint", Checkpoint(path="r/last", epoch=0, step=30, within=30))
    trainer.say("result", Result(outcome="interrupted", reason="its worker stopped"))
    recorder.step()
    assert runs.status(run) == "queued"
    assert granted(worker, recorder).changes == [
        Change(id=first["id"], kind="lr_factor", value=0.3, step=40, epochs=2, applied=True),
        Change(id=second["id"], kind="note", value="x"),
    ]


def test_what_waits_when_a_run_ends_is_late(client: TestClient, runs: Runs, recorder: Recorder, worker: Worker) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    ask(client, run, "checkpoint")
    trainer.say("result", Result(outcome="succeeded"))
    recorder.step()
    (late,) = changes(client, run)
    assert (late["state"], late["reason"]) == ("late", "the run ended before the change was applied")
    assert late["settled"] is not None
    assert marks(client, run) == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("succeeded", "this run has ended (succeeded) and can no longer be changed"),
        ("cancelling", "this run is being stopped"),
        ("finishing", "this run has finished training and is being tested"),
    ],
)
def test_a_run_that_trains_no_more_is_not_changed(client: TestClient, runs: Runs, status: str, words: str) -> None:
    run = runs.add()
    runs.set(run, status=status)
    answer = client.post(f"/api/v1/runs/{run}/changes", json={"kind": "lr_factor", "value": 0.5})
    assert answer.status_code == 409
    assert answer.json()["detail"].startswith(words)
    assert changes(client, run) == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("epochs", value) for value in (None, 0, 1.5, "3", True, 10**6)),
        *(("lr_factor", value) for value in (None, 0, -1, "0.3", True, 1e300)),
        *(("note", value) for value in (None, "", "  ", 3, "x" * 301)),
        ("checkpoint", 1),
        ("stop_after_epoch", "now"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named(client: TestClient, runs: Runs, kind: str, value: Any) -> None:
    run = runs.add()
    answer = client.post(f"/api/v1/runs/{run}/changes", json={"kind": kind, "value": value})
    assert set(errors_of(answer)) == {"value"}
    assert changes(client, run) == []


def test_unknown_kinds_and_runs_are_refused(client: TestClient, runs: Runs) -> None:
    run = runs.add()
    refused = client.post(f"/api/v1/runs/{run}/changes", json={"kind": "faster", "value": 2})
    assert "lr_factor" in errors_of(refused)["kind"]
    for path in ("changes", "marks"):
        assert client.get(f"/api/v1/runs/nothing/{path}").status_code == 404
    assert client.post("/api/v1/runs/nothing/changes", json={"kind": "checkpoint"}).status_code == 404


def test_more_than_a_pipe_holds_cannot_wait(client: TestClient, runs: Runs) -> None:
    run = runs.add()
    for _ in range(20):
        ask(client, run, "note", "🛰" * 300)
    answer = client.post(f"/api/v1/runs/{run}/changes", json={"kind": "note", "value": "x"})
    assert answer.status_code == 409
    assert "this run already has 20 pending changes" in answer.json()["detail"]
    sent = [
        Change(id=each["id"], kind="note", value=each["value"]).model_dump_json().encode()
        for each in changes(client, run)
    ]
    assert sum(len(each) + 4 for each in sent) < 65_536


def test_what_happens_to_a_run_is_marked_and_what_is_made_anew_is_marked_anew(
    client: TestClient, runs: Runs, recorder: Recorder, worker: Worker
) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    trainer.say("checkpoint", Checkpoint(path="a", epoch=1, step=10, best=True))
    trainer.say("checkpoint", Checkpoint(path="b", epoch=1, step=10, kept=True))
    trainer.say("checkpoint", Checkpoint(path="c", epoch=1, step=10))
    trainer.say("checkpoint", Checkpoint(path="d", epoch=2, step=20, best=True))
    trainer.say("checkpoint", Checkpoint(path="e", epoch=2, step=25, within=5, kept=True))
    warning = LogLine(time=5.0, level="warning", text="a slow disk\nand more")
    trainer.say("log", Log(lines=[warning, warning, LogLine(time=6.0, level="info", text="fine")]))
    recorder.step()
    assert marks(client, run) == [
        ("warning", 0, "a slow disk"),
        ("checkpoint", 10, "checkpoint after epoch 1"),
        ("best", 20, "best so far, epoch 2"),
        ("checkpoint", 25, "checkpoint in epoch 3"),
    ]
    trainer.say("result", Result(outcome="interrupted", reason="its worker stopped"))
    recorder.step()
    grant = granted(worker, recorder)
    Trainer(worker.redis, grant.run, grant.fence).start(step=12)
    recorder.step()
    assert marks(client, run) == [
        ("warning", 0, "a slow disk"),
        ("checkpoint", 10, "checkpoint after epoch 1"),
        ("restart", 12, "attempt 2 resumed from step 12"),
    ]


def test_a_stop_is_a_change_at_the_step_at_which_it_was_saved(
    client: TestClient, runs: Runs, recorder: Recorder, worker: Worker
) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    client.post(f"/api/v1/runs/{run}/cancel")
    trainer.say("checkpoint", Checkpoint(path="c", epoch=1, step=17))
    trainer.say("result", Result(outcome="cancelled", reason="stopped at step 17 of 20"))
    recorder.step()
    (stop,) = changes(client, run)
    assert (stop["kind"], stop["state"], stop["step"]) == ("stop", "applied", 17)
    assert marks(client, run) == [("change", 17, "stopped")]


def test_marks_are_told_by_the_live_stream_once_each(
    client: TestClient, runs: Runs, recorder: Recorder, worker: Worker
) -> None:
    run = runs.add()
    trainer = worker.train(recorder)
    made = ask(client, run, "note", "here")
    trainer.say("change", Changed(id=made["id"], outcome="applied", step=3, epochs=2))
    recorder.step()
    before = Cursor.at(0)
    found = live_changes(runs.engine, run, [before], lambda record: {})
    said = found.frames[before].decode()
    (told,) = [json.loads(line[6:]) for line in said.split("event: mark\n")[1].splitlines() if line[:5] == "data:"][:1]
    assert [(each["kind"], each["step"], each["text"]) for each in told] == [("note", 3, "here")]
    after = Cursor.at(found.commit)
    assert b"mark" not in live_changes(runs.engine, run, [after], lambda record: {}).frames[after]


def test_a_run_that_others_go_on_from_is_marked_there(client: TestClient, runs: Runs) -> None:
    run, fork = runs.add(), runs.add()
    runs.set(fork, parent=run, relation="fork", parent_step=30)
    assert marks(client, run) == [("fork", 30, "#2 was forked here")]
    assert marks(client, fork) == [("fork", 30, "forked from #1 here")]


# The page ------------------------------------------------------------------------------------------------------------


def test_a_form_changes_a_run_and_goes_back_to_its_page(client: TestClient, runs: Runs) -> None:
    run = runs.add()
    answer = client.post(f"/runs/{run}/changes", data={"kind": "epochs", "value": "7"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/runs/{run}#control")
    (found,) = changes(client, run)
    assert (found["kind"], found["value"], found["via"]) == ("epochs", 7, "page")
    wrong = client.post(f"/runs/{run}/changes", data={"kind": "lr_factor", "value": "fast"})
    assert wrong.status_code == 422
    assert "The factor must be a number" in wrong.text


def test_with_a_script_the_answer_is_the_list_and_a_refusal_stands_in_it(client: TestClient, runs: Runs) -> None:
    run = runs.add()
    script = {"hx-request": "true"}
    answer = client.post(f"/runs/{run}/changes", data={"kind": "note", "value": "<b>here</b>"}, headers=script)
    assert answer.status_code == 200
    assert "&lt;b&gt;here&lt;/b&gt;" in answer.text
    assert 'data-state="waiting"' in answer.text
    wrong = client.post(f"/runs/{run}/changes", data={"kind": "note", "value": " "}, headers=script)
    assert (wrong.status_code, 'role="alert"' in wrong.text) == (200, True)
    assert 'id="control-after"' in client.get(f"/runs/{run}/control", headers=script).text
    runs.finish(run)
    assert "form" not in client.get(f"/runs/{run}/control", headers=script).text
    assert "late" in client.get(f"/runs/{run}/changes", headers=script).text
    for path in ("changes", "control"):
        there = client.get(f"/runs/{run}/{path}", follow_redirects=False)
        assert there.headers["location"] == f"/runs/{run}#control"
