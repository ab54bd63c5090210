"""Optimisers and learning-rate schedules; a schedule is a function of the step and a few figures that JSON can say."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import nn

from app.contract.spec import RunConfig

PLATEAU_FACTOR = 0.1
PLATEAU_PATIENCE = 10
PLATEAU_THRESHOLD = 1e-4


class Schedule(Protocol):
    """Learning rate by optimiser step."""

    def rate(self, step: int) -> float:
        """The rate for the step after ``step`` steps."""
        ...

    def after_validation(self, loss: float) -> None:
        """Hear a validation loss."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of state."""
        ...


class Constant:
    """The same rate throughout."""

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def rate(self, step: int) -> float:
        return self._rate

    def after_validation(self, loss: float) -> None:
        return

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        return


class Cosine(Constant):
    """Half a cosine from ``rate`` to ``lowest`` over ``steps`` (Loshchilov & Hutter 2017, without restarts)."""

    def __init__(self, rate: float, lowest: float, steps: int) -> None:
        super().__init__(rate)
        self._lowest = lowest
        self._steps = max(1, steps)

    def rate(self, step: int) -> float:
        part = min(1.0, step / self._steps)
        return self._lowest + 0.5 * (self._rate - self._lowest) * (1 + math.cos(math.pi * part))


class Plateau(Constant):
    """A tenth of the rate after ten validations without a lower loss."""

    def __init__(self, rate: float) -> None:
        super().__init__(rate)
        self._best = math.inf
        self._bad = 0

    def after_validation(self, loss: float) -> None:
        if loss < self._best * (1 - PLATEAU_THRESHOLD):
            self._best, self._bad = loss, 0
            return
        self._bad += 1
        if self._bad > PLATEAU_PATIENCE:
            self._rate *= PLATEAU_FACTOR
            self._bad = 0

    def state(self) -> dict[str, Any]:
        return {"rate": self._rate, "best": None if math.isinf(self._best) else self._best, "bad": self._bad}

    def restore(self, state: dict[str, Any]) -> None:
        self._rate, self._bad = state["rate"], state["bad"]
        self._best = math.inf if state["best"] is None else state["best"]


def make_schedule(config: RunConfig, steps: int) -> Schedule:
    """The schedule that ``config`` names, over ``steps`` optimiser steps in all."""
    if config.schedule == "cosine":
        return Cosine(config.lr, config.lr_min, steps)
    return Plateau(config.lr) if config.schedule == "plateau" else Constant(config.lr)


def make_optimizer(network: nn.Module, config: RunConfig, device: torch.device) -> torch.optim.Optimizer:
    """The optimiser that ``config`` names, fused into one kernel."""
    parameters = list(network.parameters())
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True
        )
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, config.lr, weight_decay=config.weight_decay, fused=True)
