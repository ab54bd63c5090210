"""Scales images to squares."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from worker.data.importing.tasks import Pixels

THUMBNAIL = 8
"""Side of the thumbnails by which images are compared, in pixels."""


def wanted_size(size: tuple[int, int], side: int, fit: str) -> tuple[int, int]:
    """Least width and height from which an image of this size can be scaled without enlarging it."""
    if fit != "pad":
        return side, side
    longer = max(size)
    return max(1, math.ceil(side * size[0] / longer)), max(1, math.ceil(side * size[1] / longer))


def scaled(image: Image.Image, side: int, fit: str) -> Image.Image:
    """The image as a square: cut, distorted or padded with black; unchanged if it has the size already."""
    width, height = image.size
    if fit == "crop" and width != height:
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        image = image.crop((left, top, left + short, top + short))
    elif fit == "pad" and width != height:
        longer = max(width, height)
        inner = _resized(image, max(1, round(side * width / longer)), max(1, round(side * height / longer)))
        square = Image.new(image.mode, (side, side))
        square.paste(inner, ((side - inner.width) // 2, (side - inner.height) // 2))
        return square
    return _resized(image, side, side)


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.size == (width, height):
        return image
    # Lanczos rings where it enlarges.
    enlarge = width > image.width or height > image.height
    smooth = Image.Resampling.BICUBIC if enlarge else Image.Resampling.LANCZOS
    return image.resize((width, height), smooth, reducing_gap=3.0)


def thumbnails(images: Pixels) -> Pixels:
    """Means of the cells of a grid: uint8 [n, 3, 8, 8], from squares [n, 1 or 3, side, side]."""
    side = images.shape[-1]
    edges = np.arange(THUMBNAIL) * side // THUMBNAIL
    sums = np.add.reduceat(np.add.reduceat(images, edges, axis=2, dtype=np.uint32), edges, axis=3)
    counts = np.diff(np.append(edges, side))
    means = (sums // (counts[:, None] * counts)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(means, (len(images), 3, THUMBNAIL, THUMBNAIL)))
