"""Images of every kind are decoded to what a person sees."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.worker.data.importing.making import Pixels, bomb, encoded, pixels, png_file
from worker.data.importing.errors import Unusable
from worker.data.importing.picture import decode

SIDE = 8


def seen(data: bytes | Pixels, side: int = SIDE, fit: str = "crop") -> Pixels:
    return np.ascontiguousarray(decode(data, side, fit, 3).pixels)


def quarters() -> Pixels:
    """An image of 8 × 8 pixels with a different color in each quarter."""
    image = np.zeros((8, 8, 3), np.uint8)
    image[:4, :4], image[:4, 4:], image[4:, :4], image[4:, 4:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    return image


def chw(image: Pixels) -> Pixels:
    return image.transpose(2, 0, 1)


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "ppm"])
def test_an_image_that_has_the_side_is_unchanged(kind: str) -> None:
    image = pixels(1, 8, 8)
    assert (seen(encoded(image, kind)) == chw(image)).all()


@pytest.mark.parametrize("kind", ["webp", "jpeg", "gif"])
def test_formats_that_lose_detail_keep_flat_colors(kind: str) -> None:
    image = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    assert np.abs(seen(encoded(image, kind)).astype(int) - chw(image)).max() <= 6


def test_16_bit_gray_keeps_its_brightness() -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for kind in ("png", "tiff"):
        picture = decode(encoded(Image.fromarray(values), kind), SIDE, "crop", 3)
        assert picture.mode == "I;16"
        assert picture.gray
        assert (picture.pixels[0] == np.rint(values / 257)).all()


def test_16_bit_colors_keep_their_high_byte() -> None:
    rows = b"".join(b"\0" + struct.pack(">24H", *[0x1234, 0x80FF, 0xFF00] * 8) for _ in range(8))
    content = png_file(struct.pack(">2I5B", 8, 8, 16, 2, 0, 0, 0), zlib.compress(rows))
    assert seen(content)[:, 0, 0].tolist() == [0x12, 0x80, 0xFF]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_gray_of_few_bits_is_spread_from_black_to_white(bits: int) -> None:
    rows = (b"\0" + b"\xff" * bits) * 4 + (b"\0" * (1 + bits)) * 4
    content = png_file(struct.pack(">2I5B", 8, 8, bits, 0, 0, 0, 0), zlib.compress(rows))
    image = seen(content)
    assert set(image[:, :4].ravel().tolist()) == {255}
    assert set(image[:, 4:].ravel().tolist()) == {0}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 128, 255]], np.int32), [0, 128, 255]),
        (np.array([[0, 25700, 65535]], np.int32), [0, 100, 255]),
        (np.array([[-1000, 0, 1000]], np.int32), [0, 128, 255]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 128, 255]], np.float32), [0, 128, 255]),
        (np.array([[-4, np.nan, 4]], np.float32), [0, 0, 255]),
    ],
)
def test_whole_and_real_numbers_are_spread_from_black_to_white(values: Any, expected: list[int]) -> None:
    repeated = np.repeat(np.repeat(values, 8, 0), 3, 1)[:, :8]
    picture = decode(encoded(Image.fromarray(repeated), "tiff"), SIDE, "crop", 3)
    assert picture.mode in ("I", "F")
    assert picture.pixels[0, 0, ::3].tolist() == expected


def test_gray_with_alpha_is_put_on_white() -> None:
    image = Image.new("LA", (8, 8), (100, 0))
    image.paste((100, 255), (0, 0, 8, 4))
    picture = decode(encoded(image), SIDE, "crop", 3)
    assert (picture.pixels[:, :4] == 100).all()
    assert (picture.pixels[:, 4:] == 255).all()
    assert (picture.mode, picture.gray) == ("LA", True)


def test_half_transparent_colors_are_mixed_with_white() -> None:
    assert seen(encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 128))))[:, 0, 0].tolist() == [255, 127, 127]


def test_a_palette_with_a_transparent_color_is_put_on_white() -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(1, (0, 0, 8, 4))
    content = encoded(image, transparency=0)
    assert seen(content)[:, 0, 0].tolist() == [200, 100, 50]
    assert seen(content)[:, 7, 0].tolist() == [255, 255, 255]


def test_a_palette_without_transparency_has_its_colors() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    assert seen(encoded(image))[:, 0, 0].tolist() == [200, 100, 50]


@pytest.mark.parametrize("kind", ["jpeg", "tiff"])
def test_cmyk_has_the_colors_that_are_printed(kind: str) -> None:
    # Adobe's JPEG files have inverted values, as Pillow writes them.
    content = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), kind)
    picture = decode(content, SIDE, "crop", 3)
    assert picture.mode == "CMYK"
    assert np.abs(picture.pixels[:, 0, 0].astype(int) - (255, 0, 0)).max() <= 4


def _turned(image: Pixels, orientation: int) -> Pixels:
    """The image as a camera stores it with this orientation."""
    changes: dict[int, Callable[[Pixels], Pixels]] = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: np.rot90(x, 1),
        7: lambda x: np.rot90(x, 2).transpose(1, 0, 2),
        8: lambda x: np.rot90(x, -1),
    }
    return np.ascontiguousarray(changes[orientation](image))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
def test_an_image_is_turned_as_its_exif_orientation_says(kind: str, orientation: int) -> None:
    image = np.kron(quarters()[::4, ::4], np.ones((16, 32, 1), np.uint8))  # 32 high, 64 wide
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if kind in ("jpeg", "webp") else {}
    content = encoded(_turned(image, orientation), kind, exif=exif, **options)
    picture = decode(content, 32, "squash", 3)
    assert (picture.width, picture.height) == (64, 32)
    corners = picture.pixels[:, [4, 4, 28, 28], [4, 28, 4, 28]].T
    assert np.abs(corners.astype(int) - image[[4, 4, 28, 28], [4, 60, 4, 60]]).max() < 20


def test_of_an_animation_the_first_frame_is_seen() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue", "lime")]
    content = encoded(frames[0], "gif", save_all=True, append_images=frames[1:])
    assert seen(content)[:, 4, 4].tolist() == [255, 0, 0]


def test_crop_keeps_the_middle() -> None:
    image = np.zeros((8, 24, 3), np.uint8)
    image[:, 8:16] = 200
    assert (seen(encoded(image)) == 200).all()


def test_squash_keeps_everything() -> None:
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, 8:] = 200
    found = seen(encoded(image), fit="squash")
    assert (found[:, :, 0] < 10).all()
    assert (found[:, :, 7] > 190).all()


def test_pad_adds_black_at_both_sides() -> None:
    found = seen(encoded(np.full((4, 8, 3), 200, np.uint8)), fit="pad")
    assert (found[:, 2:6] == 200).all()
    assert (found[:, :2] == 0).all()
    assert (found[:, 6:] == 0).all()


def test_one_pixel_becomes_a_square() -> None:
    assert (seen(encoded(np.full((1, 1, 3), 77, np.uint8))) == 77).all()


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_an_image_of_one_row_becomes_a_square(fit: str) -> None:
    assert seen(encoded(np.full((1, 3000, 3), 77, np.uint8)), fit=fit).shape == (3, 8, 8)


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_a_large_photo_decoded_at_a_lower_resolution_looks_the_same(fit: str) -> None:
    ramp = np.linspace(0, 255, 1600).astype(np.uint8)
    image = np.stack([np.tile(ramp, (1200, 1)), np.tile(ramp[:1200, None], (1, 1600)), np.full((1200, 1600), 90)], 2)
    image = image.astype(np.uint8)
    photo, exact = (decode(encoded(image, kind), 64, fit, 3) for kind in ("jpeg", "png"))
    assert (photo.width, photo.height) == (1600, 1200)
    assert np.abs(photo.pixels.astype(int) - exact.pixels).mean() < 2


def test_equal_pixels_have_the_same_checksum_in_every_format() -> None:
    image = pixels(3, 20, 30)
    checksums = {decode(encoded(image, kind), SIDE, "crop", 3).checksum for kind in ("png", "bmp", "tiff")}
    assert len(checksums) == 1
    image[0, 0, 0] ^= 1
    assert decode(encoded(image), SIDE, "crop", 3).checksum not in checksums


def test_gray_and_colored_files_of_the_same_gray_have_the_same_checksum() -> None:
    gray = pixels(4, 8, 8)[..., 0]
    one, other = (decode(encoded(x), SIDE, "crop", 3) for x in (gray, np.repeat(gray[..., None], 3, 2)))
    assert one.checksum == other.checksum
    assert one.gray
    assert other.gray
    assert (one.pixels == other.pixels).all()


def test_images_of_the_same_bytes_and_other_shape_are_no_duplicates() -> None:
    image = pixels(5, 4, 9)
    other = image.reshape(9, 4, 3)
    assert decode(encoded(image), 8, "crop", 3).checksum != decode(encoded(other), 8, "crop", 3).checksum


def test_very_large_images_are_processed_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(pixels(6, 12, 16)).resize((640, 480))
    whole = decode(encoded(image), 64, "crop", 3)
    monkeypatch.setattr("worker.data.importing.picture._BANDED", 1000)
    monkeypatch.setattr("worker.data.importing.picture._BAND", 10_000)
    banded = decode(encoded(image), 64, "crop", 3)
    assert banded.checksum == whole.checksum
    assert np.abs(banded.pixels.astype(int) - whole.pixels).mean() < 3


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "tiff", "bmp"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_a_file_that_is_cut_off_cannot_be_read(kind: str, part: float) -> None:
    content = encoded(pixels(7, 200, 200), kind)
    with pytest.raises(Unusable) as error:
        seen(content[: int(len(content) * part)])
    assert error.value.kind == "unreadable"


@pytest.mark.parametrize(
    "content", [b"hello, I am a text\n" * 20, b"<svg/>", b"\0" * 100, b"%!PS-Adobe EPSF", b"PK\3\4"]
)
def test_a_file_of_another_kind_is_no_image(content: bytes) -> None:
    with pytest.raises(Unusable) as error:
        seen(content)
    assert error.value.kind == "not an image"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_damage_never_raises_anything_else() -> None:
    random = np.random.RandomState(0)
    for kind in ("png", "jpeg", "gif", "webp", "tiff", "bmp"):
        content = encoded(pixels(8, 40, 40), kind)
        for _ in range(25):
            damaged = bytearray(content)
            for place in random.randint(0, len(content), 4):
                damaged[place] = random.randint(256)
            with suppress(Unusable):
                assert seen(bytes(damaged)).shape == (3, 8, 8)


def test_an_image_with_too_many_pixels_is_not_decoded() -> None:
    content = bomb()
    with pytest.raises(Unusable) as error:
        seen(content)
    assert error.value.kind == "too large"


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (8, 8, 4)])
def test_arrays_are_images_too(shape: tuple[int, ...]) -> None:
    image = np.full(shape, 255, np.uint8)
    image[:4, ..., :3] = 9
    found = seen(image)
    assert (found[:, :4] == 9).all() if len(shape) == 3 else found.shape == (3, 8, 8)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_metadata_does_not_lose_the_image() -> None:
    file = io.BytesIO()
    Image.fromarray(pixels(9, 8, 8)).save(file, "jpeg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert seen(file.getvalue()).shape == (3, 8, 8)
