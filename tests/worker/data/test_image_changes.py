"""Resized crops and color changes of whole batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from worker.data.device_dataset import Augment
from worker.data.image_changes import ASPECTS, LUMA, jittered_colors, resized_crop

FORMATS = [torch.contiguous_format, torch.channels_last]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded(0))


def places(n: int, side: int) -> Tensor:
    """Images whose two channels are the coordinates of their pixels, from 0 to 1 at the edges."""
    at = (torch.arange(side) + 0.5) / side
    return torch.stack([at.expand(side, side), at[:, None].expand(side, side)]).expand(n, 2, side, side).contiguous()


@given(seed=st.integers(0, 2**31), least=st.floats(0.05, 1))
def test_a_window_is_inside_the_image_and_as_large_and_as_oblong_as_allowed(seed: int, least: float) -> None:
    side = 64
    found = resized_crop(places(20, side), least, torch.rand(4, 20, generator=seeded(seed)))
    # Away from the edges, neighbors differ by the window's share of a side.
    across = (found[:, 0, 8, 40] - found[:, 0, 8, 24]) * side / 16
    down = (found[:, 1, 40, 8] - found[:, 1, 24, 8]) * side / 16
    area, aspect = across * down, across / down
    assert (area >= least - 1e-3).all()
    assert (area <= 1 + 1e-3).all()
    assert (aspect >= ASPECTS[0] - 1e-3).all()
    assert (aspect <= ASPECTS[1] + 1e-3).all()
    middle = found[:, :, 31:33, 31:33].mean((2, 3))
    for center, length in ((middle[:, 0], across), (middle[:, 1], down)):
        assert (center - length / 2 >= -1e-3).all()
        assert (center + length / 2 <= 1 + 1e-3).all()


def test_areas_aspects_and_places_vary_over_all_they_may() -> None:
    side = 64
    found = resized_crop(places(4000, side), 0.3, torch.rand(4, 4000, generator=seeded(3)))
    across = (found[:, 0, 8, 40] - found[:, 0, 8, 24]) * side / 16
    down = (found[:, 1, 40, 8] - found[:, 1, 24, 8]) * side / 16
    area = across * down
    assert area.min() < 0.31
    assert area.max() > 0.98
    assert area.mean().item() == pytest.approx(0.65, abs=0.02)
    assert (across / down).log().mean().item() == pytest.approx(0, abs=0.02)
    assert found[:, 0, 32, 32].mean().item() == pytest.approx(0.5, abs=0.02)


def test_a_window_of_the_whole_image_is_the_image() -> None:
    images = noise(6, 3, 33, 33)
    assert torch.equal(resized_crop(images, 1.0, torch.rand(4, 6, generator=seeded(1))), images)


@given(seed=st.integers(0, 2**31), strength=st.floats(0.01, 1), channels=st.sampled_from([1, 3]))
def test_colors_change_by_brightness_then_contrast_then_saturation(seed: int, strength: float, channels: int) -> None:
    images = noise(5, channels, 9, 9)
    numbers = torch.rand(3, 5, generator=seeded(seed))
    found = jittered_colors(images.double(), strength, numbers)
    for image, after, (brightness, contrast, saturation) in zip(
        images.double(), found, 1 + strength * (2 * numbers.T.double() - 1), strict=True
    ):
        shares = torch.tensor(LUMA, dtype=torch.float64).view(3, 1, 1) if channels == 3 else torch.ones(1, 1, 1)
        bright = brightness * image
        contrasted = contrast * bright + (1 - contrast) * (shares * bright).sum(0).mean()
        gray = (shares * contrasted).sum(0, keepdim=True)
        expected = saturation * contrasted + (1 - saturation) * gray if channels == 3 else contrasted
        torch.testing.assert_close(after, expected.clamp(0, 255), atol=1e-3, rtol=1e-4)


def test_gray_pixels_stay_gray() -> None:
    found = jittered_colors(noise(8, 1, 9, 9).expand(8, 3, 9, 9), 0.9, torch.rand(3, 8, generator=seeded(2)))
    assert torch.equal(found[:, :1].expand_as(found), found)


CHANGES = [{"crop_scale": 0.2}, {"color_jitter": 0.8}, {"crop_scale": 0.3, "color_jitter": 0.5, "flip": True}]


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: "+".join(changes))
def test_shape_type_layout_and_range_stay(
    changes: dict[str, Any], channels: int, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    before = noise(12, channels, 24, 24).to(dtype, memory_format=memory_format)
    kept = before.clone()
    after = Augment(**changes)(before, seeded(1))
    assert torch.equal(before, kept), "the images of the dataset were overwritten"
    assert (after.shape, after.dtype) == (before.shape, dtype)
    assert after.is_contiguous(memory_format=memory_format)
    assert after.amin() >= 0
    assert after.amax() <= 255
    different = (after != before).flatten(1).any(1)
    assert different.sum() > 8
    assert torch.equal(after, Augment(**changes)(before, seeded(1)))
    assert not torch.equal(after, Augment(**changes)(before, seeded(2)))


def test_an_augmentation_that_is_off_draws_no_random_numbers() -> None:
    images, generator = noise(4, 3, 16, 16), seeded(7)
    assert torch.equal(
        Augment(crop_padding=2, crop_scale=0.0, color_jitter=0.0)(images, generator),
        Augment(crop_padding=2)(images, seeded(7)),
    )


@pytest.mark.parametrize("wrong", [{"crop_scale": -0.1}, {"crop_scale": 1.1}, {"color_jitter": 2.0}])
def test_a_share_outside_0_to_1_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Augment(**wrong)  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_nothing_waits_for_it_and_the_images_are_those_of_the_cpu() -> None:
    augment = Augment(crop_scale=0.3, color_jitter=0.4)
    before = noise(64, 3, 96, 96)
    there = before.to("cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = augment(there, seeded(1))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    difference = (found.cpu().int() - augment(before, seeded(1)).int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.01
