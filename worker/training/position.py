"""Where a run is in its training: its position, its best validation so far, and its planned course."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

NEVER = math.inf


@dataclass
class Position:
    """Where a run stands: ``epoch`` is the one being trained, ``done`` its optimizer steps so far, ``step`` all."""

    epoch: int = 0
    done: int = 0
    step: int = 0


@dataclass
class Best:
    """The best validation so far; its checkpoint's path in the artifact store."""

    accuracy: float = -1.0
    loss: float = float("inf")
    epoch: int = -1
    step: int = 0
    path: str = ""

    def beaten_by(self, accuracy: float, loss: float) -> bool:
        """Whether these figures are better: by accuracy, and by loss between equals."""
        return (accuracy, -loss) > (self.accuracy, -self.loss)


@dataclass
class Course:
    """Where a run is going, by its configuration and what was changed since.

    ``epochs``: after so many it ends; ``planned``: over so many its learning rate is planned; ``factor``: of that rate;
    ``done``: the changes that are in all this.
    """

    epochs: int
    planned: int
    factor: float = 1.0
    done: list[int] = field(default_factory=list)
