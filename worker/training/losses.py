"""The losses of a run's heads: what is minimized in training, and what an evaluation reports."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from app.contract.spec import RunConfig
from worker.data.device_dataset import Resident
from worker.data.mixing import Mixed


class Losses:
    """Cross-entropy of each head. In training, labels are smoothed and the first head's classes weighted, if requested.

    ``balanced``: weights of the first head's classes, float32 [classes], or None if all images count the same.
    """

    def __init__(self, data: Resident, config: RunConfig) -> None:
        self._first = config.targets[0]
        self._weights = {target.name: target.weight for target in data.dataset.targets if target.name in config.targets}
        self._smoothing = config.label_smoothing
        self.balanced: Tensor | None = None
        if config.class_weights == "balanced":
            labels = data.targets("train", slice(None))[self._first]
            self.balanced = balanced_weights(labels.cpu(), data.dataset.target(self._first).classes).to(data.device)

    def means(self, logits: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """The mean loss of each head over a batch, as an evaluation reports it."""
        return {name: F.cross_entropy(output.float(), targets[name]) for name, output in logits.items()}

    def training(self, logits: dict[str, Tensor], targets: dict[str, Tensor], mixed: Mixed) -> dict[str, Tensor]:
        """The loss of each head on a mixed batch: each image has the label of its partner in part."""
        own = self._training_means(logits, targets)
        if mixed.partners is None:
            return own
        others = {name: values.index_select(0, mixed.partners) for name, values in targets.items()}
        foreign = self._training_means(logits, others)
        return {name: own[name].lerp(foreign[name], 1 - mixed.share) for name in own}

    def _training_means(self, logits: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: self._training_mean(name, output.float(), targets[name]) for name, output in logits.items()}

    def _training_mean(self, name: str, output: Tensor, targets: Tensor) -> Tensor:
        if self.balanced is None or name != self._first:
            return F.cross_entropy(output, targets, label_smoothing=self._smoothing)
        # torch's own weights would divide by those of the batch, so that a rare class counts less where it occurs, and
        # would also weight the classes among which a label is smoothed.
        losses = F.cross_entropy(output, targets, label_smoothing=self._smoothing, reduction="none")
        return (losses * self.balanced.index_select(0, targets)).mean()

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The training loss: the weighted sum over all heads."""
        # Multiplying by 1 would launch two more kernels per step for nothing.
        weights = self._weights
        weighted = [loss if weights[name] == 1 else weights[name] * loss for name, loss in losses.items()]
        return weighted[0] if len(weighted) == 1 else torch.stack(weighted).sum()

    def total_value(self, losses: dict[str, float]) -> float:
        """The weighted sum over all heads of an evaluation."""
        return sum(self._weights[name] * loss for name, loss in losses.items())


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """Weights inversely proportional to each class's images, whose mean over all images is 1: float32 [classes].

    labels: int64 [N], on the CPU. The weight of a class without images is 0.
    """
    counts = torch.bincount(labels, minlength=classes).double()
    occurring = int((counts > 0).sum())
    return torch.where(counts > 0, len(labels) / (occurring * counts.clamp(min=1)), 0).float()
