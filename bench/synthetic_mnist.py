"""A stand-in of MNIST's size and shape for machines without MNIST: shifted, rotated and scaled scikit-learn digits.

Training, validation and test use different original digits. It is easier than MNIST: it shows how fast a network learns
something of that size, not how well it would do on MNIST.
"""

from __future__ import annotations

import struct
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from app.contract.datasets import dataset
from worker.data.datasets import Data, Split

# Number of the 1,797 originals that training images are made from.
TRAINING_ORIGINALS = 1437
# Maximum rotation (radians), horizontal and vertical shift (fractions of half a side) and scale.
SPREAD = torch.tensor([[0.3], [0.12], [0.12], [0.15]])


def synthetic_mnist(train: int = 55_000, validation: int = 5_000, test: int = 10_000) -> Data:
    """Make this many images, always the same ones, with the description of mnist and the target "digit"."""
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
    labels = torch.from_numpy(digits.target).long()
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.randperm(len(images), generator=generator)
    training, training_labels = _augmented(images, labels, shuffled[:TRAINING_ORIGINALS], train, generator)
    held_out, held_out_labels = _augmented(images, labels, shuffled[TRAINING_ORIGINALS:], validation + test, generator)
    return Data(
        dataset("mnist"),
        Split(training, {"digit": training_labels}),
        Split(held_out[:validation], {"digit": held_out_labels[:validation]}),
        Split(held_out[validation:], {"digit": held_out_labels[validation:]}),
    )


def _augmented(
    images: Tensor, labels: Tensor, candidates: Tensor, n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    chosen = candidates[torch.randint(len(candidates), (n,), generator=generator)]
    augmented = []
    for chunk in torch.split(chosen, 5000):
        angle, across, down, scale = (torch.rand(4, len(chunk), generator=generator) * 2 - 1) * SPREAD
        cos, sin = angle.cos() * (1.1 + scale), angle.sin() * (1.1 + scale)
        theta = torch.stack([cos, -sin, across, sin, cos, down], 1).view(-1, 2, 3)
        grid = F.affine_grid(theta, [len(chunk), 1, 28, 28], align_corners=False)
        augmented.append((F.grid_sample(images[chunk], grid, align_corners=False) * 255).round().byte())
    return torch.cat(augmented), labels[chosen]


def write_idx(data: Data, root: Path) -> None:
    """Write MNIST files for torchvision below ``root``: training without validation, and test."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for stem, split in (("train", data.train), ("t10k", data.test)):
        for what, values in (("images-idx3", split.images.squeeze(1)), ("labels-idx1", split.targets["digit"].byte())):
            head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            (raw / f"{stem}-{what}-ubyte").write_bytes(head + values.contiguous().numpy().tobytes())
