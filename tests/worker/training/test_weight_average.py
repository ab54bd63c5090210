"""The moving average of the weights: its arithmetic, its statistics, and its memory layout."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from worker.training.weight_average import WeightAverage


def test_each_step_weighs_as_much_as_its_decay_says_and_early_steps_less() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 8.0)
    average = WeightAverage(network, 0.5)
    expected, value = 8.0, 8.0
    for step in range(20):
        value = float(step % 3)
        nn.init.constant_(network.weight, value)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert average.state_dict()["weight"].item() == pytest.approx(expected, rel=1e-5)
    assert network.weight.item() == value


def test_running_statistics_are_averaged_and_counts_are_copied() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    average = WeightAverage(network, 0.9)
    for step in range(3):
        network(torch.full((4, 1, 5, 5), float(step)))
        average.update(step)
    state = average.state_dict()
    assert state["1.num_batches_tracked"] == 3
    assert not torch.equal(state["1.running_mean"], network.state_dict()["1.running_mean"])
    assert not average.network.training
    assert not any(weight.requires_grad for weight in average.network.parameters())


def test_the_layout_of_the_weights_is_kept() -> None:
    network = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
    average = WeightAverage(network, 0.9)
    average.update(0)
    assert average.state_dict()["weight"].is_contiguous(memory_format=torch.channels_last)
