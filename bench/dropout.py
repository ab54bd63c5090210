"""A training step on a CPU with Runyard's dropout compared with torch's, in networks that are equal otherwise."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

import models
from bench.interleave import interleaved
from bench.report import Row, ratios, row, save
from models._dropout import Dropout

BATCH = 128
REPEATS = 9
# How many steps are timed at once, so that each time is about as long.
NETWORKS = (("vit", "tiny", 4), ("vit", "small", 2), ("simple_mlp", "base", 60), ("simple_cnn", "base", 4))


def main() -> None:
    """Alternate between both, with one thread."""
    torch.set_num_threads(1)
    rows: list[Row] = []
    for family, size, steps in NETWORKS:
        times = interleaved(
            {kind.__module__: _train(family, size, kind, steps) for kind in (Dropout, nn.Dropout)}, REPEATS
        )
        ours, theirs = (times[kind.__module__].cpu for kind in (Dropout, nn.Dropout))
        rows.append(row(f"{family} {size}: step, CPU ms", [1e3 * each / steps for each in ours]))
        rows.append(row(f"{family} {size}: step / step with torch's dropout, CPU", ratios(ours, theirs), "<= 1"))
    save("dropout", rows, threads=1)


def _train(family: str, size: str, kind: type[nn.Dropout], steps: int) -> Callable[[], None]:
    torch.manual_seed(1)
    network = models.build(family, size, models.Shape(1, 28, {"digit": 10})).train()
    for layer in network.modules():
        if isinstance(layer, Dropout):
            layer.__class__ = kind  # type: ignore[assignment]  # both have the same attributes
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    images, labels = torch.randn(BATCH, 1, 28, 28), torch.randint(10, (BATCH,))

    def train() -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return train
