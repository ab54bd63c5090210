"""How even the classes of a split are, and draws in which they are."""

from __future__ import annotations

import torch
from torch import Tensor

UNEVEN = 1.5
"""Classes are uneven if the largest has more than this many times the images of the smallest. In MNIST it is 1.24."""


def is_uneven(labels: Tensor, classes: int) -> bool:
    """Whether the sizes of the classes differ much. labels: int64 [N], on the CPU."""
    counts = torch.bincount(labels, minlength=classes)
    return bool(counts.max() > UNEVEN * counts.min())


def balanced_draw(labels: Tensor, images: int, generator: torch.Generator) -> Tensor:
    """Indices of ``images`` images, int64, as many of each class that occurs, up to one; in random order.

    labels: int64 [N], on the CPU, as is ``generator``. Within a class no image is drawn twice more often than another:
    all are, before one is drawn again.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = torch.bincount(labels)
    occurring = counts.nonzero().flatten()
    quota = torch.full_like(occurring, images // len(occurring))
    quota[torch.randperm(len(occurring), generator=generator)[: images % len(occurring)]] += 1
    first = (counts.cumsum(0) - counts)[occurring].repeat_interleave(quota)
    available = counts[occurring].repeat_interleave(quota)
    number = torch.arange(images) - (quota.cumsum(0) - quota).repeat_interleave(quota)
    drawn = by_class[first + number % available]
    return drawn[torch.randperm(images, generator=generator)]
