"""Predicted epoch times come from the most similar successful runs and say what they are based on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.datasets import DATASETS
from app.contract.preview import Prediction
from app.store.database import reading
from app.store.epoch_time import NOTHING_YET, Network, datasets_trained, predict
from app.store.epoch_time import _regress as fitted
from tests.conftest import Runs, config

GPU = "made-up gpu"
IMAGES = DATASETS["digits"].train


def finish(runs: Runs, speed: float | None = 1000.0, device: str = GPU, outcome: str = "succeeded", **said: Any) -> str:
    """A successful run with this throughput in images per second."""
    run = runs.add(**said)
    progress = {} if speed is None else {"samples_per_second": speed}
    runs.set(run, started_at=1000.0, device=device, progress=json.dumps(progress))
    runs.finish(run, outcome, 1020.0)
    return run


def ask(runs: Runs, *devices: str, flops: dict[Network, int] | None = None, **said: Any) -> dict[str, Prediction]:
    with reading(runs.engine) as connection:
        return {each.device: each for each in predict(connection, config(**said), devices, flops)}


def test_without_a_run_there_is_no_figure(runs: Runs) -> None:
    finish(runs, outcome="failed")
    assert ask(runs) == {}
    assert ask(runs, GPU)[GPU] == Prediction(device=GPU, epoch_seconds=None, runs=0, basis=NOTHING_YET)
    runs.set(finish(runs), deleted_at=1.0)
    assert ask(runs) == {}
    with reading(runs.engine) as connection:
        assert datasets_trained(connection) == []


def test_the_same_run_again_takes_what_the_middle_one_took(runs: Runs) -> None:
    for speed in (100.0, 1000.0, 900.0):
        finish(runs, speed)
    finish(runs, 5.0, batch_size=64)
    finish(runs, 5.0, options={"pool": "mean"})
    finish(runs, 5.0, precision="bf16")
    found = ask(runs)[GPU]
    assert found.epoch_seconds == pytest.approx(IMAGES / 900)
    assert found.runs == 3
    assert found.basis == "the same network, dataset and batch size"


def test_a_run_that_told_no_speed_counts_by_its_start_and_end(runs: Runs) -> None:
    finish(runs, None, epochs=4)
    assert ask(runs)[GPU].epoch_seconds == pytest.approx(20.0 / 4)
    stopped = finish(runs, None, epochs=100, dataset="mnist")
    runs.set(stopped, progress=json.dumps({"epoch": 10}))
    assert ask(runs, dataset="mnist")[GPU].epoch_seconds == pytest.approx(20.0 / 10)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"batch_size": 256}, "a different batch size"),
        ({"dataset": "mnist"}, "a different dataset"),
        ({"options": {"a": 1}, "precision": "bf16"}, "different options or precision"),
        ({"dataset": "mnist", "batch_size": 256, "precision": "bf16"}, "a different dataset, batch size or precision"),
    ],
)
def test_a_network_trained_otherwise_is_scaled_by_its_images(runs: Runs, other: dict[str, Any], words: str) -> None:
    finish(runs, 500.0, **other)
    found = ask(runs)[GPU]
    assert found.epoch_seconds == pytest.approx(IMAGES / 500)
    assert found.runs == 1
    assert found.basis == f"the same network with {words}, scaled by the number of training images"


def test_each_device_has_its_own_pace(runs: Runs) -> None:
    finish(runs, 100.0, device="a cpu")
    for _ in range(2):
        finish(runs, 10_000.0)
    found = ask(runs, "a new one")
    assert list(found) == ["a new one", GPU, "a cpu"]
    assert found["a new one"].epoch_seconds is None
    assert found["a cpu"].epoch_seconds == pytest.approx(100 * (found[GPU].epoch_seconds or 0))


def trained(runs: Runs, *pairs: tuple[str, float]) -> None:
    for size, speed in pairs:
        finish(runs, speed, size=size)


FLOPS = {("simple_mlp", name, "digits"): 10**n for n, name in enumerate(("tiny", "small", "base", "large"), 6)}


def test_another_network_is_fitted_by_operations_and_said_to_be_rough(runs: Runs) -> None:
    trained(runs, ("tiny", 1000.0), ("small", 100.0), ("large", 1.0))
    found = ask(runs, flops=FLOPS)[GPU]
    assert found.epoch_seconds == pytest.approx(IMAGES / 10)
    assert (found.runs, found.basis) == (3, "rough estimate from other networks, scaled by FLOPs per image")
    with reading(runs.engine) as connection:
        assert datasets_trained(connection) == ["digits"]


def test_too_few_runs_or_networks_give_no_rough_figure(runs: Runs) -> None:
    nothing = "no successful run of this network on this device yet"
    trained(runs, ("tiny", 1000.0), ("small", 100.0))
    assert ask(runs, flops=FLOPS)[GPU].basis == nothing
    trained(runs, ("tiny", 1000.0))
    assert ask(runs)[GPU].basis == nothing
    assert ask(runs, flops=FLOPS)[GPU].epoch_seconds is not None


def test_three_runs_of_one_network_give_no_rough_figure(runs: Runs) -> None:
    trained(runs, *[("tiny", 1000.0)] * 3)
    finish(runs, 1.0, size="small", options={"a": 1})
    assert ask(runs, flops=FLOPS)[GPU].epoch_seconds is None


Logs = st.floats(-20, 30).map(lambda number: round(number, 3))


@given(points=st.lists(st.tuples(Logs, Logs), min_size=3, max_size=12), x=Logs, more=st.floats(0, 10))
def test_more_operations_never_take_less_time_nor_more_than_in_proportion(
    points: list[tuple[float, float]], x: float, more: float
) -> None:
    if len({each for each, _ in points}) < 2:
        points = [*points, (points[0][0] + 1, 0.0)]
    little, much = fitted(points, x), fitted(points, x + more)
    assert little - 1e-6 <= much <= little + more + 1e-6
