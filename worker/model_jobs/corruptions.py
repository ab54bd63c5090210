"""Fifteen ways to spoil images, each in five strengths, of whole batches.

The idea, and the strengths of noise, brightness, contrast and JPEG, are those of Hendrycks and Dietterich
2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations" (ImageNet-C); lengths are shares
of an image's side, so that they suit images of every size. Shot noise is normal with the variance of a Poisson
distribution.

Every random number is a function of the seed, the corruption and the image's index: it depends neither on the batch in
which an image comes nor on the device, and is the same for all strengths.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from worker.data.image_changes import LUMA, warped

STRENGTHS: Final = 5
OCCLUDED: Final = 127.0
"""The gray of a square that hides a part of an image."""
MOTION_SAMPLES: Final = 9
ELASTIC_POINTS: Final = 5
_MASK: Final = 0xFFFFFFFF


@dataclass(frozen=True)
class Draws:
    """Random numbers for the images ``indices``, int64 [N]; ``key`` stands for the seed and the corruption."""

    key: int
    indices: Tensor

    @classmethod
    def of(cls, seed: int, name: str, indices: Tensor) -> Draws:
        """The numbers of one corruption."""
        return cls(zlib.crc32(f"{seed} {name}".encode()), indices)

    def uniform(self, count: int, stream: int = 0) -> Tensor:
        """Numbers in (0, 1), float32 [N, count]; other ones for another ``stream``."""
        rows = _mixed(_mixed(self.indices ^ self.key) + stream)
        columns = torch.arange(count, device=self.indices.device)
        bits = _mixed(rows[:, None] ^ _mixed(columns + 0x9E3779B9)[None])
        return ((bits >> 8).float() + 0.5) / 2**24

    def normal(self, count: int, stream: int = 0) -> Tensor:
        """Numbers of mean 0 and deviation 1, float32 [N, count]."""
        return torch.erfinv(2 * self.uniform(count, stream) - 1) * math.sqrt(2)

    def like(self, images: Tensor, stream: int = 0) -> Tensor:
        """Normal numbers in the shape of ``images``."""
        return self.normal(images[0].numel(), stream).view(images.shape)

    def sign(self) -> Tensor:
        """1 or -1, float32 [N]."""
        return (self.uniform(1, stream=7)[:, 0] < 0.5).float() * 2 - 1


def _mixed(numbers: Tensor) -> Tensor:
    """A hash of 32 bits, in int64: Wellons' lowbias32."""
    numbers = numbers & _MASK
    numbers = ((numbers ^ (numbers >> 16)) * 0x7FEB352D) & _MASK
    numbers = ((numbers ^ (numbers >> 15)) * 0x846CA68B) & _MASK
    return numbers ^ (numbers >> 16)


# Each takes raw images, float32 [N, C, H, W] in 0..255, a strength and draws; what it returns is clamped afterwards ---


def gaussian_noise(images: Tensor, deviation: float, draws: Draws) -> Tensor:
    """Add normal noise; deviation: as a share of the full range."""
    return images + 255 * deviation * draws.like(images)


def shot_noise(images: Tensor, variance: float, draws: Draws) -> Tensor:
    """Noise of counted light; variance: of a white pixel."""
    return images + 255 * (images / 255 * variance).sqrt() * draws.like(images)


def impulse_noise(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Set a share of all values to black or white."""
    numbers = draws.uniform(images[0].numel()).view(images.shape)
    return torch.where(numbers < share, torch.where(numbers < share / 2, 0.0, 255.0), images)


def gaussian_blur(images: Tensor, sigma: float, draws: Draws) -> Tensor:
    """Blur by a normal distribution; sigma: as a share of the side."""
    del draws
    width = sigma * images.shape[-1]
    if width == 0:
        return images
    radius = min(max(1, math.ceil(3 * width)), images.shape[-1] - 1)
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=images.device) / width) ** 2)
    kernel = (weights / weights.sum()).view(1, 1, 1, -1).expand(images.shape[1], 1, 1, -1)
    padded = F.pad(images, (radius,) * 4, "replicate")
    across = F.conv2d(padded, kernel, groups=images.shape[1])
    return F.conv2d(across, kernel.transpose(2, 3), groups=images.shape[1])


def motion_blur(images: Tensor, length: float, draws: Draws) -> Tensor:
    """Blur along a line in a random direction; length: as a share of the side."""
    angle = draws.uniform(1)[:, 0] * math.pi
    places = torch.linspace(-0.5, 0.5, MOTION_SAMPLES).tolist()
    moved = [_moved(images, torch.cos(angle) * length * place, torch.sin(angle) * length * place) for place in places]
    return torch.stack(moved).mean(0)


def brightness(images: Tensor, added: float, draws: Draws) -> Tensor:
    """Add a share of the full range to all values."""
    del draws
    return images + 255 * added


def contrast(images: Tensor, factor: float, draws: Draws) -> Tensor:
    """Multiply the distance of each value from the image's mean."""
    del draws
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * factor


def saturation(images: Tensor, factor: float, draws: Draws) -> Tensor:
    """Multiply the distance of each color from gray."""
    del draws
    gray = torch.stack([share * images[:, i] for i, share in enumerate(LUMA)]).sum(0).unsqueeze(1)
    return gray + (images - gray) * factor


def gamma(images: Tensor, exponent: float, draws: Draws) -> Tensor:
    """Raise all values, from 0 to 1, to a power."""
    del draws
    return 255 * (images / 255) ** exponent


def jpeg(images: Tensor, quality: float, draws: Draws) -> Tensor:
    """Compress and decompress; on the CPU, one image after the other."""
    del draws
    changed = np.stack([_compressed(image, int(quality)) for image in _to_bytes(images).cpu().numpy()])
    return torch.from_numpy(changed).to(images.device, torch.float32)


def _compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """An image, uint8 [C, H, W] of one or three channels, after its compression."""
    plain = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(plain).save(file, "JPEG", quality=quality)
    read = np.asarray(Image.open(file))
    return read[None] if len(image) == 1 else read.transpose(2, 0, 1)


def pixelate(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Use fewer pixels, this share of each side."""
    del draws
    side = max(1, round(images.shape[-1] * share))
    return F.interpolate(F.adaptive_avg_pool2d(images, side), list(images.shape[2:]), mode="nearest-exact")


def shift(images: Tensor, distance: float, draws: Draws) -> Tensor:
    """Move in a random direction; distance: as a share of the side."""
    angle = draws.uniform(1)[:, 0] * 2 * math.pi
    return _moved(images, torch.cos(angle) * distance, torch.sin(angle) * distance)


def rotation(images: Tensor, degrees: float, draws: Draws) -> Tensor:
    """Rotate by an angle in a random direction."""
    angle = draws.sign() * math.radians(degrees)
    zero = torch.zeros_like(angle)
    cos, sin = torch.cos(angle), torch.sin(angle)
    return _warped(images, torch.stack([cos, -sin, zero, sin, cos, zero], 1))


def scale(images: Tensor, factor: float, draws: Draws) -> Tensor:
    """Enlarge or shrink, at random, by a factor."""
    by = factor ** draws.sign()
    zero = torch.zeros_like(by)
    return _warped(images, torch.stack([by, zero, zero, zero, by, zero], 1))


def occlusion(images: Tensor, area: float, draws: Draws) -> Tensor:
    """Hide a square at a random place; area: its share of the image."""
    side = images.shape[-1]
    length = round(side * math.sqrt(area))
    top, left = ((draws.uniform(2) * (side - length + 1)).long()).unbind(1)
    rows, columns = torch.arange(side, device=images.device)[None], torch.arange(side, device=images.device)[None]
    down = (rows >= top[:, None]) & (rows < top[:, None] + length)
    across = (columns >= left[:, None]) & (columns < left[:, None] + length)
    return torch.where((down[:, None, :, None] & across[:, None, None, :]), OCCLUDED, images)


def elastic(images: Tensor, amplitude: float, draws: Draws) -> Tensor:
    """Distort smoothly; amplitude: the deviation of a pixel's way, as a share of the side."""
    points = draws.normal(2 * ELASTIC_POINTS**2).view(-1, 2, ELASTIC_POINTS, ELASTIC_POINTS)
    ways = F.interpolate(points, list(images.shape[2:]), mode="bicubic", align_corners=True)
    grid = F.affine_grid(_identity(images), list(images.shape), align_corners=False)
    grid = grid + 2 * amplitude * ways.permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _identity(images: Tensor) -> Tensor:
    return torch.tensor([[1.0, 0, 0], [0, 1.0, 0]], device=images.device).expand(len(images), 2, 3)


def _moved(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Moved by shares of the side, float32 [N]."""
    one, zero = torch.ones_like(across), torch.zeros_like(across)
    # A map counts from -1 to 1 along a side.
    return _warped(images, torch.stack([one, zero, -2 * across, zero, one, -2 * down], 1))


def _warped(images: Tensor, theta: Tensor) -> Tensor:
    return warped(images, theta.view(-1, 2, 3), "border")


def _to_bytes(images: Tensor) -> Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)


# The list -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Corruption:
    """A way to spoil images. values: of each strength. words: what a strength is, with ``{}`` for its value."""

    name: str
    change: Callable[[Tensor, float, Draws], Tensor]
    values: tuple[float, ...]
    words: str
    factor: float = 1.0

    def parameters(self) -> list[str]:
        """What each strength is, in words."""
        return [self.words.format(f"{value * self.factor:.3g}") for value in self.values]

    def __call__(self, images: Tensor, strength: int, indices: Tensor, seed: int) -> Tensor:
        """Raw images, uint8 [N, C, H, W], spoiled with a strength from 1 to 5; indices: int64 [N], of the images."""
        draws = Draws.of(seed, self.name, indices)
        return _to_bytes(self.change(images.float(), self.values[strength - 1], draws))


_SHARED: Final = (
    Corruption("gaussian_noise", gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38), "deviation {}% of the range", 100),
    Corruption("shot_noise", shot_noise, (1 / 60, 1 / 25, 1 / 12, 1 / 5, 1 / 3), "variance {}% at white", 100),
    Corruption("impulse_noise", impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27), "{}% of the values", 100),
    Corruption("gaussian_blur", gaussian_blur, (0.0125, 0.02, 0.03, 0.045, 0.06), "sigma {}% of the side", 100),
    Corruption("motion_blur", motion_blur, (0.06, 0.12, 0.18, 0.27, 0.36), "{}% of the side", 100),
    Corruption("brightness", brightness, (0.1, 0.2, 0.3, 0.4, 0.5), "{}% of the range added", 100),
    Corruption("contrast", contrast, (0.4, 0.3, 0.2, 0.1, 0.05), "{}% of the contrast left", 100),
)
_SATURATION: Final = Corruption("saturation", saturation, (0.7, 0.5, 0.3, 0.15, 0.0), "{}% of the color left", 100)
_GAMMA: Final = Corruption("gamma", gamma, (1.3, 1.7, 2.2, 3.0, 4.0), "gamma {}")
_FURTHER: Final = (
    Corruption("jpeg", jpeg, (25, 18, 15, 10, 7), "quality {}"),
    Corruption("pixelate", pixelate, (0.6, 0.45, 0.35, 0.25, 0.18), "{}% of the pixels of a side", 100),
    Corruption("shift", shift, (0.04, 0.08, 0.12, 0.16, 0.2), "{}% of the side", 100),
    Corruption("rotation", rotation, (8, 16, 25, 35, 45), "{}°"),
    Corruption("scale", scale, (1.1, 1.2, 1.3, 1.45, 1.6), "factor {} or its inverse"),
    Corruption("occlusion", occlusion, (0.04, 0.08, 0.14, 0.2, 0.3), "{}% of the image", 100),
    Corruption("elastic", elastic, (0.015, 0.025, 0.04, 0.055, 0.07), "deviation {}% of the side", 100),
)


def corruptions(channels: int) -> tuple[Corruption, ...]:
    """The fifteen for images with so many channels: gray ones have no saturation, but a gamma."""
    return (*_SHARED, _SATURATION if channels == len(LUMA) else _GAMMA, *_FURTHER)
