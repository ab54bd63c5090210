"""A check for networks with batch normalization."""

from torch import Tensor, nn


def require_two_images(network: nn.Module, images: Tensor) -> None:
    """Raise ValueError for a training batch of one: its variance, which BatchNorm divides by, is undefined."""
    if network.training and len(images) < 2:
        raise ValueError(
            f"{type(network).__name__} uses batch normalization and cannot train with batch size {len(images)}; "
            "use a batch size of at least 2, or an architecture without batch normalization, such as simple_mlp"
        )
