"""A run is changed while a real worker trains it, and stays changed when its trainer is killed."""

from __future__ import annotations

import json
import signal
import urllib.error
from typing import Any

import pytest

from tests.system.test_resume import assert_same_files, curves, until_it_trains

SPEC: dict[str, Any] = {
    "family": "simple_mlp",
    "size": "tiny",
    "dataset": "digits",
    "batch_size": 16,
    "schedule": "cosine",
    "seed": 5,
}
PER_EPOCH = 78


def change(yard: Any, run: str, kind: str, value: Any = None) -> dict[str, Any]:
    """The answer to a change that was asked for."""
    found: dict[str, Any] = yard.call(f"/runs/{run}/changes", {"kind": kind, "value": value})
    return found


def refusal(yard: Any, run: str, kind: str, value: Any = None) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as refused:
        change(yard, run, kind, value)
    return refused.value.code, json.loads(refused.value.read())["detail"]


def applied(yard: Any, run: str, id: int) -> dict[str, Any]:
    """The change once it is applied."""

    def found() -> dict[str, Any] | None:
        listed = {each["id"]: each for each in yard.call(f"/runs/{run}/changes")["changes"]}
        assert listed[id]["state"] in ("waiting", "applied"), listed[id]
        told: dict[str, Any] | None = listed[id] if listed[id]["state"] == "applied" else None
        return told

    told: dict[str, Any] = yard.until(found, 60)
    return told


def test_a_run_is_changed_in_every_way_while_it_trains(yard: Any) -> None:
    run = yard.launch(**SPEC, epochs=5000)
    waits = change(yard, run, "note", "asked for before it trains")
    assert (waits["state"], waits["step"], waits["via"]) == ("waiting", None, "API")
    assert applied(yard, run, waits["id"])["step"] == 0
    yard.wait_for_step(run, 200)

    note = applied(yard, run, change(yard, run, "note", "  the new data  ")["id"])
    assert (note["value"], note["reason"]) == ("the new data", "")
    checkpoint = applied(yard, run, change(yard, run, "checkpoint")["id"])
    factor = change(yard, run, "lr_factor", 0.1)
    assert factor["sentence"] == "Multiplies the learning rate for the rest of the cosine schedule."
    factor = applied(yard, run, factor["id"])
    epochs = change(yard, run, "epochs", 4000)
    assert "that of a run with the new total" in epochs["sentence"]
    epochs = applied(yard, run, epochs["id"])
    assert epochs["epochs"] == 4000
    yard.until(lambda: yard.call(f"/runs/{run}")["progress"]["epochs"] == 4000)
    stop = applied(yard, run, change(yard, run, "stop_after_epoch")["id"])
    steps = [each["step"] for each in (note, checkpoint, factor, epochs, stop)]
    assert steps == sorted(steps)
    assert steps[0] > 0

    found = yard.wait_for(run, "succeeded")
    last = stop["epochs"]
    assert found["reason"] == f"stopped after epoch {last} of 4000, as requested"
    assert (found["progress"]["epoch"], found["progress"]["epochs"], found["progress"]["step"]) == (
        last,
        last,
        last * PER_EPOCH,
    )
    assert found["spec"]["epochs"] == 5000, "what was launched stays what was launched"
    assert "test/acc" in found["summary"]
    rates = yard.call(f"/runs/{run}/metrics?names=train/lr&points=0")["train/lr"]
    lr = found["spec"]["lr"]
    assert all(
        rate == pytest.approx(lr * (0.1 if step > factor["step"] else 1), rel=0.02)
        for step, rate in zip(rates["step"], rates["value"], strict=True)
    )

    marks = yard.call(f"/runs/{run}/marks")["marks"]
    said = {(each["kind"], each["step"], each["text"]) for each in marks}
    assert {
        ("note", note["step"], "the new data"),
        ("change", checkpoint["step"], "checkpoint"),
        ("change", factor["step"], "learning rate × 0.1"),
        ("change", epochs["step"], "4,000 epochs"),
        ("change", stop["step"], f"stop after epoch {last}"),
    } <= said
    assert {kind for kind, _, _ in said} >= {"best", "checkpoint"}
    assert ("checkpoint", checkpoint["step"]) in {(kind, step) for kind, step, _ in said}
    assert len([kind for kind, _, _ in said if kind == "best"]) == 1

    status, words = refusal(yard, run, "lr_factor", 0.5)
    assert (status, words) == (
        409,
        "this run has ended (succeeded) and can no longer be changed; resume, extend or fork it instead",
    )
    # A run that was stopped so can go on to what it was to have.
    resumed = yard.call(f"/runs/{run}/resume", {})
    assert (resumed["relation"], resumed["spec"]["epochs"]) == ("resume", 4000)
    yard.wait_for_step(resumed["id"], last * PER_EPOCH + 50)
    inherited = yard.call(f"/runs/{resumed['id']}/changes")["changes"]
    assert [each["inherited"] for each in inherited] == [True] * 6
    rate = yard.call(f"/runs/{resumed['id']}/metrics?names=train/lr&points=0")["train/lr"]["value"][-1]
    assert rate == pytest.approx(lr * 0.1, rel=0.02)
    late = yard.call(f"/runs/{resumed['id']}/cancel", {})
    assert late["status"] == "cancelling"
    assert refusal(yard, resumed["id"], "note", "x")[0] == 409
    yard.wait_for(resumed["id"], "cancelled")


def test_a_change_outlives_a_killed_trainer_and_is_made_at_the_same_step_again(yard: Any) -> None:
    run = yard.launch(**SPEC | {"family": "simple_cnn", "size": "base", "batch_size": 4, "flip": True, "epochs": 12})
    until_it_trains(yard, run, 1, 330)
    # In mid-epoch, far behind the only checkpoint there is, at the end of the first epoch.
    changes = [change(yard, run, "lr_factor", 0.3), change(yard, run, "epochs", 9), change(yard, run, "note", "here")]
    done = [applied(yard, run, each["id"]) for each in changes]
    victim = yard.trainer()
    victim.send_signal(signal.SIGKILL)
    until_it_trains(yard, run, 2, 1)
    more = applied(yard, run, change(yard, run, "lr_factor", 0.5)["id"])
    yard.trainer().send_signal(signal.SIGKILL)
    found = yard.wait_for(run, "succeeded")
    assert (found["attempt"], found["progress"]["step"]) == (3, 9 * 314)
    listed = yard.call(f"/runs/{run}/changes")["changes"]
    assert [(each["id"], each["step"]) for each in listed] == [(each["id"], each["step"]) for each in [*done, more]]
    said = [line["text"] for line in yard.call(f"/runs/{run}/logs?tail=1000")["lines"]]
    begun = [int(text.split()[3].replace(",", "")) for text in said if text.startswith("resuming from step")]
    assert any(step < done[0]["step"] for step in begun), "no fault struck before the change was in a checkpoint"
    assert any(text == f"learning rate multiplied by 0.3 at step {done[0]['step']:,} (reapplied)" for text in said)
    restarts = [each for each in yard.call(f"/runs/{run}/marks")["marks"] if each["kind"] == "restart"]
    assert [each["step"] for each in restarts] == begun

    # The undisturbed one, to which the same is done at the same steps.
    again = yard.call(f"/runs/{run}/verify", {})["id"]
    yard.wait_for(again, "succeeded")
    repeated = yard.call(f"/runs/{again}/changes")["changes"]
    assert [(each["kind"], each["state"], each["step"]) for each in repeated] == [
        (each["kind"], "applied", each["step"]) for each in [*done, more] if each["kind"] != "note"
    ]
    assert yard.call(f"/runs/{again}")["attempt"] == 1
    assert curves(yard, run) == curves(yard, again)
    assert_same_files(yard, run, again)
    assert yard.call(f"/runs/{run}/verify")["state"] == "identical"

    plain = yard.call(f"/runs/{run}/retry", {})["id"]
    assert yard.call(f"/runs/{plain}")["spec"]["epochs"] == 12
    assert yard.call(f"/runs/{plain}/changes")["changes"] == []
    yard.call(f"/runs/{plain}/cancel", {})
    yard.wait_for(plain, "cancelled")
