"""An exponential moving average of a network's weights, which is evaluated and saved in their place."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """Averages the weights and running statistics of ``network``: each step weighs ``decay`` times as much as the next.

    Early steps weigh less, so that the initial weights do not linger: the decay of step t is at most (1 + t)/(10 + t).
    ``network``: the averaged network, in evaluation mode. Polyak and Juditsky 1992, "Acceleration of Stochastic
    Approximation by Averaging"; the warmup is TensorFlow's.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        mine, theirs = self.network.state_dict(), network.state_dict()
        averaged = [name for name, value in theirs.items() if value.is_floating_point()]
        self._mine = [mine[name] for name in averaged]
        self._theirs = [theirs[name].detach() for name in averaged]
        # Counts, such as how many batches a normalization has seen.
        self._copied = [(mine[name], theirs[name]) for name in theirs if name not in averaged]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after ``step`` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._mine, self._theirs, 1 - decay)
        for mine, theirs in self._copied:
            mine.copy_(theirs)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights and statistics, by name."""
        state: dict[str, Tensor] = self.network.state_dict()
        return state
