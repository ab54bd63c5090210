"""Names of the metrics that runs report, such as ``val/acc`` or ``val/digit/f1``, and what their last part means."""

from __future__ import annotations

from typing import Final

from app.contract.dataset import Dataset, Target

ACCURACIES: Final = ("acc", "macro_acc", "top5")
"""Stored from 0 to 1 and shown in percent: accuracy, mean of each class's accuracy, label among the five best."""
F1: Final = "f1"
"""Mean of each class's F1, from 0 to 1."""
PER_CLASS: Final = ("macro_acc", F1)
"""Metrics in which each class counts the same."""
ADDITIONAL: Final = (*PER_CLASS, "top5")
"""What some heads report besides loss and accuracy, and earlier versions did not."""
TOP5_CLASSES: Final = 20
"""Heads with at least this many classes report the top-5 accuracy."""


ROBUST: Final = "robust"
"""The first part of the names of a robustness card's metrics, such as ``robust/acc`` and ``robust/rotation/acc``."""


def last_part(name: str) -> str:
    """Return what a metric measures, without its stage and target: "acc" of "val/digit/acc"."""
    return name.rsplit("/", 1)[-1]


def is_accuracy(name: str) -> bool:
    """Whether a metric is an accuracy, which is shown in percent."""
    return last_part(name) in ACCURACIES


def is_share(name: str) -> bool:
    """Whether a metric has values between 0 and 1."""
    return is_accuracy(name) or last_part(name) == F1


def additional_metrics(dataset: Dataset, target: Target, uneven: bool = False) -> list[str]:
    """Return what is reported of a head besides loss and accuracy; ``uneven``: its classes differ in size."""
    per_class = PER_CLASS if uneven or dataset.version else ()
    return [*per_class, *(["top5"] if target.classes >= TOP5_CLASSES else [])]
