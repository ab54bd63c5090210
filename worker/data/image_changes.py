"""Random changes of whole batches of larger pictures: resized crops and colors.

Images are raw (0..255) [N, C, H, W], uint8 or float. What is returned has their shape, type, device and memory format.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ASPECTS = (3 / 4, 4 / 3)
"""The least and the greatest ratio of width to height of a crop, relative to the image's."""
LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the brightness of a pixel (ITU-R BT.601)."""


def layout(images: Tensor) -> torch.memory_format:
    """The memory format of a batch."""
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def warped(images: Tensor, theta: Tensor, padding_mode: str) -> Tensor:
    """Images sampled bilinearly where the affine maps ``theta`` [N, 2, 3] point; a map treats sides as 2 long."""
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    changed = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode=padding_mode, align_corners=False)
    return _like(changed, images)


def resized_crop(images: Tensor, least: float, numbers: Tensor) -> Tensor:
    """Cut a window out of each image and enlarge it to the image's size.

    least: the smallest share of an image's area that a window covers. numbers: random in [0, 1), float32 [4, N] on the
    images' device: they decide about area, aspect, and place across and down.
    """
    share, aspect, across, down = numbers
    area = least + share * (1 - least)
    # No window is wider or higher than the image.
    low = area.clamp(min=ASPECTS[0]).log()
    high = (1 / area).clamp(max=ASPECTS[1]).log()
    aspect = torch.exp(low + aspect * (high - low))
    wide, tall = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    zero = torch.zeros_like(area)
    middle_x, middle_y = (2 * across - 1) * (1 - wide), (2 * down - 1) * (1 - tall)
    theta = torch.stack([wide, zero, middle_x, zero, tall, middle_y], dim=1).view(-1, 2, 3)
    return warped(images, theta, "border")


def jittered_colors(images: Tensor, strength: float, numbers: Tensor) -> Tensor:
    """Multiply each image's brightness, contrast and (of RGB images) saturation by factors 1 ± ``strength``.

    numbers: random in [0, 1), float32 [3, N] on the images' device, one row per factor.
    """
    brightness, contrast, saturation = (1 + strength * (2 * numbers - 1)).view(3, -1, 1, 1, 1)
    pixels = images.float()
    if images.shape[1] == 3:
        gray = torch.stack([share * pixels[:, i] for i, share in enumerate(LUMA)]).sum(0).unsqueeze(1)
    else:
        gray, saturation = pixels.mean(1, keepdim=True), torch.ones_like(saturation)
    middle = gray.mean((2, 3), keepdim=True)
    changed = pixels * (saturation * contrast * brightness)
    changed += gray * ((1 - saturation) * contrast * brightness) + middle * ((1 - contrast) * brightness)
    changed.clamp_(0, 255)
    return _like(changed, images)


def _like(changed: Tensor, images: Tensor) -> Tensor:
    if not images.is_floating_point():
        changed = changed.round_()
    return changed.to(images.dtype, memory_format=layout(images))
