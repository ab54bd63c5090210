"""Grad-CAM, rollout and occlusion on networks so small that the right map is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import models
from worker.inference.explanations import convolutional, explain, grad_cam, occlusion, rolled, rollout


class Brightness(nn.Module):
    """Class 1 is the sum of the pixels, class 0 its opposite, seen through a layer that copies them."""

    def __init__(self) -> None:
        super().__init__()
        self.copy = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.copy.weight)

    def forward(self, images: Tensor) -> Tensor:
        total = self.copy(images).sum((1, 2, 3))
        return torch.stack([-total, total], 1)


def corner() -> Tensor:
    """Black but for a block of two pixels a side in the upper left corner."""
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, :2, :2] = 3.0
    return image


def test_grad_cam_is_the_map_that_the_class_grows_with() -> None:
    network = Brightness()
    found = grad_cam([network.copy], network, corner(), 1)
    # Each pixel counts equally, so the weighted map is the image, scaled to 1.
    torch.testing.assert_close(found, corner()[0, 0] / 3)
    # What speaks against a class is not part of its map.
    assert grad_cam([network.copy], network, corner(), 0).abs().max() == 0


def test_grad_cam_weighs_channels_by_their_mean_gradient() -> None:
    first = nn.Conv2d(1, 2, 1, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
    image = torch.rand(1, 1, 4, 4) + 0.1

    def logits(images: Tensor) -> Tensor:
        maps: Tensor = first(images)
        return (3 * maps[:, 0] + maps[:, 1]).sum((1, 2))[:, None]

    # 3 times the image minus the image.
    torch.testing.assert_close(grad_cam([first], logits, image, 0), image[0, 0] / image.max())


def test_grad_cam_takes_the_last_layer_whose_maps_are_not_too_coarse() -> None:
    layers = [nn.Conv2d(1, 1, 2, stride=2, bias=False) for _ in range(3)]
    for layer in layers:
        nn.init.ones_(layer.weight)
    found = grad_cam(layers, lambda images: nn.Sequential(*layers)(images).flatten(1), torch.rand(1, 1, 16, 16), 0)
    assert found.shape == (4, 4)
    tiny = torch.rand(1, 1, 8, 8)
    assert grad_cam(layers, lambda images: nn.Sequential(*layers)(images).flatten(1), tiny, 0).shape == (4, 4)


def test_attention_that_stays_where_it_is_leaves_every_token_by_itself() -> None:
    torch.testing.assert_close(rolled([torch.eye(3)] * 4), torch.eye(3))


def test_attention_is_rolled_out_layer_by_layer() -> None:
    first = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    second = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    # Half of each token stays: first [[.5, .5], [0, 1]], then second [[1, 0], [.5, .5]] times it.
    torch.testing.assert_close(rolled([first, second]), torch.tensor([[0.5, 0.5], [0.25, 0.75]]))
    many = rolled([torch.rand(5, 5).softmax(1) for _ in range(6)])
    torch.testing.assert_close(many.sum(1), torch.ones(5))


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_rollout_has_a_value_for_each_patch_whatever_is_pooled(pool: str) -> None:
    torch.manual_seed(0)
    network = models.build("vit", "tiny", models.Shape(1, 28, {"digit": 10}, 0), {"pool": pool}).eval()
    found = rollout(network, network, torch.rand(1, 1, 28, 28))  # type: ignore[arg-type]
    assert found.shape == (7, 7)
    assert float(found.max()) == 1.0
    assert float(found.min()) >= 0


def test_rollout_follows_a_class_token_that_attends_to_one_patch() -> None:
    network = models.build("vit", "tiny", models.Shape(1, 8, {"digit": 2}, 0), {}).eval()
    attention = [layer for layer in network.modules() if type(layer).__name__ == "Attention"]
    with torch.no_grad():
        for layer in attention:
            # All queries and keys are equal: attention is uniform, so every patch counts the same.
            layer.query_key_value.weight.zero_()  # type: ignore[union-attr,operator]
            layer.query_key_value.bias.zero_()  # type: ignore[union-attr,operator]
    torch.testing.assert_close(rollout(network, network, torch.rand(1, 1, 8, 8)), torch.ones(2, 2))  # type: ignore[arg-type]


def test_occlusion_finds_the_pixels_that_a_class_needs() -> None:
    network = Brightness()
    found = occlusion(network, corner(), 1)
    # Windows of one pixel: the fall is the pixel itself.
    torch.testing.assert_close(found, corner()[0, 0] / 3)
    assert occlusion(network, corner(), 0).abs().max() == 0


def test_windows_cover_every_pixel_of_any_side() -> None:
    for side in (7, 8, 28, 32, 33, 50):
        image = torch.ones(1, 1, side, side)
        found = occlusion(lambda images: images.sum((1, 2, 3))[:, None], image, 0)
        assert found.shape == (side, side)
        torch.testing.assert_close(found, torch.ones(side, side))


@pytest.mark.parametrize(
    ("family", "method"),
    [
        ("simple_mlp", "occlusion"),
        ("simple_dense_net", "occlusion"),
        ("simple_cnn", "Grad-CAM"),
        ("efficientnet", "Grad-CAM"),
        ("convnext_v2", "Grad-CAM"),
        ("vit", "attention rollout"),
    ],
)
@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 32)])
def test_every_family_is_explained_by_the_method_that_suits_it(
    family: str, method: str, channels: int, side: int
) -> None:
    torch.manual_seed(0)
    size = models.families()[family].sizes[0].name
    network = models.build(family, size, models.Shape(channels, side, {"digit": 10}, 0), {}).eval()
    found, by = explain(network, network, torch.randn(1, channels, side, side), 3)
    assert by == method
    assert found.shape == (side, side)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert not found.requires_grad
    layers = convolutional(network)
    assert (layers is not None) == (method == "Grad-CAM")
