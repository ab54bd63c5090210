"""Notices a loss that becomes NaN or infinite, without making the training step wait for the device."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class Diverged(Exception):
    """Training came to a loss that is not finite; the message is the sentence for the user."""


@dataclass(frozen=True)
class Made:
    """A step that was made: its loss on the device, its rate, and its gradient's norm where that was computed."""

    step: int
    loss: Tensor
    rate: float
    norm: Tensor | None = None


class Watch:
    """Looks at the losses of steps. Those on a GPU are copied beside its work and looked at once they are there."""

    def __init__(self) -> None:
        self._coming: deque[tuple[Sequence[Made], Tensor, Any]] = deque()
        self._last: Made | None = None

    def look(self, made: Sequence[Made]) -> str | None:
        """Hear of further steps; the sentence about the first one known whose loss is not finite."""
        if not made:
            return None
        if made[0].loss.is_cpu:
            return self._judge(made, [each.loss.item() for each in made])
        self._coming.append((made, *_fetched(torch.stack([each.loss.float() for each in made]))))
        return self._arrived(wait=False)

    def settle(self) -> str | None:
        """The same, once every step that it has heard of is known."""
        return self._arrived(wait=True)

    def _arrived(self, wait: bool) -> str | None:
        while self._coming and (wait or self._coming[0][2].query()):
            made, there, copied = self._coming.popleft()
            copied.synchronize()
            if words := self._judge(made, there.tolist()):
                return words
        return None

    def _judge(self, made: Sequence[Made], losses: Sequence[float]) -> str | None:
        for each, loss in zip(made, losses, strict=True):
            if not math.isfinite(loss):
                return self._sentence(each, loss)
            self._last = each
        return None

    def _sentence(self, made: Made, loss: float) -> str:
        words = f"loss became {named(loss)} at step {made.step:,}"
        if self._last is None:
            return f"{words}, the first one that was made, at learning rate {made.rate:g}"
        last = self._last
        about = [f"learning rate {last.rate:g}"]
        if last.norm is not None:
            about.append(f"gradient norm {last.norm.item():.4g} before clipping")
        return f"{words}; the last finite: {last.loss.item():.4g} at step {last.step:,} ({', '.join(about)})"


def _fetched(losses: Tensor) -> tuple[Tensor, Any]:
    """Where the losses of a GPU will be, and the event that tells when they are there."""
    there = torch.empty(losses.shape, pin_memory=True)
    there.copy_(losses, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()
    return there, copied


def named(value: float) -> str:
    """What a value that is not finite is called."""
    return "NaN" if math.isnan(value) else "infinite" if value > 0 else "minus infinite"


def all_finite(network: torch.nn.Module) -> bool:
    """Whether every number in a network's state is finite; waits for the device once."""
    found = [value.isfinite().all() for value in network.state_dict().values() if value.is_floating_point()]
    return not found or bool(torch.stack(found).all().item())
