"""What goes on, goes on to the last bit: killed in mid-epoch, resumed, extended, forked; with real processes."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import psutil
import safetensors.torch
import torch

SPEC: dict[str, Any] = {
    "family": "simple_cnn",
    "size": "tiny",
    "dataset": "digits",
    "batch_size": 4,
    "epochs": 6,
    "optimizer": "adamw",
    "schedule": "cosine",
    "crop_padding": 2,
    "flip": True,
    "seed": 5,
}
PER_EPOCH = 314


def files(yard: Any, run: str) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of the last and of the best checkpoint of a run, and its predictions.

    The predictions that were in no file when a checkpoint was saved depend on the time; all of them are in the file of
    the end.
    """
    folder = Path(yard.folder) / "data" / "artifacts" / run
    newest = max((each for each in folder.iterdir() if each.is_dir()), key=lambda each: int(each.name))
    last = max(newest.glob("last-*.safetensors"), key=lambda path: int(path.stem.split("-")[1]))
    best = max(folder.glob("*/best.safetensors"), key=lambda path: int(path.parent.name))
    paths = {"last": last, "best": best, "predictions": newest / "predictions.safetensors"}
    found = {name: safetensors.torch.load(path.read_bytes()) for name, path in paths.items()}
    found["last"] = {key: value for key, value in found["last"].items() if not key.startswith("history/")}
    return found


def assert_same_files(yard: Any, run: str, other: str) -> None:
    mine, theirs = files(yard, run), files(yard, other)
    for name, kind in (("last", "network/"), ("best", "network/"), ("predictions", "history/")):
        assert mine[name].keys() == theirs[name].keys()
        assert any(key.startswith(kind) for key in mine[name])
        different = [key for key, value in mine[name].items() if not torch.equal(value, theirs[name][key])]
        assert different == [], name


def curves(yard: Any, run: str) -> dict[str, Any]:
    """Steps and values of every curve that does not measure the machine; the rate is sampled by time."""
    found = yard.call(f"/runs/{run}/metrics?points=0")
    return {
        name: (curve["step"], curve["value"])
        for name, curve in found.items()
        if not name.startswith("system/") and name != "train/lr"
    }


def until_it_trains(yard: Any, run: str, attempt: int, step: int) -> None:
    """Until this attempt has reported a step of its own, and the run so many in all."""
    began: list[int] = []

    def trains() -> bool:
        found = yard.try_call(f"/runs/{run}")
        assert found is None or found["status"] not in ("failed", "succeeded"), found["reason"]
        if not found or found["attempt"] != attempt or found["status"] != "running":
            return False
        curves = yard.call(f"/runs/{run}/metrics?points=2")
        made: int = curves["train/loss"]["step"][-1] if "train/loss" in curves else 0
        began.append(made)
        return made > began[0] and made >= step

    yard.until(trains, 120)


def test_a_run_that_is_killed_at_random_moments_ends_with_the_weights_and_curves_of_an_undisturbed_one(
    own_yard: Any,
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"moments of seed {seed}")
    moments = random.Random(seed)
    yard = own_yard(RUNYARD_CHECKPOINT_SECONDS="0.05", RUNYARD_HEARTBEAT_SECONDS="0.3", RUNYARD_LEASE_SECONDS="10")
    yard.wait_for_worker()
    # Long enough to be still training when a busy machine strikes seconds late.
    run = yard.launch(**SPEC | {"epochs": 20})
    # Reports are committed in their order: with a later step, that of the first checkpoint is.
    yard.until(lambda: list((Path(yard.folder) / "data" / "artifacts" / run / "1").glob("last-*.safetensors")))
    yard.wait_for_step(run, yard.call(f"/runs/{run}")["progress"].get("step", 0) + 50)
    # Five kills of the trainer, and between them one of the worker with all that is its.
    plan = sorted(moments.randrange(100, 850) for _ in range(5))
    worker_after = moments.randrange(1, 5)
    kills = 0
    for number, step in enumerate(plan):
        if number == worker_after:
            until_it_trains(yard, run, kills + 1, 1)
            psutil.Process(yard.wait_for_worker()["pid"]).kill()
            kills += 1
        until_it_trains(yard, run, kills + 1, step)
        victim = yard.trainer()
        victim.send_signal(signal.SIGKILL)
        kills += 1
    found = yard.wait_for(run, "succeeded")
    assert found["attempt"] == kills + 1 == 7
    said = [line["text"] for line in yard.call(f"/runs/{run}/logs?tail=1000")["lines"]]
    went_on = [int(text.split()[3].replace(",", "")) for text in said if text.startswith("resuming from step")]
    assert len(went_on) == kills, "some attempt began anew, or a fault did not strike"
    assert any(step % PER_EPOCH for step in went_on), "no fault struck in mid-epoch"

    again = yard.call(f"/runs/{run}/verify", {})
    assert (again["relation"], again["parent"]) == ("verify", run)
    assert yard.call(f"/runs/{run}/verify")["state"] == "waiting"
    yard.wait_for(again["id"], "succeeded")
    assert yard.call(f"/runs/{again['id']}")["attempt"] == 1
    assert curves(yard, run) == curves(yard, again["id"])
    assert_same_files(yard, run, again["id"])
    for each in (run, again["id"]):
        told = yard.call(f"/runs/{each}/verify")
        assert told["state"] == "identical", told


def test_a_stopped_run_is_resumed_and_a_finished_one_extended_and_forked_to_the_last_bit(yard: Any) -> None:
    spec = SPEC | {"batch_size": 32, "epochs": 6, "schedule": "plateau", "plateau_patience": 0}
    whole = yard.launch(**spec)
    short = yard.launch(**spec | {"epochs": 4})
    yard.wait_for(whole, "succeeded")
    yard.wait_for(short, "succeeded")

    extended = yard.call(f"/runs/{short}/resume", {"epochs": 6})
    assert (extended["relation"], extended["parent_step"], extended["spec"]["epochs"]) == ("extend", 4 * 39, 6)
    forked = yard.call(f"/runs/{whole}/fork", {"epoch": 3, "changes": {"name": "the same once more"}})
    changed = yard.call(f"/runs/{whole}/fork", {"epoch": 2, "changes": {"lr": 0.0005, "batch_size": 64, "seed": 9}})
    for run in (extended["id"], forked["id"]):
        yard.wait_for(run, "succeeded")
        assert curves(yard, run) == curves(yard, whole)
        assert_same_files(yard, run, whole)
    found = yard.wait_for(changed["id"], "succeeded")
    assert found["progress"]["steps"] == 2 * 39 + 4 * 19
    steps, losses = curves(yard, changed["id"])["train/loss"]
    assert steps == list(range(1, 2 * 39 + 4 * 19 + 1))
    first = curves(yard, whole)["train/loss"][1]
    assert losses[: 2 * 39] == first[: 2 * 39]
    assert losses[2 * 39] != first[2 * 39]

    family = yard.call(f"/runs/{whole}/lineage")["runs"]
    assert [(each["id"], each["relation"], each["parent_step"]) for each in family] == [
        (whole, "", None),
        (forked["id"], "fork", 3 * 39),
        (changed["id"], "fork", 2 * 39),
    ]


def test_a_run_that_was_stopped_goes_on_in_a_new_run_as_if_it_had_not_been(yard: Any) -> None:
    spec = SPEC | {"epochs": 5, "seed": 6}
    run = yard.launch(**spec)
    yard.wait_for_step(run, PER_EPOCH + 20)
    yard.call(f"/runs/{run}/cancel", {})
    stopped = yard.wait_for(run, "cancelled", seconds=10)
    assert 0 < stopped["progress"]["step"] < 5 * PER_EPOCH, "it was over before it was stopped"
    resumed = yard.call(f"/runs/{run}/resume", {})
    assert resumed["relation"] == "resume"
    assert resumed["parent_step"] > PER_EPOCH
    # What it begins from is its own: the parent's checkpoints may go.
    for file in (Path(yard.folder) / "data" / "artifacts" / run).rglob("*.safetensors"):
        file.unlink()
    whole = yard.launch(**spec)
    yard.wait_for(resumed["id"], "succeeded")
    yard.wait_for(whole, "succeeded")
    assert curves(yard, resumed["id"]) == curves(yard, whole)
    assert_same_files(yard, resumed["id"], whole)
