import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.grn import GlobalResponseNorm as TimmGlobalResponseNorm
from timm.models.convnext import ConvNeXt as TimmConvNeXt
from timm.models.convnext import ConvNeXtBlock as TimmBlock
from torch import nn

from models import Shape, build
from models._drop_path import DropPath
from models.convnext_v2 import Block, ChannelNorm, ConvNeXtV2, GlobalResponseNorm


def give_parameters(source: nn.Module, target: nn.Module) -> None:
    """Both list their parameters in the same order; random values, so that no one or zero hides a difference."""
    pairs = list(zip(source.parameters(), target.parameters(), strict=True))
    with torch.no_grad():
        for mine, theirs in pairs:
            assert mine.shape == theirs.shape
            mine.normal_(std=0.5)
            theirs.copy_(mine)


@settings(deadline=None, max_examples=30)
@given(images=st.integers(1, 3), side=st.integers(1, 6), channels=st.integers(1, 9), seed=st.integers(0, 2**31))
def test_a_fresh_global_response_norm_is_the_identity(images: int, side: int, channels: int, seed: int) -> None:
    x = torch.randn(images, side, side, channels, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(GlobalResponseNorm(channels)(x), x)


def test_global_response_norm_agrees_with_its_definition_and_with_timm() -> None:
    mine, theirs = GlobalResponseNorm(6).double(), TimmGlobalResponseNorm(6).double()
    with torch.no_grad():
        mine.gamma.normal_()
        mine.beta.normal_()
        theirs.weight.copy_(mine.gamma)
        theirs.bias.copy_(mine.beta)
    x = torch.randn(2, 5, 4, 6, dtype=torch.float64)
    norm = (x**2).sum(dim=(1, 2), keepdim=True).sqrt()
    defined = mine.gamma * x * (norm / (norm.mean(dim=3, keepdim=True) + 1e-6)) + mine.beta + x
    torch.testing.assert_close(mine(x), defined)
    torch.testing.assert_close(mine(x), theirs(x))


def test_global_response_norm_survives_channels_of_zeros() -> None:
    x = torch.zeros(2, 3, 3, 4, requires_grad=True)
    norm = GlobalResponseNorm(4)
    nn.init.ones_(norm.gamma)
    norm(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_channel_norm_is_a_layer_norm_over_the_channels_and_turns_the_memory_layout() -> None:
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    normed = ChannelNorm(6).double()(x)
    expected = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
    torch.testing.assert_close(normed, expected)
    assert normed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kernel", [3, 7])
def test_a_block_agrees_with_timm(kernel: int) -> None:
    mine = Block(6, kernel, drop_path=0.0).double()
    theirs = TimmBlock(6, kernel_size=kernel, use_grn=True, ls_init_value=None).double()
    give_parameters(mine, theirs)
    x = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(mine(x), theirs(x))


@pytest.mark.parametrize(("side", "patch"), [(28, 2), (32, 2), (33, 4), (64, 4)])
def test_the_whole_network_agrees_with_timm(side: int, patch: int) -> None:
    depths, dims = (1, 2, 1, 1), (4, 8, 12, 16)
    mine = ConvNeXtV2(Shape(3, side, {"class": 5}), depths, dims, kernel=3).double()
    theirs = TimmConvNeXt(
        in_chans=3,
        num_classes=5,
        depths=depths,
        dims=dims,
        kernel_sizes=3,
        patch_size=patch,
        use_grn=True,
        ls_init_value=None,
    ).double()
    theirs.stages[0].downsample = nn.Identity()  # timm would halve once more after a stem of stride 2
    give_parameters(mine, theirs)
    images = torch.randn(2, 3, side, side, dtype=torch.float64)
    torch.testing.assert_close(mine(images), theirs(images))


def test_drop_path_rises_from_nothing_to_the_rate_of_the_size(mnist: Shape) -> None:
    rates = [layer.rate for layer in build("convnext_v2", "large", mnist).modules() if isinstance(layer, DropPath)]
    assert rates == pytest.approx([0.2 * block / 14 for block in range(15)])


def test_it_starts_narrow_and_without_biases_if_that_is_wanted(mnist: Shape) -> None:
    network = build("convnext_v2", "base", mnist, {"init": "trunc_normal_002"})
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            assert layer.weight.abs().max() < 0.12
            assert layer.bias is not None
            assert not layer.bias.any()


def test_it_says_that_an_image_is_too_small() -> None:
    assert build("convnext_v2", "tiny", Shape(1, 16, {"digit": 10}))(torch.randn(1, 1, 16, 16)).shape == (1, 10)
    with pytest.raises(ValueError, match="at least 16×16 pixels, not 15×15"):
        build("convnext_v2", "tiny", Shape(1, 15, {"digit": 10}))
