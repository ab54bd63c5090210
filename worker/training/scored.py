"""What a network predicted for the images of a split, collected on the device while it is evaluated anyway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from app.contract.predictions import TOP, Classes, Floats, HeadPredictions

WAITING: Final = 2**22
"""Logits of a head that wait until they are reduced together, which takes one operation instead of one per batch."""


@dataclass(frozen=True)
class _Reduced:
    """Probabilities, float32 [N, K], and their classes, int64 [N, K], if these are only the largest ones in descending
    order; ``true``, float32 [N]: those of the labels, int64 [N].
    """

    labels: Tensor
    true: Tensor
    probabilities: Tensor
    classes: Tensor | None

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> _Reduced:
        """From logits [N, C] of any floating type, and labels, int64 [N]."""
        probabilities = logits.float().softmax(1)
        true = probabilities.gather(1, labels[:, None])[:, 0]
        if logits.shape[1] < TOP:
            return cls(labels, true, probabilities, None)
        found, classes = probabilities.topk(TOP, 1)
        return cls(labels, true, found, classes)


@dataclass(frozen=True)
class Answer:
    """The predicted class of each image, uint16 [N], and its probability, float16 [N]."""

    predicted: Classes
    confidence: Floats


class Scored:
    """Predictions for the images of one split, in the order in which they are added.

    Nothing waits for the device before `answers` or `predictions` is called.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
        self._elements = 0
        self._reduced: dict[str, list[_Reduced]] = {}

    def add(self, logits: dict[str, Tensor], targets: Mapping[str, Tensor]) -> None:
        """Add a batch: logits [N, classes] and labels [N] by head."""
        self._waiting.append((logits, dict(targets)))
        self._elements += max(output.numel() for output in logits.values())
        if self._elements > WAITING:
            self._reduce()

    def _reduce(self) -> None:
        waiting, self._waiting, self._elements = self._waiting, [], 0
        for name in waiting[0][0] if waiting else ():
            logits = torch.cat([outputs[name] for outputs, _ in waiting])
            labels = torch.cat([targets[name] for _, targets in waiting])
            self._reduced.setdefault(name, []).append(_Reduced.of(logits, labels))

    def _heads(self) -> dict[str, _Reduced]:
        """One for each head, still on the device."""
        with torch.inference_mode():
            self._reduce()
            for name, parts in self._reduced.items():
                if len(parts) > 1:
                    classes = [part.classes for part in parts if part.classes is not None]
                    whole = _Reduced(
                        torch.cat([part.labels for part in parts]),
                        torch.cat([part.true for part in parts]),
                        torch.cat([part.probabilities for part in parts]),
                        torch.cat(classes) if classes else None,
                    )
                    self._reduced[name] = [whole]
        return {name: parts[0] for name, parts in self._reduced.items()}

    def answers(self) -> dict[str, Answer]:
        """The answer of each head; waits for the device."""
        with torch.inference_mode():
            found = {}
            for name, head in self._heads().items():
                if head.classes is None:
                    confidence, predicted = head.probabilities.max(1)
                else:
                    confidence, predicted = head.probabilities[:, 0], head.classes[:, 0]
                # As int16, since torch can do little with uint16.
                found[name] = confidence.half().cpu(), predicted.to(torch.int16).cpu()
        return {
            name: Answer(predicted.numpy().view(np.uint16), each.numpy()) for name, (each, predicted) in found.items()
        }

    def labels(self) -> dict[str, Classes]:
        """The true classes of each head, uint16 [N]; waits for the device."""
        return {name: head.labels.cpu().numpy().astype(np.uint16) for name, head in self._heads().items()}

    def predictions(self) -> dict[str, HeadPredictions]:
        """What is stored of each head; waits for the device."""
        found = {}
        for name, head in self._heads().items():
            labels = head.labels.cpu().numpy()
            probabilities = head.probabilities.cpu().numpy()
            if head.classes is None:
                found[name] = HeadPredictions.of(probabilities, labels)
                continue
            classes = head.classes.cpu().numpy()
            # Devices order equal ones differently.
            order = np.lexsort((classes, -probabilities), 1)
            found[name] = HeadPredictions(
                labels.astype(np.uint16),
                head.true.cpu().numpy().astype(np.float16),
                np.take_along_axis(probabilities, order, 1).astype(np.float16),
                np.take_along_axis(classes, order, 1).astype(np.uint16),
            )
        return found
