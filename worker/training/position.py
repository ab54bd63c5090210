"""A run's state of training: its position, its best validation so far, and its planned course."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

NEVER = math.inf


@dataclass
class Position:
    """The current position: ``epoch`` in training, ``done`` optimizer steps of it, ``step`` in total."""

    epoch: int = 0
    done: int = 0
    step: int = 0


@dataclass
class Best:
    """The best validation so far, with its checkpoint's path in the artifact store."""

    accuracy: float = -1.0
    loss: float = float("inf")
    epoch: int = -1
    step: int = 0
    path: str = ""

    def beaten_by(self, accuracy: float, loss: float) -> bool:
        """Whether these values are better: by accuracy, then by loss."""
        return (accuracy, -loss) > (self.accuracy, -self.loss)


@dataclass
class Course:
    """The planned course of a run, from its configuration and the changes made since.

    ``epochs``: the number after which it ends; ``planned``: the number that its learning-rate schedule covers;
    ``factor``: multiplies the scheduled rate; ``done``: ids of the changes already made.
    """

    epochs: int
    planned: int
    factor: float = 1.0
    done: list[int] = field(default_factory=list)
