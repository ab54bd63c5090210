"""Mixes and erases parts of whole training batches: mixup, CutMix and random erasing.

Everything works on normalized images, on their device, and never waits for it: the few random numbers that decide about
a batch are drawn on the CPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ERASED_SHARES = (0.02, 0.33)
"""The least and the greatest share of an image that is erased, as in the paper."""
ASPECTS = (0.3, 1 / 0.3)
"""The least and the greatest ratio of height to width of what is erased."""


@dataclass(frozen=True, eq=False)
class Mixed:
    """A training batch after mixing. images: float [N, C, H, W], normalized.

    partners: int64 [N], the image of the batch that each image was mixed with; None if nothing was mixed. share: the
    share of its own label in an image's loss, at least one half; the rest is its partner's.
    """

    images: Tensor
    partners: Tensor | None = None
    share: float = 1.0

    def blend(self, values: Tensor) -> Tensor:
        """Values of a batch [N, ...] that are fed to the network besides the images, in the same shares."""
        if self.partners is None:
            return values
        return values.lerp(values.index_select(0, self.partners), 1 - self.share)


@dataclass(frozen=True)
class Mixing:
    """Mixes a training batch at random; with the defaults, changes nothing.

    mixup: alpha of the beta distribution from which a batch's share is drawn; images are blended with others in this
    share (Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization"). cutmix: the same, for a rectangle that is
    replaced by another image's (Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with
    Localizable Features"); if both are on, each batch uses one of the two at random. erasing: the probability that a
    rectangle of an image is replaced by the mean color (Zhong et al. 2020, "Random Erasing Data Augmentation").
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    erasing: float = 0.0

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Mixed:
        """Normalized images, float [N, C, H, W], which may be overwritten. generator: on the CPU; None: the default."""
        if self.erasing:
            images = self._erase(images, generator)
        if not (self.mixup or self.cutmix) or len(images) < 2:
            return Mixed(images)
        cut = self.cutmix > 0 and (not self.mixup or float(torch.rand((), generator=generator)) < 0.5)
        share = _beta(self.cutmix if cut else self.mixup, generator)
        # Which of two images keeps its label is a matter of chance anyway: let it be the one with the greater share.
        share = max(share, 1 - share)
        partners = torch.randperm(len(images), generator=generator).to(images.device, non_blocking=True)
        if not cut:
            return Mixed(images.lerp(images.index_select(0, partners), 1 - share), partners, share)
        height, width = images.shape[2:]
        top, bottom, left, right = _rectangle(height, width, math.sqrt(1 - share), generator)
        part = (slice(None), slice(None), slice(top, bottom), slice(left, right))
        images[part] = images[part].index_select(0, partners)
        return Mixed(images, partners, 1 - (bottom - top) * (right - left) / (height * width))

    def _erase(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        n, _, height, width = images.shape
        chance, area, aspect, down, across = torch.rand(5, n, generator=generator)
        area = (ERASED_SHARES[0] + area * (ERASED_SHARES[1] - ERASED_SHARES[0])) * height * width
        aspect = torch.exp(math.log(ASPECTS[0]) + aspect * math.log(ASPECTS[1] / ASPECTS[0]))
        tall = (area * aspect).sqrt().round().clamp(1, height)
        wide = (area / aspect).sqrt().round().clamp(1, width)
        tall = torch.where(chance < self.erasing, tall, 0)
        top = (down * (height - tall + 1)).floor()
        left = (across * (width - wide + 1)).floor()
        rows = torch.arange(height)
        columns = torch.arange(width)
        in_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
        in_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
        erased = in_rows[:, None, :, None] & in_columns[:, None, None, :]
        return images.masked_fill_(erased.to(images.device, non_blocking=True), 0)


def _beta(alpha: float, generator: torch.Generator | None) -> float:
    """A number from Beta(alpha, alpha)."""
    one, other = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator).tolist()
    # Both can be rounded to 0 for tiny alphas, whose numbers are all near 0 or 1.
    return one / (one + other) if one + other > 0 else 1.0


def _rectangle(height: int, width: int, side: float, generator: torch.Generator | None) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a rectangle with this share of each side, cut off at the image's edges."""
    middle_row, middle_column = torch.rand(2, generator=generator).tolist()
    tall, wide = side * height, side * width
    top = round(max(0.0, middle_row * height - tall / 2))
    bottom = round(min(float(height), middle_row * height + tall / 2))
    left = round(max(0.0, middle_column * width - wide / 2))
    right = round(min(float(width), middle_column * width + wide / 2))
    return top, bottom, left, right
