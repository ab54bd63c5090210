# mypy: disable-error-code="import-untyped"
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision.models.efficientnet import EfficientNet as TorchvisionEfficientNet
from torchvision.models.efficientnet import MBConv as TorchvisionMBConv
from torchvision.models.efficientnet import MBConvConfig
from torchvision.ops import SqueezeExcitation as TorchvisionSqueezeExcitation

from models import Shape, build, count_parameters
from models._drop_path import DropPath
from models.efficientnet import STAGES, EfficientNet, LearnableSwish, MBConv, SqueezeExcitation, scaled


def squeeze_a_quarter_of_the_expanded(channels: int, _: int, activation: Any) -> TorchvisionSqueezeExcitation:
    """This architecture squeezes the expanded channels, torchvision's the channels before expansion."""
    return TorchvisionSqueezeExcitation(channels, channels // 4, activation=activation)


ReferenceMBConv = partial(TorchvisionMBConv, se_layer=squeeze_a_quarter_of_the_expanded)


def give_parameters(source: nn.Module, target: nn.Module) -> None:
    """Both list their parameters in the same order; only torchvision's squeeze-and-excitation has 1x1 kernels."""
    with torch.no_grad():
        for mine, theirs in zip(source.parameters(), target.parameters(), strict=True):
            mine.normal_(std=0.5)
            theirs.copy_(mine.view_as(theirs))


def test_squeeze_and_excitation_agrees_with_torchvision() -> None:
    mine = SqueezeExcitation(12, 3, nn.SiLU).double()
    theirs = TorchvisionSqueezeExcitation(12, 3, activation=nn.SiLU).double()
    give_parameters(mine, theirs)
    x = torch.randn(2, 12, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(mine(x), theirs(x))


@pytest.mark.parametrize(
    ("before", "after", "expand", "stride", "kernel"),
    [(8, 8, 1, 1, 3), (8, 8, 6, 1, 5), (8, 16, 6, 2, 3), (8, 16, 6, 1, 5), (8, 8, 6, 2, 5)],
)
def test_a_block_agrees_with_torchvision(before: int, after: int, expand: int, stride: int, kernel: int) -> None:
    mine = MBConv(before, after, expand, stride, kernel, 0.0, nn.SiLU).double()
    theirs = ReferenceMBConv(MBConvConfig(expand, kernel, stride, before, after, 1), 0.0, nn.BatchNorm2d).double()
    give_parameters(mine, theirs)
    x = torch.randn(3, before, 7, 7, dtype=torch.float64)
    torch.testing.assert_close(mine(x), theirs(x))
    torch.testing.assert_close(mine.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize(("width", "depth"), [(0.2, 0.5), (0.3, 1.0)])
def test_the_whole_network_agrees_with_torchvision(width: float, depth: float) -> None:
    mine = EfficientNet(Shape(3, 32, {"class": 5}), width, depth, dropout=0.0, drop_path=0.0).double()
    channels = [32] + [stage[1] for stage in STAGES]
    stages = [
        MBConvConfig(expand, kernel, stride, before, after, blocks, width, depth, block=ReferenceMBConv)
        for before, (expand, after, blocks, stride, kernel) in zip(channels[:-1], STAGES, strict=True)
    ]
    for stage, before, after in zip(stages, channels[:-1], channels[1:], strict=True):
        stage.input_channels, stage.out_channels = scaled(before, width), scaled(after, width)
    theirs = TorchvisionEfficientNet(
        stages, dropout=0.0, stochastic_depth_prob=0.0, num_classes=5, last_channel=scaled(1280, width)
    ).double()
    give_parameters(mine, theirs)
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(mine(images), theirs(images))


@given(channels=st.integers(1, 2000), width=st.floats(0.001, 2))
def test_widths_are_multiples_of_8_and_never_too_small(channels: int, width: float) -> None:
    wide = scaled(channels, width)
    assert wide % 8 == 0
    assert channels * width <= wide < channels * width + 8


def test_a_fresh_learnable_swish_is_silu() -> None:
    x = torch.linspace(-8, 8, 101)
    torch.testing.assert_close(LearnableSwish()(x), nn.functional.silu(x))


def test_learnable_swishes_add_one_parameter_for_each_activation(mnist: Shape) -> None:
    fixed = build("efficientnet", "small", mnist)
    learnable = build("efficientnet", "small", mnist, {"swish": "learnable"})
    activations = sum(isinstance(layer, nn.SiLU) for layer in fixed.modules())
    assert count_parameters(learnable) - count_parameters(fixed) == activations
    learnable(torch.randn(4, 1, 28, 28)).square().sum().backward()
    betas = [layer.beta for layer in learnable.modules() if isinstance(layer, LearnableSwish)]
    assert len(betas) == activations
    assert all(beta.grad is not None and beta.grad != 0 for beta in betas)


def test_drop_path_rises_over_all_blocks_but_only_residuals_have_it(mnist: Shape) -> None:
    network = build("efficientnet", "large", mnist)
    blocks = [block for block in network.modules() if isinstance(block, MBConv)]
    rates = {index: block.drop_path.rate for index, block in enumerate(blocks) if isinstance(block.drop_path, DropPath)}
    assert len(blocks) == 16
    assert list(rates) == [2, 4, 6, 7, 9, 10, 12, 13, 14]
    assert rates == pytest.approx({index: 0.2 * index / 15 for index in rates})


def test_it_refuses_to_train_on_a_batch_of_one_but_judges_one(mnist: Shape) -> None:
    network = build("efficientnet", "tiny", mnist)
    with pytest.raises(ValueError, match=r"EfficientNet .* cannot train with batch size 1"):
        network(torch.randn(1, 1, 28, 28))
    assert network.eval()(torch.randn(1, 1, 28, 28)).shape == (1, 10)


@pytest.mark.parametrize("side", [1, 5, 17, 40])
def test_any_side_will_do(side: int) -> None:
    network = build("efficientnet", "tiny", Shape(1, side, {"digit": 10})).eval()
    assert network(torch.randn(2, 1, side, side)).shape == (2, 10)
