"""Colors of maps that color-blind people can tell apart, and PNGs."""

from __future__ import annotations

import base64
import io
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

CIVIDIS: Final = (
    (0, 34, 78),
    (18, 53, 112),
    (59, 73, 108),
    (87, 93, 109),
    (112, 113, 115),
    (138, 134, 120),
    (165, 156, 116),
    (195, 179, 105),
    (225, 204, 85),
    (254, 232, 56),
)
"""Nuñez et al. 2018: looks nearly the same with and without a color vision deficiency, and grows evenly brighter."""


def colored(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Values in 0..1 [H, W] as colors, uint8 [H, W, 3]."""
    at = np.linspace(0, 1, len(CIVIDIS))
    table = np.asarray(CIVIDIS, np.float64)
    channels = [np.interp(values, at, table[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, -1)).astype(np.uint8)


def png(pixels: npt.NDArray[np.uint8]) -> str:
    """Pixels [H, W] or [H, W, 3] as a PNG in base64."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()
