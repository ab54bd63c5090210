"""The initialization that ConvNeXt V2 and the vision transformer share."""

from torch import nn


def draw_truncated_normal(module: nn.Module) -> None:
    """Draw the weights of every linear and convolutional layer below from N(0, 0.02), cut at 2; biases become 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
