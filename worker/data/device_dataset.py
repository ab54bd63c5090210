"""Keeps a whole dataset on the device as uint8, makes batches by index, and augments a whole batch at once.

Every operation works on a batch, never on a single image, and none waits for the device.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Final, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from app.contract.spec import RunConfig
from worker.data.class_balance import balanced_draw
from worker.data.datasets import PARTS, Data, Part
from worker.data.image_changes import jittered_colors, layout, resized_crop, warped
from worker.data.inputs import Inputs
from worker.data.read_ahead import read_all

Batches = TypeVar("Batches", Tensor, list[slice])
BATCH_BYTES: Final = 256_000_000
"""Limit for the raw images of a batch in an evaluation."""


class BatchSizeError(ValueError):
    """The batch is larger than the training split; the message names the largest possible size."""


@dataclass(frozen=True)
class Augment:
    """Augments a training batch at random, each image independently; with the defaults, changes nothing.

    crop_padding: pixels of black added around an image before a window of its original size is cut out at a random
    place. flip: mirror left to right, every second image on average. rotation_degrees: rotate by up to this angle to
    either side, bilinearly, filling corners with black. crop_scale: the smallest share of an image's area that is cut
    out and enlarged to the image's size; 0 disables it. color_jitter: brightness, contrast and saturation change by up
    to this share. Resized crop, crop, flip, rotation and colors are applied in this order, as in torchvision's recipes.
    Raises ValueError for a padding below 0, a rotation outside 0..180, or a scale or jitter outside 0..1.
    """

    crop_padding: int = 0
    flip: bool = False
    rotation_degrees: float = 0.0
    crop_scale: float = 0.0
    color_jitter: float = 0.0

    @classmethod
    def of(cls, config: RunConfig) -> Augment:
        """What a run requests."""
        return cls(config.crop_padding, config.flip, config.rotation, config.random_crop_scale, config.color_jitter)

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise ValueError(f"crop_padding must be at least 0, not {self.crop_padding}")
        if not 0 <= self.rotation_degrees <= 180:
            raise ValueError(f"rotation_degrees must be between 0 and 180, not {self.rotation_degrees:g}")
        for name in ("crop_scale", "color_jitter"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, not {getattr(self, name):g}")

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images [N, C, H, W], uint8 or float, raw (black is 0) -> the same shape, type, device and memory format.

        generator: the source of random numbers, on any device: one on the CPU gives the same images on every device,
        one on the images' own device saves a copy. None: the device's default generator.
        """
        if self.crop_scale:
            images = resized_crop(images, self.crop_scale, self._uniform(images, generator, rows=4))
        if self.crop_padding or self.flip:
            images = self._cut(images, generator)
        if self.rotation_degrees:
            images = self._rotate(images, generator)
        if self.color_jitter:
            images = jittered_colors(images, self.color_jitter, self._uniform(images, generator, rows=3))
        return images

    def _uniform(self, images: Tensor, generator: torch.Generator | None, rows: int = 1) -> Tensor:
        """Random numbers in [0, 1), float32 [rows, N]."""
        device = images.device if generator is None else generator.device
        numbers = torch.rand(rows, images.shape[0], generator=generator, device=device)
        return numbers.to(images.device, non_blocking=True)

    def _cut(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        planes = _planes(images)
        pad = self.crop_padding
        n, _, height, width, _ = planes.shape
        across, down, mirror = self._uniform(images, generator, rows=3)
        if pad:
            planes = F.pad(planes, (0, 0, pad, pad, pad, pad))
        which = torch.arange(n, device=images.device)
        if self.flip:
            planes = torch.cat([planes, planes.flip(3)])
            which = which + n * (mirror < 0.5)
        if not pad:
            return _images(planes.index_select(0, which))
        # One gather for all windows: each of their rows is contiguous in memory and addressed by its start. Four times
        # as fast on a CPU as a gather by pixel.
        _, layers, rows, columns, values = planes.shape
        top = (down * (2 * pad + 1)).long()
        left = (across * (2 * pad + 1)).long()
        layer = which[:, None] * layers + torch.arange(layers, device=images.device)
        row = (layer * rows + top[:, None])[:, :, None] + torch.arange(height, device=images.device)
        start = (row * columns + left[:, None, None]) * values
        runs = planes.reshape(-1).unfold(0, width * values, 1).index_select(0, start.reshape(-1))
        return _images(runs.view(n, layers, height, width, values))

    def _rotate(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        n, _, height, width = images.shape
        angle = (self._uniform(images, generator)[0] * 2 - 1) * (self.rotation_degrees * torch.pi / 180)
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        # affine_grid treats both sides as 2 long, whatever their pixels.
        aspect = height / width
        theta = torch.stack([cos, -sin * aspect, zero, sin / aspect, cos, zero], dim=1).view(n, 2, 3)
        return warped(images, theta, "zeros")


class Resident:
    """A dataset on the device: images as uint8, targets as int64, and everything needed to make a batch of them.

    device: where the data is stored and where batches are made. inputs: how images and scalars are scaled; by default
    the data's own values. memory_format: how the images are laid out in memory, and so which batches are cheapest.
    Raises ValueError for inputs without one mean per channel, or one per scalar.
    """

    def __init__(
        self,
        data: Data,
        device: torch.device,
        *,
        inputs: Inputs | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.dataset = data.dataset
        self.device = device
        self.memory_format = memory_format
        self.channels = data.dataset.channels
        self.shape = (data.dataset.channels, data.dataset.side, data.dataset.side)
        self.inputs = inputs or Inputs.of(data)
        mean, std = self.inputs.mean, self.inputs.std
        if len(mean) != self.channels:
            raise ValueError(f"mean {mean} and std {std} do not fit {self.channels} channels")
        means, stds = (torch.tensor(v, dtype=torch.float64).view(1, -1, 1, 1) for v in (mean, std))
        # As large as an image and laid out like one: one number per channel would be ten times slower with channels
        # last, where the CPU would have to broadcast it three values at a time.
        self._scale, self._shift = (
            values.float().expand(1, *self.shape).contiguous(memory_format=memory_format).to(device)
            for values in (1 / (255 * stds), -means / stds)
        )
        self._images = {part: self._place(data.split(part).images) for part in PARTS}
        self._targets = {
            part: {name: values.to(device) for name, values in data.split(part).targets.items()} for part in PARTS
        }

        self._scalars = {part: self._standardized(data.split(part).auxiliary) for part in PARTS}

    def _place(self, images: Tensor) -> Tensor:
        """A split's images, where batches are made of them."""
        if self.device.type == "cpu":
            read_all(images)
        return images.to(self.device).contiguous(memory_format=self.memory_format)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything that works in the background: here nothing does."""

    def _standardized(self, scalars: Tensor | None) -> Tensor | None:
        if scalars is None:
            return None
        if scalars.shape[1] != len(self.inputs.scalars):
            raise ValueError(f"{scalars.shape[1]} scalars per image, but means for {len(self.inputs.scalars)}")
        return self.inputs.standardize(scalars).to(self.device)

    def size(self, part: Part) -> int:
        """Number of images in the split."""
        return int(self._images[part].shape[0])

    def at_most(self, images: int) -> int:
        """So many images, or fewer, at least one, if they are large: a batch of them has at most `BATCH_BYTES`."""
        return max(1, min(images, BATCH_BYTES // math.prod(self.shape)))

    def ahead(self, part: Part, batches: Batches) -> Batches:
        """Announce the batches that will be requested next, in this order: int64 [k, B], or slices. Returns them."""
        del part
        return batches

    def evaluation(self, part: Part, size: int) -> list[slice]:
        """The batches of an evaluation of the split, at most `size` images each, announced."""
        return self.ahead(part, evaluation_batches(self.size(part), size))

    def images(self, part: Part, indices: Tensor | slice) -> Tensor:
        """The split's raw images, uint8 [B, C, H, W].

        indices: int64 [B] on the device, or a slice, which returns a view: do not write to it.
        """
        images = self._images[part]
        if isinstance(indices, slice):
            return images[indices]
        # Copies whole images as contiguous memory: index_select is 12 to 18 times as fast here as images[indices].
        return _images(_planes(images).index_select(0, indices))

    def targets(self, part: Part, indices: Tensor | slice) -> dict[str, Tensor]:
        """The split's targets by name, int64 [B]."""
        if isinstance(indices, slice):
            return {name: values[indices] for name, values in self._targets[part].items()}
        return {name: values.index_select(0, indices) for name, values in self._targets[part].items()}

    def scalars(self, part: Part, indices: Tensor | slice) -> Tensor | None:
        """The split's auxiliary scalars, standardized, float32 [B, n]; None if the data has none."""
        scalars = self._scalars[part]
        if scalars is None or isinstance(indices, slice):
            return None if scalars is None else scalars[indices]
        return scalars.index_select(0, indices)

    def normalize(
        self, images: Tensor, *, dtype: torch.dtype = torch.float32, memory_format: torch.memory_format | None = None
    ) -> Tensor:
        """Raw images (0..255) [B, C, H, W] -> (image / 255 - mean) / std, computed in float32, returned as `dtype`."""
        # addcmul would be one operation less, but takes two to three times as long on the CPU.
        normal = images.to(torch.float32, copy=True).mul_(self._scale).add_(self._shift)
        return normal.to(dtype, memory_format=self.memory_format if memory_format is None else memory_format)

    def batch(
        self,
        part: Part,
        indices: Tensor | slice,
        *,
        augment: Augment | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A batch for a network: normalized images, `dtype` [B, C, H, W], and targets by name, int64 [B].

        indices: int64 [B] on the device, or a slice. augment: applied to the raw images first, training batches only,
        with `generator`. memory_format: of the images; the resident's own by default. Raises ValueError for an
        augmentation of another split.
        """
        if augment is not None and part != "train":
            raise ValueError(f"only training batches can be augmented, not {part} batches")
        images = self.images(part, indices)
        if augment is not None:
            images = augment(images, generator)
        return self.normalize(images, dtype=dtype, memory_format=memory_format), self.targets(part, indices)


def order(
    seed: int, epoch: int, n: int, batch_size: int, device: torch.device, *, balance: Tensor | None = None
) -> Tensor:
    """The images of each batch of an epoch, as indices: int64 [n // batch_size, batch_size] on the device.

    A new permutation each epoch, a function of seed and epoch only, so that a resumed run continues as it would have;
    images that do not fill a last batch are left out of this epoch. balance: labels, int64 [n] on the CPU, of classes
    to draw equally often; images of small classes then recur, and some of large ones are left out. Raises
    BatchSizeError if not even one batch can be filled.
    """
    if batch_size < 1:
        raise BatchSizeError(f"batch size must be at least 1, not {batch_size}")
    if n < batch_size:
        raise BatchSizeError(f"batch size must be at most {n:,}, the number of training images, not {batch_size:,}")
    # Hashed, because the generator takes 32 bits, and seed + epoch would give run 2 the batches of run 1, one epoch
    # later.
    mixed = int.from_bytes(hashlib.sha256(f"{seed}/{epoch}".encode()).digest()[:4], "big")
    generator = torch.Generator().manual_seed(mixed)
    batches = n // batch_size
    if balance is not None:
        return balanced_draw(balance, batches * batch_size, generator).view(batches, batch_size).to(device)
    permutation = torch.randperm(n, generator=generator)
    return permutation[: batches * batch_size].view(batches, batch_size).to(device)


def evaluation_batches(n: int, size: int) -> list[slice]:
    """Slices of at most `size` that cover 0..n-1 once, in order. Raises ValueError for a size below 1."""
    if size < 1:
        raise ValueError(f"evaluation batch size must be at least 1, not {size}")
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _planes(images: Tensor) -> Tensor:
    """Images [N, C, H, W] in memory order: [N, C, H, W, 1], or [N, 1, H, W, C] with channels last."""
    if layout(images) == torch.channels_last:
        return images.permute(0, 2, 3, 1).unsqueeze(1)
    return images.contiguous().unsqueeze(4)


def _images(planes: Tensor) -> Tensor:
    """Inverse of `_planes`, in the same memory."""
    return planes.permute(0, 1, 4, 2, 3).flatten(1, 2)
