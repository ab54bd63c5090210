"""The weight initialization shared by ConvNeXt V2 and the vision transformer."""

from torch import nn


def draw_truncated_normal(module: nn.Module) -> None:
    """Initialize all linear and convolutional layers of a module: weights from N(0, 0.02), cut at ±2; biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
