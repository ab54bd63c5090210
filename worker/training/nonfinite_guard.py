"""Detects a loss that becomes NaN or infinite, without making the training step wait for the device."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class Diverged(Exception):
    """The loss is not finite; the message is the sentence for the user."""


@dataclass(frozen=True)
class StepLoss:
    """One training step: its loss on the device, its learning rate, and its gradient norm if that was computed."""

    step: int
    loss: Tensor
    rate: float
    norm: Tensor | None = None


class LossWatch:
    """Checks the losses of steps. Those on a GPU are copied asynchronously and checked once they arrive."""

    def __init__(self) -> None:
        self._in_flight: deque[tuple[Sequence[StepLoss], Tensor, Any]] = deque()
        self._last: StepLoss | None = None

    def check(self, steps: Sequence[StepLoss]) -> str | None:
        """Add further steps; returns a sentence about the first known step whose loss is not finite."""
        if not steps:
            return None
        if steps[0].loss.is_cpu:
            return self._first_nonfinite(steps, [step.loss.item() for step in steps])
        self._in_flight.append((steps, *_fetched(torch.stack([step.loss.float() for step in steps]))))
        return self._arrived(wait=False)

    def settle(self) -> str | None:
        """The same, after waiting for the losses of all steps added so far."""
        return self._arrived(wait=True)

    def _arrived(self, wait: bool) -> str | None:
        while self._in_flight and (wait or self._in_flight[0][2].query()):
            steps, losses, copied = self._in_flight.popleft()
            copied.synchronize()
            if sentence := self._first_nonfinite(steps, losses.tolist()):
                return sentence
        return None

    def _first_nonfinite(self, steps: Sequence[StepLoss], losses: Sequence[float]) -> str | None:
        for step, loss in zip(steps, losses, strict=True):
            if not math.isfinite(loss):
                return self._sentence(step, loss)
            self._last = step
        return None

    def _sentence(self, step: StepLoss, loss: float) -> str:
        event = f"loss became {describe_nonfinite(loss)} at step {step.step:,}"
        if self._last is None:
            return f"{event}, the first step of this attempt, at learning rate {step.rate:g}"
        last = self._last
        details = [f"learning rate {last.rate:g}"]
        if last.norm is not None:
            details.append(f"gradient norm {last.norm.item():.4g} before clipping")
        return f"{event}; last finite loss: {last.loss.item():.4g} at step {last.step:,} ({', '.join(details)})"


def _fetched(losses: Tensor) -> tuple[Tensor, Any]:
    """Start copying losses from a GPU; returns their destination and the event that marks the copy as done."""
    destination = torch.empty(losses.shape, pin_memory=True)
    destination.copy_(losses, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()
    return destination, copied


def describe_nonfinite(value: float) -> str:
    """The name of a value that is not finite."""
    return "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"


def all_finite(network: torch.nn.Module) -> bool:
    """Whether all values in a network's state are finite; waits for the device once."""
    values = [value for value in network.state_dict().values() if value.is_floating_point() and value.numel()]
    if not values:
        return True
    # The largest absolute value of each: one call for all tensors, and NaN passes through.
    largest = torch._foreach_norm(values, math.inf)
    return bool(torch.stack([value.double() for value in largest]).isfinite().all().item())
