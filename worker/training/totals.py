"""Sums over the images of an evaluation, kept on the device until its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from statistics import fmean

import torch
from torch import Tensor

from app.contract.metric_names import PER_CLASS

TOP = 5


class Totals:
    """The sums of each head's losses and hits, and the counts from which its additional metrics are computed.

    heads: the names of each head's additional metrics: ``macro_acc``, ``f1``, ``top5``.
    """

    def __init__(self, heads: Mapping[str, Sequence[str]], device: torch.device) -> None:
        exact = torch.float64 if device.type == "cpu" else torch.float32
        self._heads = heads
        self._losses = {name: torch.zeros((), dtype=exact, device=device) for name in heads}
        self._hits = {name: torch.zeros((), dtype=torch.int64, device=device) for name in heads}
        self._top5 = {name: torch.zeros_like(self._hits[name]) for name, more in heads.items() if "top5" in more}
        self._counts: dict[str, Tensor] = {}

    def add(self, logits: dict[str, Tensor], losses: dict[str, Tensor], targets: dict[str, Tensor]) -> None:
        """Add a batch: its logits [N, classes], mean losses and targets [N] by head; nothing if it fails."""
        sums: list[tuple[dict[str, Tensor], str, Tensor]] = []
        for name, output in logits.items():
            labels, predicted = targets[name], output.argmax(1)
            hit = predicted == labels
            sums += [(self._losses, name, losses[name] * len(output)), (self._hits, name, hit.sum())]
            if name in self._top5:
                sums.append((self._top5, name, (output.topk(TOP, 1).indices == labels[:, None]).sum()))
            if any(metric in PER_CLASS for metric in self._heads[name]):
                sums.append((self._counts, name, _counts(output.shape[1], labels, predicted, hit)))
        for totals, name, value in sums:
            totals[name] = totals[name] + value if name in totals else value

    def means(self, images: int) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """The mean loss of each head over ``images``, and its accuracy and additional metrics; waits for the device."""
        sums = self._losses, self._hits, self._top5, self._counts
        totals = [total for by_head in sums for total in by_head.values()]
        values = iter(torch.cat([total.double().view(-1) for total in totals]).tolist())
        losses, hits, top5 = ({name: next(values) / images for name in by_head} for by_head in sums[:3])
        counts = {name: list(islice(values, len(total))) for name, total in self._counts.items()}
        metrics = {}
        for name, more in self._heads.items():
            found = {"acc": hits[name]}
            if name in counts:
                found |= _per_class(counts[name])
            if name in top5:
                found["top5"] = top5[name]
            metrics[name] = {metric: found[metric] for metric in ("acc", *more)}
        return losses, metrics


def _counts(classes: int, labels: Tensor, predicted: Tensor, hit: Tensor) -> Tensor:
    """Images of each class, predictions of it, and both at once: int64 [3 · classes]."""
    places = torch.cat([labels, predicted + classes, labels + 2 * classes])
    ones = torch.ones_like(labels)
    # Unlike bincount, this does not wait for a GPU.
    zeros = torch.zeros(3 * classes, dtype=labels.dtype, device=labels.device)
    return zeros.index_add_(0, places, torch.cat([ones, ones, hit.to(ones.dtype)]))


def _per_class(counts: list[float]) -> dict[str, float]:
    """Mean accuracy and mean F1 of the classes that occur."""
    classes = len(counts) // 3
    rows = zip(counts[:classes], counts[classes : 2 * classes], counts[2 * classes :], strict=True)
    occurring = [row for row in rows if row[0]]
    return {
        "macro_acc": fmean(hits / images for images, _, hits in occurring),
        "f1": fmean(2 * hits / (images + predicted) for images, predicted, hits in occurring),
    }
