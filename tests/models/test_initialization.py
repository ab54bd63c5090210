import math

import pytest
import torch
from torch import nn

from models import Shape, build
from models._initialization import draw_truncated_normal, initialize


def test_weights_are_narrow_and_biases_zero_at_every_depth() -> None:
    linear, convolution, norm = nn.Linear(200, 300), nn.Conv2d(40, 60, 5, bias=False), nn.LayerNorm(300)
    draw_truncated_normal(nn.Sequential(linear, nn.Sequential(convolution), norm))
    for weight in (linear.weight, convolution.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert weight.mean().item() == pytest.approx(0, abs=5e-4)
    assert not linear.bias.any()
    assert torch.equal(norm.weight, torch.ones(300))


def test_scaled_weights_keep_the_variance_of_what_passes_them_and_the_ends_of_branches_share_one() -> None:
    linear, convolution = nn.Linear(400, 300), nn.Conv2d(40, 60, 5)
    grouped, ends = nn.Conv2d(64, 64, 7, groups=64), [nn.Linear(300, 200) for _ in range(4)]
    initialize(nn.Sequential(linear, convolution, grouped, *ends), "scaled", ends)
    assert linear.weight.std().item() == pytest.approx(1 / math.sqrt(400), rel=0.02)
    assert convolution.weight.std().item() == pytest.approx(1 / math.sqrt(40 * 25), rel=0.02)
    assert grouped.weight.std().item() == pytest.approx(1 / 7, rel=0.05)
    for end in ends:
        assert end.weight.std().item() == pytest.approx(1 / math.sqrt(300 * 4), rel=0.02)
    assert not any(layer.bias.any() for layer in ends)
    assert linear.bias is not None
    assert not linear.bias.any()


def test_there_is_no_other_scheme() -> None:
    with pytest.raises(ValueError, match="no init 'zeros'; init: scaled, trunc_normal_002"):
        initialize(nn.Linear(1, 1), "zeros", [])


@pytest.mark.parametrize("family", ["vit", "convnext_v2"])
@pytest.mark.parametrize("size", ["tiny", "base"])
def test_what_a_network_makes_of_an_image_is_neither_lost_nor_blown_up(family: str, size: str) -> None:
    """With weights of 0.02 the last layer hardly hears of the image."""
    torch.manual_seed(1)
    images = torch.randn(64, 1, 28, 28)
    spreads = {}
    for scheme in ("scaled", "trunc_normal_002"):
        network = build(family, size, Shape(1, 28, {"digit": 10}), {"init": scheme}).eval()
        with torch.no_grad():
            spreads[scheme] = network(images).std(0).mean().item()
    assert 0.1 < spreads["scaled"] < 3
    assert spreads["scaled"] > 4 * spreads["trunc_normal_002"]
