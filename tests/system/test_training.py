"""Runs that are launched over HTTP and trained for real."""

from __future__ import annotations

import time
from typing import Any

import pytest

FAMILIES = ["simple_dense_net", "simple_mlp", "simple_cnn", "convnext_v2", "vit", "efficientnet"]


def test_an_idle_worker_makes_the_first_step_within_two_seconds_of_the_launch(yard: Any) -> None:
    yard.wait_for(yard.launch(family="simple_mlp", epochs=1), "succeeded")  # digits are prepared once

    def seconds_to_first_step() -> float:
        began = time.time()
        run = yard.launch(family="simple_cnn", size="base", epochs=1)
        yard.wait_for(run, "succeeded")
        return float(yard.call(f"/runs/{run}/metrics?points=0&names=train/loss")["train/loss"]["time"][0]) - began

    # Other tests share the cores: they make it slower, never quicker.
    assert any(seconds_to_first_step() < 2.0 for _ in range(5))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_at_its_default_size(yard: Any, family: str) -> None:
    run = yard.launch(family=family, epochs=1)
    counted = yard.call(f"/runs/{run}")["params"]
    found = yard.wait_for(run, "succeeded")
    # What the catalog said before the start is what the trainer built.
    assert found["params"] == counted > 0
    assert found["summary"]["test/acc"]["points"] == 1
    curves = yard.call(f"/runs/{run}/metrics?points=0")
    assert curves["train/loss"]["step"] == list(range(1, found["progress"]["steps"] + 1))


def test_a_run_is_stopped_within_three_seconds_in_mid_epoch_and_keeps_its_points(yard: Any) -> None:
    def seconds_to_stop() -> float:
        run = yard.launch(family="vit", size="small", epochs=500)
        yard.wait_for_step(run, 3)
        began = time.monotonic()
        assert yard.call(f"/runs/{run}/cancel", {})["status"] == "cancelling"
        yard.wait_for(run, "cancelled")
        spent = time.monotonic() - began
        steps = yard.call(f"/runs/{run}/metrics?points=0&names=train/loss")["train/loss"]["step"]
        assert len(steps) >= 3
        assert steps == list(range(1, len(steps) + 1))
        return spent

    assert any(seconds_to_stop() < 3.0 for _ in range(3))


def test_a_dataset_that_cannot_be_fetched_fails_the_run_with_one_sentence(yard: Any) -> None:
    run = yard.launch(family="simple_mlp", dataset="mnist", epochs=1)
    found = yard.wait_for(run, "failed", seconds=90)
    assert "could not download mnist" in found["reason"]
    assert "\n" not in found["reason"]
    said = [line["text"] for line in yard.call(f"/runs/{run}/logs")["lines"]]
    assert found["reason"] in said


def test_two_identical_cpu_runs_have_the_same_curves_to_the_last_bit(yard: Any) -> None:
    runs = [yard.launch(family="simple_mlp", size="tiny", epochs=3, seed=7) for _ in range(2)]
    runs.append(yard.launch(family="simple_mlp", size="tiny", epochs=3, seed=8))
    for run in runs:
        yard.wait_for(run, "succeeded")
    first, second, other = (yard.call(f"/runs/{run}/metrics?points=0") for run in runs)
    for name in ("train/loss", "train/acc", "val/loss", "val/acc", "test/loss", "test/acc"):
        assert first[name]["value"] == second[name]["value"], name
    assert first["train/loss"]["value"] != other["train/loss"]["value"]
