"""Changes pictures by degrees: shift, rotation, blur, noise, contrast; the same values always give the same picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from app.contract.playground import Changes
from worker.data.image_changes import warped

NEUTRAL = Changes()


def changed(image: Tensor, changes: Sequence[Changes], background: str = "zeros") -> Tensor:
    """An image uint8 [C, H, W], changed in each of these ways: uint8 [N, C, H, W]. What changes nothing copies it.

    First shift and rotation, then blur, contrast and noise. background: "zeros" moves in black, "border" repeats the
    image's border.
    """
    values = image.float().expand(len(changes), *image.shape)
    if any(_moves(each) for each in changes):
        theta = torch.stack([_theta(each) for each in changes])
        moved = warped(values, theta, background)
        still = torch.tensor([not _moves(each) for each in changes]).view(-1, 1, 1, 1)
        values = torch.where(still, values, moved)
    values = torch.stack([_recolored(value, each) for value, each in zip(values, changes, strict=True)])
    return values.round().clamp(0, 255).byte()


def _moves(change: Changes) -> bool:
    return (change.shift_x, change.shift_y, change.rotation) != (0.0, 0.0, 0.0)


def _theta(change: Changes) -> Tensor:
    """The map from places in the changed image to places in the image, both 2 long, [2, 3]."""
    angle = math.radians(change.rotation)
    cos, sin = math.cos(angle), math.sin(angle)
    right, down = change.shift_x / 50, change.shift_y / 50
    return torch.tensor([[cos, sin, -cos * right - sin * down], [-sin, cos, sin * right - cos * down]])


def _recolored(image: Tensor, change: Changes) -> Tensor:
    if change.blur > 0:
        image = blurred(image, change.blur)
    if change.contrast != NEUTRAL.contrast:
        middle = image.mean()
        image = middle + (image - middle) * (change.contrast / 100)
    if change.noise > 0:
        generator = torch.Generator().manual_seed(change.seed)
        image = image + torch.randn(image.shape, generator=generator) * (change.noise / 100 * 255)
    return image


def blurred(image: Tensor, deviation: float) -> Tensor:
    """A Gaussian blur of float [C, H, W] with this standard deviation in pixels; its borders are repeated."""
    reach = max(1, min(math.ceil(3 * deviation), min(image.shape[1:]) - 1))
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    weights = torch.exp(-(offsets**2) / (2 * deviation**2))
    weights /= weights.sum()
    padded = F.pad(image[:, None], (reach,) * 4, mode="replicate")
    across = F.conv2d(padded, weights.view(1, 1, 1, -1))
    return F.conv2d(across, weights.view(1, 1, -1, 1))[:, 0]
