"""Learning-rate schedules: functions of the step and of a few JSON-compatible values."""

from __future__ import annotations

import math
from typing import Any

from app.contract.schedules import rate_at
from app.contract.spec import RunConfig

PLATEAU_THRESHOLD = 1e-4


class Schedule:
    """Learning rate by optimizer step, as `app/contract/schedules.py` plans it over ``steps`` in total."""

    def __init__(self, config: RunConfig, steps: int) -> None:
        self._config = config
        self._steps = max(1, steps)

    def rate(self, step: int) -> float:
        """The learning rate of the next step, after ``step`` steps."""
        return rate_at(self._config, step, self._steps)

    def after_validation(self, loss: float) -> None:
        """Update the schedule with a validation loss."""

    def state(self) -> dict[str, Any]:
        """The state to store in a checkpoint."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of state."""


class Plateau(Schedule):
    """Multiplies the rate by ``plateau_factor`` after more than ``plateau_patience`` epochs without a lower loss."""

    def __init__(self, config: RunConfig, steps: int) -> None:
        super().__init__(config, steps)
        self._share = 1.0
        self._best = math.inf
        self._bad = 0

    def rate(self, step: int) -> float:
        return super().rate(step) * self._share

    def after_validation(self, loss: float) -> None:
        if loss < self._best * (1 - PLATEAU_THRESHOLD):
            self._best, self._bad = loss, 0
            return
        self._bad += 1
        if self._bad > self._config.plateau_patience:
            self._share *= self._config.plateau_factor
            self._bad = 0

    def state(self) -> dict[str, Any]:
        return {"share": self._share, "best": None if math.isinf(self._best) else self._best, "bad": self._bad}

    def restore(self, state: dict[str, Any]) -> None:
        # The first version stored the rate itself.
        self._share = state["share"] if "share" in state else state["rate"] / self._config.lr
        self._bad = state["bad"]
        self._best = math.inf if state["best"] is None else state["best"]


def make_schedule(config: RunConfig, steps: int) -> Schedule:
    """The schedule that ``config`` names, over ``steps`` optimizer steps in total."""
    return (Plateau if config.schedule == "plateau" else Schedule)(config, steps)
