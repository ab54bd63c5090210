"""Dropout that is quick to draw on a CPU."""

import torch
from torch import Tensor, nn

LEVELS = 2**16


class Dropout(nn.Dropout):
    """Zeroes each element of a tensor of any shape with probability `p` while training, and scales the others up by
    1 / (1 - p); does nothing in evaluation. Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks
    from Overfitting".

    On a CPU, torch draws a number for every element, one after the other. Here, a 64-bit number decides on four
    elements, with `p` rounded to a multiple of 2^-16.
    """

    def forward(self, input: Tensor) -> Tensor:
        dropped = round(self.p * LEVELS)
        own = self.training and input.device.type == "cpu" and 0 < dropped < LEVELS and not self.inplace
        if not own:
            return super().forward(input)
        numbers = torch.randint(-(2**63), 2**63 - 1, ((input.numel() + 3) // 4,))
        levels = numbers.view(torch.int16)[: input.numel()].view(input.shape)
        scale = (levels >= dropped - LEVELS // 2).to(input.dtype).mul_(LEVELS / (LEVELS - dropped))
        return input * scale
