"""Drop path, also called stochastic depth (Huang et al. 2016, "Deep Networks with Stochastic Depth")."""

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Adds a residual branch [N, ...] to its skip connection.

    In training the branch is dropped for each image independently with probability `rate` and otherwise divided by 1 -
    rate, so its expectation stays the same. Draws from torch's random state.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"the drop-path rate must be at least 0 and less than 1, not {rate}")
        self.rate = rate

    def forward(self, skip: Tensor, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return skip + branch
        kept = branch.new_empty((len(branch),) + (1,) * (branch.ndim - 1)).bernoulli_(1 - self.rate)
        return torch.addcmul(skip, branch, kept, value=1 / (1 - self.rate))

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3g}"


def linear_rates(rate: float, blocks: int) -> list[float]:
    """The rate of each block, linear from 0 at the first to `rate` at the last."""
    return [rate * (block / max(blocks - 1, 1)) for block in range(blocks)]
