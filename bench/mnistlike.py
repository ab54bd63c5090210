"""A stand-in of MNIST's size where MNIST cannot be had: scikit-learn's digits, moved, turned and scaled, in its shape.

No original digit of validation or test is in training too. It is easier than MNIST, and says how fast a network learns
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

# Of the 1,797 originals those that training is made of.
SEEN = 1437
# The most that an image is turned (radians), moved across and down (shares of half a side) and scaled.
SPREAD = torch.tensor([[0.3], [0.12], [0.12], [0.15]])


def mnistlike(train: int = 55_000, validation: int = 5_000, test: int = 10_000) -> Data:
    """As many images as asked for, always the same ones, with the facts of mnist and the target "digit"."""
    found = load_digits()
    images = torch.from_numpy(found.images).float().unsqueeze(1) / 16
    labels = torch.from_numpy(found.target).long()
    draw = torch.Generator().manual_seed(0)
    shuffled = torch.randperm(len(images), generator=draw)
    seen, labels_seen = _varied(images, labels, shuffled[:SEEN], train, draw)
    unseen, labels_unseen = _varied(images, labels, shuffled[SEEN:], validation + test, draw)
    return Data(
        dataset("mnist"),
        Split(seen, {"digit": labels_seen}),
        Split(unseen[:validation], {"digit": labels_unseen[:validation]}),
        Split(unseen[validation:], {"digit": labels_unseen[validation:]}),
    )


def _varied(images: Tensor, labels: Tensor, which: Tensor, n: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    chosen = which[torch.randint(len(which), (n,), generator=draw)]
    made = []
    for some in torch.split(chosen, 5000):
        turn, across, down, scale = (torch.rand(4, len(some), generator=draw) * 2 - 1) * SPREAD
        cos, sin = turn.cos() * (1.1 + scale), turn.sin() * (1.1 + scale)
        theta = torch.stack([cos, -sin, across, sin, cos, down], 1).view(-1, 2, 3)
        grid = F.affine_grid(theta, [len(some), 1, 28, 28], align_corners=False)
        made.append((F.grid_sample(images[some], grid, align_corners=False) * 255).round().byte())
    return torch.cat(made), labels[chosen]


def write_idx(data: Data, root: Path) -> None:
    """The files of MNIST as torchvision reads them from ``root``: training without validation, and test."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for stem, split in (("train", data.train), ("t10k", data.test)):
        for what, values in (("images-idx3", split.images.squeeze(1)), ("labels-idx1", split.targets["digit"].byte())):
            head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            (raw / f"{stem}-{what}-ubyte").write_bytes(head + values.contiguous().numpy().tobytes())
