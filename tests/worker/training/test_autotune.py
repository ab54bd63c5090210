"""Trials, choices and the cache, with made-up times for each candidate."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from app.contract.spec import RunConfig
from tests.worker.conftest import make_config
from worker.data.datasets import Data, load
from worker.data.inputs import Inputs
from worker.training import autotune as autotune_module
from worker.training.autotune import Autotuner, Choice
from worker.training.module import Stopped
from worker.training.tuning import Tuning

LAST, ROUGH, FOREACH = Tuning(channels_last=True), Tuning(precision="bf16"), Tuning(optimizer="foreach")


@pytest.fixture(autouse=True)
def tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autotune_module, "MIN_RUN_STEPS", 60)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return load("digits", ["digit"], tmp_path_factory.mktemp("digits"), lambda text: None)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[Tuning]:
    """The candidates tried, in order; each takes 0.1 s per step."""
    return table(monkeypatch, {})


def table(monkeypatch: pytest.MonkeyPatch, seconds: dict[Tuning, float]) -> list[Tuning]:
    asked: list[Tuning] = []

    class Table:
        def __init__(self, way: Tuning, *_: Any) -> None:
            asked.append(way)
            self.seconds = seconds.get(way, 0.1)

        def step(self) -> None:
            if math.isinf(self.seconds):
                raise RuntimeError("no compiler")

        def timed(self) -> float:
            return self.seconds

    monkeypatch.setattr(autotune_module, "_Runner", Table)
    return asked


def choose(
    digits: Data, folder: Path, config: RunConfig | None = None, tell: Callable[[float], None] = lambda share: None
) -> Choice:
    config = config or make_config("simple_cnn", epochs=100)
    torch.manual_seed(1)
    network = models.build(config.family, config.size, models.Shape(1, 28, {"digit": 10}), {})
    trials = Autotuner(network, digits, Inputs.of(digits, config), config, torch.device("cpu"))
    return trials.choose(folder / "tunings.json", tell)


def test_the_fastest_way_is_chosen_and_all_that_were_tried_are_told(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(monkeypatch, {LAST: 0.05, FOREACH: 0.12})
    choice = choose(digits, tmp_path)
    assert choice.tuning == LAST
    assert choice.seconds == {
        "float32, fused optimizer": 0.1,
        "float32, channels last, fused optimizer": 0.05,
        "float32, foreach optimizer": 0.12,
    }


def test_faster_kernels_of_the_optimiser_go_with_the_fastest_of_the_other_ways(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(monkeypatch, {LAST: 0.05, FOREACH: 0.08})
    assert choose(digits, tmp_path).tuning == replace(LAST, optimizer="foreach")


def test_bfloat16_is_tried_only_where_the_precision_is_left_open(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = table(monkeypatch, {ROUGH: 0.01})
    assert choose(digits, tmp_path).tuning.precision == "32"
    assert {way.precision for way in asked} == {"32"}
    config = make_config("simple_cnn", epochs=100, precision="auto")
    assert choose(digits, tmp_path, config).tuning == ROUGH
    config = make_config("simple_cnn", epochs=100, precision="bf16")
    asked.clear()
    assert choose(digits, tmp_path, config).tuning.precision == "bf16"
    assert {way.precision for way in asked} == {"bf16"}


def test_channels_last_is_for_networks_that_convolve(digits: Data, tmp_path: Path, timed: list[Tuning]) -> None:
    choose(digits, tmp_path, make_config("simple_mlp", epochs=100))
    assert not any(way.channels_last for way in timed)


def test_a_difference_that_is_noise_changes_nothing(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(monkeypatch, {LAST: 0.099, FOREACH: 0.098})
    assert choose(digits, tmp_path).tuning == Tuning()


def test_deterministic_runs_try_nothing(digits: Data, tmp_path: Path, timed: list[Tuning]) -> None:
    config = make_config("simple_cnn", epochs=100, deterministic=True, precision="bf16", compile="on")
    assert choose(digits, tmp_path, config).tuning == ROUGH
    assert not timed


def test_a_short_run_does_not_spend_its_time_on_trying(digits: Data, tmp_path: Path, timed: list[Tuning]) -> None:
    choice = choose(digits, tmp_path, make_config("simple_cnn", epochs=2))
    assert (choice.tuning, timed) == (Tuning(), [])
    choice = choose(digits, tmp_path, make_config("simple_cnn", epochs=8))
    assert (choice.tuning, timed) == (Tuning(), [Tuning()])
    assert choice.reason == "training is too short (7.2 s) to benefit from trials"
    assert not (tmp_path / "tunings.json").exists()


# Compiling -----------------------------------------------------------------------------------------------------------

COMPILED = Tuning(compile="on")


def test_compiling_is_tried_unasked_only_for_a_run_that_lasts(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = table(monkeypatch, {COMPILED: 0.01})
    monkeypatch.setattr(autotune_module, "COMPILE_DEVICES", ("cpu",))
    assert choose(digits, tmp_path, make_config("simple_mlp", epochs=100)).tuning == Tuning()
    assert COMPILED not in asked
    # What was found without it is no answer for a run that is long enough.
    assert choose(digits, tmp_path, make_config("simple_mlp", epochs=2000)).tuning == COMPILED
    assert choose(digits, tmp_path, make_config("simple_mlp", epochs=2000, compile="off")).tuning == Tuning()


def test_a_cpu_compiles_nothing_unasked(digits: Data, tmp_path: Path, timed: list[Tuning]) -> None:
    choose(digits, tmp_path, make_config("simple_mlp", epochs=100_000))
    assert timed
    assert {way.compile for way in timed} == {"off"}


def test_who_asks_for_compiling_gets_it_also_where_it_is_slower(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(monkeypatch, {COMPILED: 0.5})
    assert choose(digits, tmp_path, make_config("simple_mlp", epochs=1, compile="on")).tuning == COMPILED


def test_what_cannot_be_compiled_trains_as_it_is(digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(monkeypatch, {COMPILED: math.inf})
    choice = choose(digits, tmp_path, make_config("simple_mlp", epochs=1, compile="on"))
    assert choice.tuning == Tuning()
    assert choice.seconds["float32, fused optimizer, compiled"] is None


# What is remembered --------------------------------------------------------------------------------------------------


def test_the_next_run_of_such_a_network_tries_nothing(
    digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = table(monkeypatch, {LAST: 0.05})
    first = choose(digits, tmp_path)
    asked.clear()
    second = choose(digits, tmp_path, make_config("simple_cnn", epochs=1, seed=7, lr=0.5))
    assert (second.tuning, second.seconds, asked) == (first.tuning, first.seconds, [])
    assert second.reason == "the fastest in earlier trials on this machine"


@pytest.mark.parametrize("changes", [{"batch_size": 64}, {"size": "small"}, {"optimizer": "sgd"}], ids=str)
def test_another_network_batch_or_optimiser_is_tried_for_itself(
    digits: Data, tmp_path: Path, timed: list[Tuning], changes: dict[str, Any]
) -> None:
    choose(digits, tmp_path)
    timed.clear()
    choose(digits, tmp_path, make_config("simple_cnn", epochs=100, **({"size": "tiny"} | changes)))
    assert timed


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_corrupt_cache_is_made_anew(digits: Data, tmp_path: Path, timed: list[Tuning], content: str) -> None:
    (tmp_path / "tunings.json").write_text(content)
    choose(digits, tmp_path)
    assert len(json.loads((tmp_path / "tunings.json").read_text())) == 1


def test_of_several_runs_at_once_one_tries_and_the_others_wait(
    digits: Data, tmp_path: Path, timed: list[Tuning]
) -> None:
    found: list[Choice] = []
    both = [threading.Thread(target=lambda: found.append(choose(digits, tmp_path))) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(30)
    assert sorted(choice.reason for choice in found)[0] == "the fastest in earlier trials on this machine"
    assert timed.count(LAST) == 1


def test_a_run_can_be_stopped_while_it_tries(digits: Data, tmp_path: Path, timed: list[Tuning]) -> None:
    def stop(share: float) -> None:
        if timed:
            raise Stopped

    with pytest.raises(Stopped):
        choose(digits, tmp_path, tell=stop)
    assert len(timed) == 1
    assert choose(digits, tmp_path).reason.startswith("the fastest of")


# The real thing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_trying_leaves_the_network_and_the_random_numbers_as_they_were(
    digits: Data, tmp_path: Path, precision: str
) -> None:
    config = make_config("simple_cnn", epochs=200, batch_size=16, precision=precision)
    torch.manual_seed(1)
    network = models.build("simple_cnn", "tiny", models.Shape(1, 28, {"digit": 10}), {})
    before = {name: value.clone() for name, value in network.state_dict().items()}
    drawn = torch.get_rng_state()
    shares: list[float] = []
    trials = Autotuner(network, digits, Inputs.of(digits, config), config, torch.device("cpu"))
    choice = trials.choose(tmp_path / "tunings.json", shares.append)
    assert all(seconds is not None and 0 < seconds < 10 for seconds in choice.seconds.values())
    assert len(choice.seconds) == (5 if precision == "auto" else 3)
    assert shares == sorted(shares)
    assert torch.equal(torch.get_rng_state(), drawn)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


class Failing(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("a network of one's own")


def test_a_network_that_fails_is_left_to_training_to_say_so(digits: Data, tmp_path: Path) -> None:
    config = make_config("simple_mlp", epochs=100)
    trials = Autotuner(Failing(), digits, Inputs.of(digits, config), config, torch.device("cpu"))
    assert trials.choose(tmp_path / "tunings.json", lambda share: None).tuning == Tuning()
