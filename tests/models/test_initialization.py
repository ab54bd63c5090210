import pytest
import torch
from torch import nn

from models._initialization import draw_truncated_normal


def test_weights_are_narrow_and_biases_zero_at_every_depth() -> None:
    linear, convolution, norm = nn.Linear(200, 300), nn.Conv2d(40, 60, 5, bias=False), nn.LayerNorm(300)
    draw_truncated_normal(nn.Sequential(linear, nn.Sequential(convolution), norm))
    for weight in (linear.weight, convolution.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert weight.mean().item() == pytest.approx(0, abs=5e-4)
    assert not linear.bias.any()
    assert torch.equal(norm.weight, torch.ones(300))
