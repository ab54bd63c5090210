"""Learning-rate schedules as functions of the step, for training and for the launch form's preview."""

from __future__ import annotations

import math
from typing import Protocol

ONE_CYCLE_START = 1 / 25


class Schedule(Protocol):
    """The fields of a run's configuration that shape its learning rate."""

    @property
    def schedule(self) -> str:
        """constant, plateau, cosine or one_cycle."""

    @property
    def lr(self) -> float:
        """The peak learning rate."""

    @property
    def lr_min(self) -> float:
        """The learning rate at the end of cosine and one_cycle."""

    @property
    def warmup(self) -> float:
        """Warmup as a fraction of all steps, 0 to 1."""


def rate_at(config: Schedule, step: int, steps: int) -> float:
    """Return the learning rate of optimizer step ``step`` (the first is 0) out of ``steps``.

    cosine: half a cosine from lr to lr_min (Loshchilov & Hutter 2017, without restarts). one_cycle: from lr/25 up to lr
    during warmup, then down to lr_min, both along half a cosine (Smith & Topin 2018; momentum is constant). plateau:
    the rate as long as the validation loss falls. Warmup is linear in all schedules except one_cycle.
    """
    warmup = warmup_steps(config, steps)
    if config.schedule == "one_cycle":
        if step < warmup:
            return _half_cosine(config.lr * ONE_CYCLE_START, config.lr, step / warmup)
        return _half_cosine(config.lr, config.lr_min, (step - warmup) / max(1, steps - warmup))
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    if config.schedule == "cosine":
        return _half_cosine(config.lr, config.lr_min, (step - warmup) / max(1, steps - warmup))
    return config.lr


def warmup_steps(config: Schedule, steps: int) -> int:
    """Return the number of warmup steps out of ``steps``."""
    return round(config.warmup * steps)


def curve(config: Schedule, steps: int, points: int = 120) -> list[tuple[int, float]]:
    """Sample the schedule at about ``points`` steps, including first, last and peak, as (step, rate)."""
    last = max(1, steps) - 1
    sampled = sorted(
        {round(i * last / max(1, points - 1)) for i in range(points)} | {min(warmup_steps(config, steps), last)}
    )
    return [(step, rate_at(config, step, max(1, steps))) for step in sampled]


def _half_cosine(start: float, end: float, fraction: float) -> float:
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * min(1.0, fraction)))
