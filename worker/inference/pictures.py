"""Makes of any picture what a network was trained on: its size, its channels, and for drawn signs their place."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from app.contract.dataset import Dataset
from app.contract.datasets import DATASETS
from app.contract.playground import Center
from worker.data.importing.errors import Unusable
from worker.data.importing.picture import decode, size_of
from worker.data.importing.tasks import Pixels

MOST_PIXELS: Final = 40_000_000
"""Pixels of the largest picture that is decoded on request."""
SKETCH: Final = 280
"""Longer side in pixels at which a drawing is looked at before it is placed."""
INK: Final = 0.1
"""Share of the brightest stroke from which a pixel belongs to the drawing."""

Floats = npt.NDArray[np.float32]

_SIGNATURES: Final = (
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML document, such as an SVG drawing"),
    (b"<!DOCTYPE html", "an HTML page"),
    (b"<html", "an HTML page"),
)


@dataclass(frozen=True)
class Drawn:
    """How the signs of a dataset lie in their images, of ``side`` pixels.

    box: the sign is scaled to fit a square of this side. by_mass: its center of mass, not that of its box, is in the
    middle. grid: the image was enlarged bilinearly from one of this side; 0: it was not.
    """

    box: int
    by_mass: bool = True
    grid: int = 0


MNIST_BOX: Final = 20 / 28
"""LeCun et al. 1998: digits are scaled to 20 × 20, and centered in 28 × 28 by their center of mass."""
DIGITS: Final = Drawn(8, by_mass=False, grid=8)
"""UCI's digits fill an image of 8 × 8, which is enlarged."""


@dataclass(frozen=True)
class Feed:
    """How pictures become inputs of networks trained on a dataset. ``drawn``: for signs drawn by hand, else None."""

    channels: int
    side: int
    fit: str = "crop"
    drawn: Drawn | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> Feed:
        """As the images of this dataset were made."""
        feed = cls(dataset.channels, dataset.side)
        if dataset.version:
            own = DATASETS.own.get(dataset.name, dataset.version) if DATASETS.own else None
            return feed if own is None else replace(feed, fit=own.choices.fit)
        if dataset.name == "digits":
            return replace(feed, drawn=DIGITS)
        # Only drawn signs are measured.
        return replace(feed, drawn=Drawn(round(MNIST_BOX * dataset.side))) if dataset.auxiliary else feed

    def pixels(self, content: bytes | Pixels, center: Center = "auto") -> Pixels:
        """A picture as the network is fed with it, uint8 [channels, side, side]. Raises Unusable.

        content: of an image file, or pixels [H, W] or [H, W, C].
        """
        size = _size(content)
        placed = center == "on" or (center == "auto" and self.drawn is not None and size != (self.side, self.side))
        if not placed:
            return np.ascontiguousarray(decode(content, self.side, self.fit, self.channels).pixels)
        how = self.drawn or Drawn(round(MNIST_BOX * self.side))
        sign = place(sketch(content), self.side, how)
        return np.ascontiguousarray(np.broadcast_to(sign, (self.channels, self.side, self.side)))


def _size(content: bytes | Pixels) -> tuple[int, int]:
    """Width and height. Raises Unusable for what cannot be read."""
    if not isinstance(content, bytes):
        return content.shape[1], content.shape[0]
    start = content[:256].lstrip()
    for signature, what in _SIGNATURES:
        if start[: len(signature)].lower() == signature.lower():
            raise Unusable("not an image", f"is not an image but {what}")
    channels = _tiff_channels(content)
    if channels not in (1, 2, 3, 4):
        raise Unusable("unreadable", f"has {channels} channels; images with 1 to 4 can be read")
    size = size_of(io.BytesIO(content))
    if size is None:
        try:
            decode(content, 1, "crop", 1)  # says why
        except Unusable as problem:
            if problem.kind == "too large":
                raise Unusable("too large", f"has more than {MOST_PIXELS:,} pixels, which is the limit") from problem
            raise
        raise Unusable("unreadable", "is damaged or truncated")
    if size[0] * size[1] > MOST_PIXELS:
        raise Unusable("too large", f"has {size[0]:,} × {size[1]:,} pixels; at most {MOST_PIXELS:,} are allowed")
    return size


def _tiff_channels(content: bytes) -> int:
    """Channels of a TIFF; 1 for every other file, whose formats allow no wrong number."""
    if not content.startswith((b"II*\0", b"MM\0*")):
        return 1
    try:
        entries = ImageFileDirectory_v2(content[:8])
        file = io.BytesIO(content)
        file.seek(entries.next)
        entries.load(file)
        return int(entries.get(277, 1))
    except Exception:  # a damaged file, about which decoding says more
        return 1


def sketch(content: bytes | Pixels) -> Floats:
    """A drawing as strokes on black, float32 [H, W] in 0..1, undistorted, its longer side SKETCH pixels.

    Whatever the border shows most is the paper; a drawing on bright paper is inverted. Raises Unusable.
    """
    picture = decode(content, SKETCH, "squash", 1)
    longer = max(picture.width, picture.height)
    wide, high = (max(1, round(SKETCH * length / longer)) for length in (picture.width, picture.height))
    image = Image.fromarray(np.ascontiguousarray(picture.pixels[0]))
    values = np.asarray(image.resize((wide, high), Image.Resampling.BILINEAR), np.float32) / 255
    paper = float(np.median(np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])))
    ink = paper - values if paper > 0.5 else values - paper
    most = float(ink.max())
    if most < INK:
        return np.zeros_like(values)
    return np.asarray(np.clip(ink / most, 0, 1), np.float32)


def place(ink: Floats, side: int, how: Drawn) -> Pixels:
    """Strokes on black [H, W] in 0..1, scaled and placed as a dataset's: uint8 [side, side]. No strokes: all black."""
    grid = how.grid or side
    field = np.zeros((grid, grid), np.float32)
    rows, columns = np.flatnonzero((ink > INK).any(1)), np.flatnonzero((ink > INK).any(0))
    if rows.size:
        cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        scale = how.box / max(cut.shape)
        high, wide = (max(1, round(scale * length)) for length in cut.shape)
        small = np.asarray(Image.fromarray(cut).resize((wide, high), Image.Resampling.BILINEAR), np.float32)
        small = np.clip(small, 0, 1)
        middle = _mass(small) if how.by_mass else (high / 2, wide / 2)
        top, left = (
            min(max(round(grid / 2 - center), 0), grid - length)
            for center, length in zip(middle, (high, wide), strict=True)
        )
        field[top : top + high, left : left + wide] = small
    if grid != side:
        field = np.asarray(Image.fromarray(field).resize((side, side), Image.Resampling.BILINEAR), np.float32)
    return np.clip(np.rint(255 * field), 0, 255).astype(np.uint8)


def _mass(values: Floats) -> tuple[float, float]:
    """The center of mass, in pixels from the upper left corner."""
    total = float(values.sum()) or 1.0
    down = float(values.sum(1) @ (np.arange(values.shape[0]) + 0.5)) / total
    across = float(values.sum(0) @ (np.arange(values.shape[1]) + 0.5)) / total
    return down, across
