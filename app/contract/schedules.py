"""Learning-rate schedules as plain functions of the step: the worker trains by them, the launch form draws them."""

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
        """The share of all steps in which the rate rises, 0 to 1."""


def rate_at(config: Schedule, step: int, steps: int) -> float:
    """The learning rate of optimizer step ``step`` (0 is the first) of ``steps`` in all.

    cosine: half a cosine from lr to lr_min (Loshchilov & Hutter 2017, without restarts). one_cycle: up from lr/25 to lr
    within the warm-up, then down to lr_min, both along half a cosine (Smith & Topin 2018; momentum stays). plateau: as
    long as the validation loss falls. In all but one_cycle the rate rises in a straight line within the warm-up.
    """
    rising = warmup_steps(config, steps)
    if config.schedule == "one_cycle":
        if step < rising:
            return _half_cosine(config.lr * ONE_CYCLE_START, config.lr, step / rising)
        return _half_cosine(config.lr, config.lr_min, (step - rising) / max(1, steps - rising))
    if step < rising:
        return config.lr * (step + 1) / (rising + 1)
    if config.schedule == "cosine":
        return _half_cosine(config.lr, config.lr_min, (step - rising) / max(1, steps - rising))
    return config.lr


def warmup_steps(config: Schedule, steps: int) -> int:
    """How many of ``steps`` the rate rises for."""
    return round(config.warmup * steps)


def curve(config: Schedule, steps: int, points: int = 120) -> list[tuple[int, float]]:
    """The schedule to be drawn: (step, rate) at about ``points`` steps, first, last and peak among them."""
    last = max(1, steps) - 1
    shown = sorted(
        {round(i * last / max(1, points - 1)) for i in range(points)} | {min(warmup_steps(config, steps), last)}
    )
    return [(step, rate_at(config, step, max(1, steps))) for step in shown]


def _half_cosine(begin: float, end: float, part: float) -> float:
    return end + 0.5 * (begin - end) * (1 + math.cos(math.pi * min(1.0, part)))
