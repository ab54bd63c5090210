"""Corrupted images: exact where nothing is changed, farther with each strength, and the same in every batch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from worker.model_jobs import corruptions as module
from worker.model_jobs.corruptions import STRENGTHS, Corruption, Draws, corruptions

GRAY, COLOR = corruptions(1), corruptions(3)
ALL = [(kind, 1) for kind in GRAY] + [(COLOR[7], 3)]
KINDS = pytest.mark.parametrize(("kind", "channels"), ALL, ids=lambda value: getattr(value, "name", ""))
NEUTRAL: dict[str, float] = {
    **dict.fromkeys(("gaussian_noise", "shot_noise", "impulse_noise", "gaussian_blur", "motion_blur"), 0),
    **{"brightness": 0, "contrast": 1, "saturation": 1, "gamma": 1, "pixelate": 1},
    **{"shift": 0, "rotation": 0, "scale": 1, "occlusion": 0, "elastic": 0},
}
"""The value of each corruption that changes nothing."""


def pictures(count: int = 24, channels: int = 1, side: int = 28) -> Tensor:
    """Smooth pictures over the whole range, uint8."""
    draws = torch.rand(count, channels, 6, 6, generator=torch.Generator().manual_seed(0))
    smooth = F.interpolate(draws, (side, side), mode="bilinear")
    return (255 * smooth).round().to(torch.uint8)


def distance(one: Tensor, other: Tensor) -> float:
    return (one.float() - other.float()).abs().mean().item()


def test_there_are_fifteen_of_five_strengths_for_gray_and_for_color() -> None:
    for kinds in (GRAY, COLOR):
        assert len({kind.name for kind in kinds}) == 15
        assert all(len(kind.values) == len(set(kind.parameters())) == STRENGTHS for kind in kinds)
    assert {kind.name for kind in GRAY} ^ {kind.name for kind in COLOR} == {"gamma", "saturation"}


@KINDS
@pytest.mark.parametrize("side", [8, 28, 32])
def test_shape_and_type_stay_and_the_images_themselves_are_not_touched(
    kind: Corruption, channels: int, side: int
) -> None:
    for colors in {channels, 3}:
        images = pictures(5, colors, side)
        before = images.clone()
        for strength in range(1, STRENGTHS + 1):
            if kind.name == "gamma" and colors == 3:
                continue
            changed = kind(images, strength, torch.arange(5), 0)
            assert (changed.shape, changed.dtype) == (images.shape, torch.uint8)
            # A blur by a tenth of a pixel is none.
            assert strength < STRENGTHS or not torch.equal(changed, images)
        assert torch.equal(images, before)


@KINDS
def test_a_strength_of_nothing_changes_nothing(kind: Corruption, channels: int) -> None:
    images = pictures(channels=channels)
    if kind.name == "jpeg":
        assert distance(module.jpeg(images.float(), 100, draws(len(images))), images) < 1
        return
    changed = kind.change(images.float(), NEUTRAL[kind.name], draws(len(images)))
    assert torch.allclose(changed, images.float(), atol=0.02)


def draws(count: int, seed: int = 0, name: str = "x") -> Draws:
    return Draws.of(seed, name, torch.arange(count))


@KINDS
def test_each_strength_changes_images_more_than_the_one_before(kind: Corruption, channels: int) -> None:
    images = pictures(200, channels)
    far = [distance(kind(images, strength, torch.arange(200), 0), images) for strength in range(1, STRENGTHS + 1)]
    assert far == sorted(far)
    assert far[-1] > 1.2 * far[0]


@KINDS
@given(batch=st.integers(1, 23), seed=st.integers(0, 2**32 - 1))
def test_an_image_is_changed_in_the_same_way_in_every_batch(
    kind: Corruption, channels: int, batch: int, seed: int
) -> None:
    images, indices = pictures(channels=channels), torch.arange(100, 124)
    whole = kind(images, 3, indices, seed)
    parts = [kind(images[i : i + batch], 3, indices[i : i + batch], seed) for i in range(0, 24, batch)]
    # Sums of another length may be rounded differently.
    assert (whole.int() - torch.cat(parts).int()).abs().max() <= 1
    assert torch.equal(kind(images, 3, indices, seed), whole)


def test_another_seed_and_another_image_get_other_numbers() -> None:
    one, other = draws(50, seed=1).uniform(40), draws(50, seed=2).uniform(40)
    assert not (one == other).any()
    assert len(set(one.flatten().tolist())) > 0.999 * one.numel()
    assert not (one == draws(50, seed=1).uniform(40, stream=1)).any()
    assert not (one == draws(50, seed=1, name="y").uniform(40)).any()


def test_numbers_are_uniform_and_normal_and_independent() -> None:
    numbers = draws(2000).uniform(100)
    assert numbers.min() > 0
    assert numbers.max() < 1
    counts = torch.histc(numbers, 20, 0, 1) / numbers.numel()
    assert (counts - 0.05).abs().max() < 0.002
    normal = draws(2000).normal(100)
    assert abs(normal.mean()) < 0.01
    assert abs(normal.std() - 1) < 0.01
    pairs = torch.corrcoef(normal.T[:20]) - torch.eye(20)
    assert pairs.abs().max() < 0.1
    neighbors = torch.corrcoef(normal[:20]) - torch.eye(20)
    assert neighbors.abs().max() < 0.45


# Exact properties of single ones -------------------------------------------------------------------------------------


def test_noise_has_the_deviation_that_it_says() -> None:
    gray = torch.full((50, 1, 28, 28), 128.0)
    assert (module.gaussian_noise(gray, 0.1, draws(50)) - gray).std() == pytest.approx(25.5, rel=0.02)
    shot = module.shot_noise(gray, 0.04, draws(50)) - gray
    assert shot.var() == pytest.approx(255**2 * 0.04 * 128 / 255, rel=0.03)
    assert torch.equal(module.shot_noise(gray * 0, 0.3, draws(50)), gray * 0), "no light, no noise"
    changed = module.impulse_noise(gray, 0.2, draws(50))
    assert ((changed == 0).float().mean().item(), (changed == 255).float().mean().item()) == pytest.approx(
        (0.1, 0.1), rel=0.05
    )
    assert set(changed.flatten().tolist()) == {0, 128, 255}


@pytest.mark.parametrize("blur", [module.gaussian_blur, module.motion_blur])
def test_a_blur_leaves_an_even_picture_and_keeps_the_light_of_a_point(blur: object) -> None:
    assert callable(blur)
    even = torch.full((3, 1, 28, 28), 77.0)
    assert torch.allclose(blur(even, 0.05, draws(3)), even, atol=1e-3)
    point = torch.zeros(3, 1, 28, 28)
    point[:, :, 14, 14] = 200
    changed = blur(point, 0.05, draws(3))
    assert changed.sum((1, 2, 3)).tolist() == pytest.approx([200] * 3, rel=1e-3)
    assert changed.max() < 200


def test_a_picture_is_moved_by_the_distance_in_every_direction() -> None:
    point = torch.zeros(200, 1, 29, 29)
    point[:, :, 14, 14] = 255
    changed = module.shift(point, 5 / 29, draws(200))[:, 0]
    at = torch.arange(29.0)
    across = (changed.sum(1) * at).sum(1) / changed.sum((1, 2)) - 14
    down = (changed.sum(2) * at).sum(1) / changed.sum((1, 2)) - 14
    assert torch.allclose((across**2 + down**2).sqrt(), torch.tensor(5.0), atol=0.05)
    assert across.min() < -4.9
    assert down.max() > 4.9


def test_a_quarter_turn_is_exact_and_goes_both_ways() -> None:
    images = pictures(40).float()
    changed = module.rotation(images, 90, draws(40))
    one = [torch.allclose(a, torch.rot90(b, 1, (1, 2)), atol=0.1) for a, b in zip(changed, images, strict=True)]
    other = [torch.allclose(a, torch.rot90(b, -1, (1, 2)), atol=0.1) for a, b in zip(changed, images, strict=True)]
    assert all(a != b for a, b in zip(one, other, strict=True))
    assert 5 < sum(one) < 35


def test_a_square_hides_its_share_of_the_image_wherever_it_is() -> None:
    white = torch.full((300, 1, 20, 20), 255.0)
    hidden = module.occlusion(white, 0.25, draws(300)) == module.OCCLUDED
    assert (hidden.sum((1, 2, 3)) == 100).all()
    assert hidden.any(0).all(), "every pixel is hidden in some image"


def test_saturation_ends_in_gray_and_contrast_in_the_mean() -> None:
    images = pictures(10, 3).float()
    gray = module.saturation(images, 0, draws(10))
    assert torch.allclose(gray[:, 0], gray[:, 1])
    assert torch.allclose(gray[:, 0], gray[:, 2])
    even = module.contrast(images, 0, draws(10))
    assert torch.allclose(even, images.mean((1, 2, 3), keepdim=True).expand_as(images))


def test_pixelated_pictures_have_so_many_values() -> None:
    changed = module.pixelate(pictures(4, 1, 32).float(), 0.25, draws(4))
    assert all(len(set(image.flatten().tolist())) <= 64 for image in changed)
    assert torch.equal(changed[:, :, ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3), changed)
