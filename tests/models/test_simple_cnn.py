import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from models import Shape, build, count_parameters
from models.simple_cnn import SimpleCNN, average_pool


def test_several_heads_and_auxiliary_scalars_have_their_published_counts() -> None:
    heads = {"digit": 10, "thickness": 5, "smoothness": 3}
    assert count_parameters(build("simple_cnn", "base", Shape(1, 28, heads))) == 422_866
    assert count_parameters(build("simple_cnn", "base", Shape(1, 28, {"digit": 10}, auxiliary=5))) == 423_402


@pytest.mark.parametrize("side", [28, 30, 32, 50])
def test_it_is_two_convolutions_a_fixed_grid_and_a_hidden_layer(side: int) -> None:
    network = SimpleCNN(Shape(3, side, {"class": 4}, auxiliary=2), conv=(5, 6), fc=8).double().eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean = torch.randn(layer.num_features, dtype=torch.float64)
            layer.running_var = torch.rand(layer.num_features, dtype=torch.float64) + 0.5
    images, scalars = torch.randn(2, 3, side, side, dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    state = network.state_dict()

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    x = images
    for conv, norm in (("body.0", "body.1"), ("body.4", "body.5")):
        windows = F.unfold(x, 3, padding=1).transpose(1, 2) @ state[f"{conv}.weight"].flatten(1).T
        x = (windows + state[f"{conv}.bias"]).transpose(1, 2).unflatten(2, x.shape[2:])
        mean, var, weight, bias = (
            state[f"{norm}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = ((x - mean) / (var + 1e-5).sqrt() * weight + bias).clamp(min=0)
        half = x.shape[2] // 2
        x = x[:, :, : 2 * half, : 2 * half].unflatten(3, (half, 2)).unflatten(2, (half, 2)).amax(dim=(3, 5))
    x = linear(F.adaptive_avg_pool2d(x, 7).flatten(1), "body.10").clamp(min=0)
    y = linear(linear(scalars, "auxiliary.0").clamp(min=0), "auxiliary.3").clamp(min=0)
    expected = linear(torch.cat((x, y), dim=1), "heads.by_name.class")
    torch.testing.assert_close(network(images, scalars), expected)


@settings(deadline=None, max_examples=60)
@given(side=st.integers(1, 16), pooled=st.integers(1, 8))
def test_its_pooling_is_adaptive_average_pooling(side: int, pooled: int) -> None:
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    torch.testing.assert_close(average_pool(side, pooled)(x), F.adaptive_avg_pool2d(x, pooled))


@pytest.mark.parametrize(("side", "pooled"), [(7, 7), (8, 7), (8, 4)])
def test_the_pooling_of_the_offered_datasets_has_a_repeatable_gradient(side: int, pooled: int) -> None:
    assert not isinstance(average_pool(side, pooled), nn.AdaptiveAvgPool2d)


def test_auxiliary_scalars_change_the_answer() -> None:
    network = build("simple_cnn", "tiny", Shape(1, 28, {"digit": 10}, auxiliary=5)).eval()
    images = torch.randn(2, 1, 28, 28)
    assert not torch.equal(network(images, torch.zeros(2, 5)), network(images, torch.ones(2, 5)))


def test_missing_and_uninvited_auxiliary_scalars_are_refused(mnist: Shape) -> None:
    images = torch.randn(2, 1, 28, 28)
    with pytest.raises(ValueError, match="takes 5 auxiliary scalars per image, not 0"):
        build("simple_cnn", "tiny", Shape(1, 28, {"digit": 10}, auxiliary=5))(images)
    with pytest.raises(ValueError, match="takes 0 auxiliary scalars per image, not 3"):
        build("simple_cnn", "tiny", mnist)(images, torch.zeros(2, 3))


def test_it_says_that_an_image_is_too_small() -> None:
    assert build("simple_cnn", "tiny", Shape(1, 4, {"digit": 10})).eval()(torch.randn(1, 1, 4, 4)).shape == (1, 10)
    with pytest.raises(ValueError, match="at least 4×4 pixels, not 3×3"):
        build("simple_cnn", "tiny", Shape(1, 3, {"digit": 10}))


def test_the_dropout_beside_the_scalars_is_half_of_the_other() -> None:
    network = build("simple_cnn", "large", Shape(1, 28, {"digit": 10}, auxiliary=5))
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.5, 0.25]
