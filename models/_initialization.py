"""The weight initializations that ConvNeXt V2 and the vision transformer offer."""

import math
from collections.abc import Iterable

from torch import Tensor, nn

from models._registry import Option

SCHEMES = ("scaled", "trunc_normal_002")
INIT = Option(
    "init",
    "scaled",
    SCHEMES,
    "Weight initialization: scaled by layer width, or truncated normal with standard deviation 0.02.",
)
"""The option of a family that calls `initialize`."""


def initialize(module: nn.Module, scheme: str, ends: Iterable[nn.Linear]) -> None:
    """Initialize all linear and convolutional layers of a module; biases are 0.

    `ends` are the layers at the ends of residual branches. "scaled": normal with variance 1 / inputs, which keeps the
    variance of what passes a layer (LeCun et al. 1998, "Efficient BackProp"); for `ends` divided by their number, so
    that all branches together add no more than one layer would (Radford et al. 2019, "Language Models are Unsupervised
    Multitask Learners"). "trunc_normal_002": `draw_truncated_normal`. ValueError for another scheme.
    """
    if scheme == "trunc_normal_002":
        draw_truncated_normal(module)
    elif scheme == "scaled":
        _draw_scaled(module, list(ends))
    else:
        raise ValueError(f"no init {scheme!r}; init: {', '.join(SCHEMES)}")


def draw_truncated_normal(module: nn.Module) -> None:
    """Initialize all linear and convolutional layers of a module: weights from N(0, 0.02), cut at ±2; biases 0.

    Made for widths of about 768: narrow layers let hardly anything through with it.
    """
    for weight, bias in _parameters(module):
        nn.init.trunc_normal_(weight, std=0.02)
        if bias is not None:
            nn.init.zeros_(bias)


def _draw_scaled(module: nn.Module, ends: list[nn.Linear]) -> None:
    shrunk = {id(layer.weight) for layer in ends}
    for weight, bias in _parameters(module):
        branches = len(ends) if id(weight) in shrunk else 1
        nn.init.normal_(weight, std=1 / math.sqrt(weight[0].numel() * branches))
        if bias is not None:
            nn.init.zeros_(bias)


def _parameters(module: nn.Module) -> Iterable[tuple[Tensor, Tensor | None]]:
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            yield layer.weight, layer.bias
