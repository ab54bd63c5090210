"""What becomes of a picture before a network sees it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from app.contract.datasets import DATASETS
from worker.data.dataset_readers import digits
from worker.data.importing.errors import Unusable
from worker.inference.pictures import DIGITS, Drawn, Feed, place, sketch

MNIST = Feed.of(DATASETS["mnist"])


def encoded(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    """An image as a file."""
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def stroke(size: tuple[int, int], line: tuple[int, int, int, int], ink: int = 255, paper: int = 0) -> Image.Image:
    """A line on paper."""
    image = Image.new("L", size, paper)
    ImageDraw.Draw(image).line(line, ink, 12)
    return image


def test_a_picture_of_the_dataset_is_fed_as_it_is() -> None:
    for image in digits().images[:5].numpy():
        for center in ("auto", "off"):
            fed = Feed.of(DATASETS["digits"]).pixels(encoded(Image.fromarray(image[0])), center)
            assert fed.tolist() == image.tolist()


def test_only_drawn_signs_are_placed_unless_that_is_asked_for() -> None:
    assert MNIST.drawn == Drawn(20)
    assert Feed.of(DATASETS["digits"]).drawn == DIGITS
    assert Feed.of(DATASETS["cifar10"]).drawn is None
    drawing = encoded(stroke((280, 280), (40, 40, 60, 240)))
    placed, plain = MNIST.pixels(drawing), MNIST.pixels(drawing, "off")
    assert placed.shape == plain.shape == (1, 28, 28)
    assert placed.tolist() != plain.tolist()
    assert Feed(1, 28).pixels(drawing).tolist() == plain.tolist()
    assert Feed(1, 28).pixels(drawing, "on").tolist() == placed.tolist()


@given(
    left=st.integers(20, 150),
    top=st.integers(20, 150),
    across=st.integers(0, 100),
    down=st.integers(30, 100),
    inverted=st.booleans(),
)
def test_a_sign_fits_20_pixels_and_its_mass_is_in_the_middle(
    left: int, top: int, across: int, down: int, inverted: bool
) -> None:
    ink, paper = (0, 255) if inverted else (255, 0)
    drawing = encoded(stroke((280, 280), (left, top, left + across, top + down), ink, paper))
    fed = MNIST.pixels(drawing)[0].astype(float)
    rows, columns = np.flatnonzero(fed.any(1)), np.flatnonzero(fed.any(0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    middle = [fed.sum(1) @ (np.arange(28) + 0.5) / fed.sum(), fed.sum(0) @ (np.arange(28) + 0.5) / fed.sum()]
    assert middle == pytest.approx([14, 14], abs=0.51)


@given(dx=st.integers(-60, 60), dy=st.integers(-60, 60), scale=st.sampled_from([1, 2]))
def test_where_and_how_large_a_sign_was_drawn_makes_no_difference(dx: int, dy: int, scale: int) -> None:
    def at(x: int, y: int, times: int) -> np.ndarray[Any, Any]:
        field = np.zeros((280, 280), np.float32)
        for row, column in ((0, 0), (0, 20), (20, 20), (40, 10)):
            top, left = y + times * row, x + times * column
            field[top : top + 20 * times, left : left + 20 * times] = 1
        return place(field, 28, Drawn(20)).astype(int)

    # Twice as large, the filter has other pixels to choose from.
    assert np.abs(at(80, 80, 1) - at(80 + dx, 80 + dy, scale)).max() <= (0 if scale == 1 else 6)


def test_an_empty_drawing_is_black() -> None:
    assert MNIST.pixels(encoded(Image.new("L", (280, 280)))).max() == 0
    assert MNIST.pixels(encoded(Image.new("L", (280, 280), 255))).max() == 0


def test_a_drawing_that_is_not_square_keeps_its_shape() -> None:
    ink = sketch(encoded(stroke((100, 300), (50, 20, 50, 280))))
    assert ink.shape == (280, 93)


def test_transparent_paper_is_bright_paper() -> None:
    image = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    ImageDraw.Draw(image).line((100, 20, 100, 180), (0, 0, 0, 255), 14)
    fed = MNIST.pixels(encoded(image))[0]
    assert fed[14, 14] > 200
    assert fed[0, 0] == 0


def test_a_photo_is_turned_as_its_exif_says() -> None:
    image = Image.new("RGB", (60, 60), "black")
    image.paste((255, 255, 255), (0, 0, 60, 30))
    exif = Image.Exif()
    exif[0x0112] = 3
    fed = Feed.of(DATASETS["cifar10"]).pixels(encoded(image, "JPEG", exif=exif))
    assert fed[:, :10].mean() < 50 < 200 < fed[:, -10:].mean()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"%PDF-1.4", "is not an image but a PDF"),
        (b"  <svg xmlns='x'/>", "is not an image but an SVG drawing"),
        (b"PK\x03\x04...", "is not an image but a ZIP archive or an office document"),
        (b"abc", "is not a readable image"),
        (encoded(Image.new("L", (9, 9)))[:30], "is damaged or truncated"),
    ],
)
def test_what_is_no_picture_is_named(content: bytes, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        MNIST.pixels(content)


def test_pixels_are_taken_too() -> None:
    color = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert Feed.of(DATASETS["cifar10"]).pixels(color).tolist() == color.transpose(2, 0, 1).tolist()
