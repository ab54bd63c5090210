"""Changes of a picture: nothing changes nothing, and every value does what it says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.contract.playground import SLIDERS, SWEPT, Changes
from worker.inference.changes import blurred, changed

IMAGE = torch.randint(0, 256, (3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_neutral_values_change_no_bit() -> None:
    neutral = Changes(**{slider.name: slider.neutral for slider in SLIDERS})
    assert neutral == Changes()
    # Neither does the company of one that is moved.
    found = changed(IMAGE, [neutral, Changes(rotation=30), neutral])
    assert torch.equal(found[0], IMAGE)
    assert torch.equal(found[2], IMAGE)
    assert not torch.equal(found[1], IMAGE)


@given(st.integers(-10, 10), st.integers(-10, 10))
def test_whole_pixels_are_shifted_exactly(right: int, down: int) -> None:
    found = changed(IMAGE, [Changes(shift_x=5.0 * right, shift_y=5.0 * down)])[0]
    expected = torch.zeros_like(IMAGE)
    to = [slice(max(0, by), 20 + min(0, by)) for by in (down, right)]
    of = [slice(max(0, -by), 20 + min(0, -by)) for by in (down, right)]
    expected[:, to[0], to[1]] = IMAGE[:, of[0], of[1]]
    assert (found.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (180, 2), (-90, 1)])
def test_a_picture_turns_clockwise(degrees: int, turns: int) -> None:
    found = changed(IMAGE, [Changes(rotation=degrees)])[0]
    assert (found.int() - torch.rot90(IMAGE, turns, (1, 2)).int()).abs().max() <= 1


def test_it_is_shifted_after_it_was_turned() -> None:
    found = changed(IMAGE, [Changes(rotation=90, shift_x=25)])[0]
    expected = torch.rot90(IMAGE, -1, (1, 2))[:, :, :15]
    assert (found[:, :, 5:].int() - expected.int()).abs().max() <= 1


def test_contrast_spreads_values_around_their_mean() -> None:
    gray = torch.tensor([[[100, 140]]], dtype=torch.uint8)
    assert changed(gray, [Changes(contrast=0)])[0].tolist() == [[[120, 120]]]
    assert changed(gray, [Changes(contrast=200)])[0].tolist() == [[[80, 160]]]


def test_a_blur_keeps_brightness_and_spreads_a_point_by_its_deviation() -> None:
    point = torch.zeros(1, 21, 21)
    point[0, 10, 10] = 1
    spread = blurred(point, 1.5)[0]
    assert float(spread.sum()) == pytest.approx(1, abs=1e-5)
    variance = (spread.sum(0) * (torch.arange(21) - 10.0) ** 2).sum()
    assert float(variance) == pytest.approx(1.5**2, rel=0.05)
    torch.testing.assert_close(blurred(torch.full((1, 5, 5), 7.0), 4.0), torch.full((1, 5, 5), 7.0))


def test_noise_is_the_same_for_the_same_seed() -> None:
    flat = torch.full((1, 60, 60), 128, dtype=torch.uint8)
    one, same, other = changed(flat, [Changes(noise=10), Changes(noise=10), Changes(noise=10, seed=1)])
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert float(one.float().std()) == pytest.approx(25.5, rel=0.05)


def test_a_slider_is_swept_from_end_to_end_past_what_changes_nothing() -> None:
    for slider in SLIDERS:
        values = slider.values(SWEPT)
        assert (values[0], values[-1], len(values)) == (slider.low, slider.high, SWEPT)
        assert any(value == pytest.approx(slider.neutral) for value in values)
        for value in values:
            Changes(**{slider.name: value})
