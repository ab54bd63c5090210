"""Sums over the images of an evaluation, kept on the device until its end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Totals:
    """The sums of each head's losses and hits."""

    def __init__(self, heads: Sequence[str], device: torch.device) -> None:
        exact = torch.float64 if device.type == "cpu" else torch.float32
        self._losses = {name: torch.zeros((), dtype=exact, device=device) for name in heads}
        self._hits = {name: torch.zeros((), dtype=torch.int64, device=device) for name in heads}

    def add(self, logits: dict[str, Tensor], losses: dict[str, Tensor], targets: dict[str, Tensor]) -> None:
        """Add a batch: its logits [N, classes], mean losses and targets [N] by head."""
        for name, output in logits.items():
            self._losses[name] += losses[name] * len(output)
            self._hits[name] += (output.argmax(1) == targets[name]).sum()

    def means(self, images: int) -> tuple[dict[str, float], dict[str, float]]:
        """The mean loss and the accuracy of each head over ``images``; waits for the device once."""
        sums = [total.double() for total in (*self._losses.values(), *self._hits.values())]
        means = [total / images for total in torch.stack(sums).tolist()]
        heads = list(self._losses)
        losses, accuracies = means[: len(heads)], means[len(heads) :]
        return dict(zip(heads, losses, strict=True)), dict(zip(heads, accuracies, strict=True))
