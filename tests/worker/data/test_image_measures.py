"""Measures of shapes whose values are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.draw import polygon2mask

from app.contract.datasets import DATASETS
from worker.data.image_measures import (
    BINNED,
    CHUNK,
    MEASURES,
    Images,
    Measured,
    bin_edges,
    bin_values,
    columns,
    measure,
)

SIDE, FINE = 28, 8
MIDDLE = SIDE / 2

Floats = npt.NDArray[np.float64]


def drawn(inside: npt.NDArray[np.bool_]) -> Images:
    """A shape [224, 224] as a camera of 28×28 pixels sees it."""
    shares: Floats = inside.reshape(SIDE, FINE, SIDE, FINE).mean(axis=(1, 3))
    return np.round(shares * 255).astype(np.uint8)


def grid() -> tuple[Floats, Floats]:
    """Coordinates up and to the right from the image's middle, in px, [224, 224] each."""
    y, x = np.mgrid[: SIDE * FINE, : SIDE * FINE]
    return MIDDLE - (y + 0.5) / FINE, (x + 0.5) / FINE - MIDDLE


def stroke(width: float, lean: float = 0.0, length: float = 16.0) -> Images:
    """A stroke with round ends; lean: from the vertical to the right, in degrees."""
    up, right = grid()
    angle = np.radians(lean)
    along = up * np.cos(angle) + right * np.sin(angle)
    aside = up * np.sin(angle) - right * np.cos(angle)
    beyond = np.maximum(np.abs(along) - length / 2, 0)
    return drawn(np.hypot(beyond, aside) <= width / 2)


def polygon(radii: list[float], angle: float = 0.0) -> Images:
    """Corners at these distances from the middle, at equal angles all around."""
    at = np.radians(angle) + np.arange(len(radii)) * 2 * np.pi / len(radii)
    corners = np.stack([MIDDLE - radii * np.cos(at), MIDDLE + radii * np.sin(at)], axis=1)
    inside = polygon2mask((SIDE * FINE, SIDE * FINE), corners * FINE)  # type: ignore[no-untyped-call, unused-ignore]
    return drawn(inside)


def circle(radius: float, angle: float = 0.0) -> Images:
    up, right = grid()
    return drawn(np.hypot(up, right) <= radius)


def square(radius: float, angle: float) -> Images:
    return polygon([radius] * 4, angle)


def star(radius: float, angle: float) -> Images:
    return polygon([radius, 0.45 * radius] * 5, angle)


def measured(*images: Images) -> Measured:
    return np.concatenate(list(measure(np.stack(images))))


def of(name: str, *images: Images) -> Measured:
    found: Measured = columns([name], measured(*images))[:, 0]
    return found


LEANS = range(0, 180, 15)


@pytest.mark.parametrize("width", [2.0, 3.0, 4.0, 5.0, 6.0, 8.0])
def test_a_stroke_is_as_thick_as_it_was_drawn_whichever_way_it_leans(width: float) -> None:
    found = of("thickness", *(stroke(width, lean) for lean in LEANS))
    assert np.all(np.abs(found - width) < 0.4)


def test_strokes_are_ordered_by_their_thickness() -> None:
    widths = np.arange(2.0, 8.5, 0.5)
    found = np.stack([of("thickness", *(stroke(width, lean) for lean in LEANS)) for width in widths])
    assert np.all(np.diff(found[::2], axis=0) > 0.3)  # a pixel more is seen whichever way the stroke leans
    assert np.all(np.diff(found.mean(axis=1)) > 0.1)  # and half a pixel on average


def test_a_stroke_has_the_length_and_area_it_was_drawn_with() -> None:
    for width in (2.0, 4.0, 6.0):
        strokes = [stroke(width, lean) for lean in LEANS]
        assert of("stroke_length", *strokes) == pytest.approx(16.0, abs=2.0)
        assert of("area", *strokes) == pytest.approx(16 * width + np.pi * width**2 / 4, rel=0.08)


@given(st.floats(-40, 40))
def test_a_stroke_leans_as_far_as_it_was_drawn(lean: float) -> None:
    (found,) = of("slant", stroke(3.0, lean))
    assert found == pytest.approx(lean, abs=2.0)
    (mirrored,) = of("slant", stroke(3.0, lean)[:, ::-1])
    assert mirrored == pytest.approx(-found, abs=1e-3)


def test_height_over_width_is_that_of_the_upright_box_around() -> None:
    flat = np.zeros((SIDE, SIDE), dtype=np.uint8)
    flat[4:24, 10:15] = 255
    assert of("height_to_width", flat, flat.T) == pytest.approx([4.0, 0.25], rel=0.05)


@pytest.mark.parametrize("radius", [6.0, 8.0, 10.0, 12.0])
@pytest.mark.parametrize("angle", [0.0, 10.0, 25.0, 45.0, 70.0])
def test_a_star_turns_more_than_a_square_and_a_square_more_than_a_circle_at_every_size_and_angle(
    radius: float, angle: float
) -> None:
    round_, cornered, pointed = of("turning", circle(radius), square(radius, angle), star(radius, angle))
    assert round_ < cornered - 0.1
    assert cornered < pointed - 1.0


@pytest.mark.parametrize("radius", [4.0, 6.0, 8.0, 10.0, 12.0])
def test_a_circle_turns_by_two_at_every_size(radius: float) -> None:
    assert of("turning", circle(radius)) == pytest.approx(2.0, abs=0.03)


def test_a_long_bar_turns_by_nearly_half_a_circle() -> None:
    assert of("turning", *(stroke(2.0, lean, length=20.0) for lean in LEANS)) == pytest.approx(np.pi, abs=0.4)


@pytest.mark.parametrize("draw", [circle, square, star])
def test_turning_a_shape_changes_its_measures_little(draw: Callable[[float, float], Images]) -> None:
    names = ["area", "turning"]  # and not the thickness: only of strokes does a skeleton say which way they go
    found = columns(names, measured(*(draw(10.0, angle) for angle in range(0, 90, 9))))
    assert np.all(np.ptp(found, axis=0) < 0.2 * found.mean(axis=0))


def test_an_image_with_nothing_on_it_measures_nothing() -> None:
    assert not measured(np.zeros((SIDE, SIDE), dtype=np.uint8)).any()


def test_a_single_pixel_is_a_round_dot_without_length() -> None:
    for row, column in ((0, 0), (14, 3), (27, 27)):
        dot = np.zeros((SIDE, SIDE), dtype=np.uint8)
        dot[row, column] = 1
        found = dict(zip(MEASURES, measured(dot)[0].tolist(), strict=True))
        assert found["stroke_length"] == 0
        assert found["turning"] == pytest.approx(2.0, abs=0.1)
        assert found["height_to_width"] == 1
        assert 1 < found["thickness"] < 2


def test_a_sign_may_fill_the_image_to_its_edges() -> None:
    found = dict(zip(MEASURES, measured(np.full((SIDE, SIDE), 255, dtype=np.uint8))[0].tolist(), strict=True))
    assert found["area"] == pytest.approx(SIDE**2, rel=0.01)
    assert found["thickness"] == pytest.approx(SIDE, abs=1)


@given(arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12))))
def test_whatever_is_on_an_image_its_measures_are_finite(images: Images) -> None:
    found = measured(*images)
    assert found.shape == (len(images), len(MEASURES))
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    ink = images.any(axis=(1, 2))
    assert np.array_equal(columns(["area"], found)[:, 0] > 0, ink)
    assert np.array_equal(columns(["height_to_width"], found)[:, 0] > 0, ink)


def _two_pixels_one_half_as_bright() -> Images:
    sign = np.zeros((10, 10), dtype=np.uint8)
    sign[0, 0], sign[4, 4] = 75, 150
    return sign


@given(arrays(np.uint8, (10, 10)), st.integers(0, 18), st.integers(0, 18))
@example(_two_pixels_one_half_as_bright(), 0, 0)
def test_where_a_sign_stands_changes_none_of_its_measures(sign: Images, down: int, across: int) -> None:
    image = np.zeros((SIDE, SIDE), dtype=np.uint8)
    image[9:19, 9:19] = sign
    moved = np.roll(image, (down - 9, across - 9), axis=(0, 1))
    np.testing.assert_allclose(measured(moved), measured(image), rtol=1e-3, atol=1e-3)


@given(arrays(np.uint8, (10, 10), elements=st.integers(0, 127)))
def test_how_bright_a_sign_is_changes_none_of_its_measures(sign: Images) -> None:
    np.testing.assert_allclose(measured(sign * np.uint8(2)), measured(sign), rtol=1e-3, atol=1e-3)


def test_images_come_back_in_their_order_chunk_by_chunk() -> None:
    images = np.zeros((CHUNK + 10, SIDE, SIDE), dtype=np.uint8)
    for i, image in enumerate(images):
        image[2:4, 2 : 3 + i % 20] = 255
    chunks = list(measure(images))
    assert [len(chunk) for chunk in chunks] == [CHUNK, 10]
    assert np.array_equal(np.concatenate(chunks), np.concatenate([measured(image) for image in images]))


# Classes


@given(st.sampled_from(sorted(BINNED)), st.integers(2, 7), st.integers(7, 200), st.integers(0, 2**32 - 1))
def test_classes_have_equal_shares_of_the_training_images_and_follow_their_measure(
    target: str, classes: int, n: int, seed: int
) -> None:
    training = np.random.RandomState(seed).normal(size=(n, len(MEASURES))).astype(np.float32)
    values = bin_values(target, training, bin_edges(target, classes, training))
    shares = np.bincount(values, minlength=classes)
    assert len(shares) == classes
    assert np.ptp(shares) <= 2
    name, direction = BINNED[target]
    by_measure = values[np.argsort(columns([name], training)[:, 0])]
    assert np.all(direction * np.diff(by_measure) >= 0)


@given(arrays(np.float32, (20, len(MEASURES)), elements=st.floats(0, 10, width=32)))
def test_images_beyond_all_training_images_get_the_outermost_classes(training: Measured) -> None:
    edges = bin_edges("thickness", 5, training)
    beyond = np.stack([np.full(len(MEASURES), -1.0), np.full(len(MEASURES), 11.0)]).astype(np.float32)
    assert bin_values("thickness", beyond, edges).tolist() == [0, 4]


def test_a_circle_is_smoother_than_a_star() -> None:
    found = measured(*(draw(r, 0) for r in (8.0, 10.0, 12.0) for draw in (circle, square, star)))
    assert bin_values("smoothness", found, bin_edges("smoothness", 3, found)).tolist() == [2, 1, 0] * 3


def test_every_measured_target_and_scalar_of_a_dataset_is_measured() -> None:
    for facts in DATASETS.values():
        assert {scalar.name for scalar in facts.auxiliary} <= set(MEASURES)
        assert {target.name for target in facts.targets if target.measured} <= set(BINNED)
