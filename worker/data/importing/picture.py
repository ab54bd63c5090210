"""Decodes an image file to what a person sees: 8-bit gray or RGB, upright, transparent parts on white."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from worker.data.importing.errors import Unusable
from worker.data.importing.scaling import scaled, wanted_size
from worker.data.importing.tasks import Encoded, Pixels
from worker.reporting.error_text import reason

_PLUGINS: Final = {
    "JPEG": JpegImagePlugin,
    "PNG": PngImagePlugin,
    "WEBP": WebPImagePlugin,
    "BMP": BmpImagePlugin,
    "DIB": BmpImagePlugin,
    "TIFF": TiffImagePlugin,
    "GIF": GifImagePlugin,
    "MPO": MpoImagePlugin,
    "PPM": PpmImagePlugin,
    "JPEG2000": Jpeg2KImagePlugin,
    "AVIF": AvifImagePlugin,
}
_FORMATS: Final = tuple(each for each in _PLUGINS if each in Image.OPEN)
"""No format that starts another program or refers to other files."""

MOST_PIXELS: Final = 178_000_000
"""Largest image that is decoded; as much as 0.7 GB in memory."""
_BANDED: Final = 24_000_000
"""Pixels from which an image is processed in bands, so that it is in memory only once."""
_BAND: Final = 4_000_000

_STARTS: Final = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation."""
_SIDEWAYS: Final = tuple(_TURNS[orientation] for orientation in (5, 6, 7, 8))


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image. ``width``, ``height``: upright, before scaling, in pixels. ``gray``: all channels are equal.

    ``mode``: as stored. ``checksum``: 16 bytes, equal for equal pixels of any format; for a large photo, whose full
    size is never decoded, of a reduced copy. ``pixels``: uint8 [C, side, side], not contiguous.
    """

    width: int
    height: int
    mode: str
    gray: bool
    checksum: bytes
    pixels: Pixels


def size_of(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height of an image from its file, or from its first bytes; None if they cannot be told."""
    try:
        with Image.open(file, formats=_FORMATS) as image:
            return image.size
    except Exception:  # damaged files make decoders raise anything
        return None


def decode(
    data: Encoded,
    side: int,
    fit: str,
    channels: int,
    alone: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Picture:
    """Decode an image file's content, or pixels [H, W] or [H, W, 1, 3 or 4], and scale it to a square.

    side: in pixels. fit: see `Fit`. channels: 1 only for images that are all gray. alone: entered while an image fills
    hundreds of megabytes, to let only one process do so at once. Raises Unusable.
    """
    try:
        if not isinstance(data, bytes):
            if data.ndim == 3 and data.shape[2] == 1:
                data = data[:, :, 0]
            return _picture(Image.fromarray(data), side, fit, channels)
        if not data:
            raise Unusable("empty", "has no content")
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise _too_large(f"{image.width:,} × {image.height:,} pixels")
            if image.format in ("JPEG", "MPO"):
                full = image.size
                image.draft(None, wanted_size(full, side, fit))
                return _picture(image, side, fit, channels, full)
            with alone() if image.width * image.height > _BANDED else nullcontext():
                return _picture(image, side, fit, channels)
    except Unusable:
        raise
    except UnidentifiedImageError:
        if isinstance(data, bytes) and data.startswith(_STARTS):
            raise Unusable("unreadable", "is damaged or truncated") from None
        raise Unusable("not an image", "is not a readable image") from None
    except Image.DecompressionBombError:
        raise _too_large("more pixels") from None
    except MemoryError:
        raise Unusable("too large", "does not fit into memory") from None
    except Exception as error:  # damaged files make decoders raise anything
        raise Unusable("unreadable", f"cannot be decoded ({reason(error)[:200]})") from error


def _too_large(what: str) -> Unusable:
    return Unusable("too large", f"has {what}; at most {MOST_PIXELS:,} are decoded")


def _picture(image: Image.Image, side: int, fit: str, channels: int, full: tuple[int, int] | None = None) -> Picture:
    """full: size of an image that will be decoded at a lower resolution."""
    mode = image.mode
    full = full or image.size
    image.load()
    # A TIFF is turned by loading it, and has no orientation then.
    turn = _orientation(image)
    if image.format == "TIFF":
        full = image.size
    drafted = image.size != full
    extrema = _extrema(image)
    values: Pixels | None = None
    if image.width * image.height > _BANDED:
        seen, gray, checksum = _in_bands(image, extrema, side, full)
        if turn is not None:
            seen = seen.transpose(turn)
            checksum = hashlib.blake2b(checksum + bytes([turn]), digest_size=16).digest()
    else:
        seen = _seen(image, extrema)
        if turn is not None:
            seen = seen.transpose(turn)
        values = np.asarray(seen)
        gray = _is_gray(values)
        if gray and values.ndim == 3:
            seen, values = seen.getchannel(0), np.ascontiguousarray(values[..., 0])
        hashed = _hasher(full if drafted else seen.size)
        hashed.update(values.data)
        checksum = hashed.digest()
    if turn in _SIDEWAYS:
        full = full[1], full[0]
    square = scaled(seen, side, fit)
    pixels = values if square is seen and values is not None else np.asarray(square)
    if pixels.ndim == 2:
        pixels = np.broadcast_to(pixels, (channels, side, side))
    elif channels == 1:
        pixels = np.asarray(square.convert("L"))[None]
    else:
        pixels = pixels.transpose(2, 0, 1)
    return Picture(*full, mode, gray, checksum, pixels)


def _orientation(image: Image.Image) -> Image.Transpose | None:
    if not ({"exif", "Raw profile type exif"} & image.info.keys()):
        return None
    try:
        return _TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:  # damaged metadata must not lose the image
        return None


def _hasher(size: tuple[int, int]) -> hashlib.blake2b:
    return hashlib.blake2b(f"{size[0]}x{size[1]} ".encode(), digest_size=16)


def _is_gray(pixels: Pixels) -> bool:
    """Whether pixels [H, W] or [H, W, 3] have no color."""
    if pixels.ndim == 2:
        return True
    # Most photos are seen to have color in their middle row.
    return all(
        np.array_equal(part[..., 0], part[..., channel])
        for part in (pixels[len(pixels) // 2], pixels)
        for channel in (1, 2)
    )


def _extrema(image: Image.Image) -> tuple[float, float]:
    if image.mode == "I":
        low, high = image.getextrema()
        return _number(low), _number(high)
    if image.mode == "F":
        values = np.asarray(image)
        values = values[np.isfinite(values)]
        return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    return 0.0, 0.0


def _number(value: float | tuple[float, float]) -> float:
    assert not isinstance(value, tuple)
    return float(value)


def _seen(image: Image.Image, extrema: tuple[float, float]) -> Image.Image:
    """An image of any mode as "L" or "RGB". extrema: of all its values, for the modes "I" and "F"."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(_from_range(np.asarray(image), 0.0, 65535.0))
    if image.mode in ("I", "F"):
        return Image.fromarray(_from_range(np.asarray(image), *_range(image.mode, *extrema)))
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        white = Image.new("RGB", seen.size, "white")
        white.paste(seen, mask=seen.getchannel("A"))
        return white
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _range(mode: str, low: float, high: float) -> tuple[float, float]:
    """Values that are black and white: the usual range of such numbers, or else the image's own."""
    for usual in (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0):
        if low >= 0 and high <= usual:
            return 0.0, usual
    return low, high


def _from_range(values: npt.NDArray[np.generic], black: float, white: float) -> Pixels:
    exact = np.nan_to_num(values.astype(np.float32), nan=black, posinf=white, neginf=black)
    spread = (exact - np.float32(black)) * np.float32(255.0 / max(white - black, 1e-30))
    result: Pixels = np.clip(np.rint(spread), 0, 255).astype(np.uint8)
    return result


def _in_bands(
    image: Image.Image, extrema: tuple[float, float], side: int, full: tuple[int, int]
) -> tuple[Image.Image, bool, bytes]:
    """A large image, reduced to at least twice the side; whether it is gray, and its checksum."""
    width, height = image.size
    factor = max(1, min(width, height) // (2 * side))
    rows = max(1, _BAND // width // factor) * factor
    reduced = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    hashed = _hasher(full)
    gray = True
    for top in range(0, height, rows):
        seen = _seen(image.crop((0, top, width, min(height, top + rows))), extrema).convert("RGB")
        gray = gray and _is_gray(np.asarray(seen))
        hashed.update(seen.tobytes())
        reduced.paste(seen.reduce(factor), (0, top // factor))
    return (reduced.getchannel(0) if gray else reduced), gray, hashed.digest()
