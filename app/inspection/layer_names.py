"""Describes the settings of a module: "3×3, 32 → 64, stride 2"."""

from __future__ import annotations

from typing import Any

from torch import nn

from app.inspection.trace import Part


def describe_part(part: Part) -> str:
    """The settings of a part, "" if it has none; for a parameter, its shape."""
    match part.module:
        case None:
            return dimensions(part.shape)
        case nn.Linear() as layer:
            return f"{layer.in_features:,} → {layer.out_features:,}"
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d() as layer:
            return ", ".join([kernel(layer), f"{layer.in_channels} → {layer.out_channels}", *_step(layer.stride)])
        case nn.MaxPool2d() | nn.AvgPool2d() as layer:
            return ", ".join([_pair(layer.kernel_size), f"stride {_plain(layer.stride)}"])
        case nn.AdaptiveAvgPool2d() | nn.AdaptiveMaxPool2d() as layer:
            return f"to {_pair(layer.output_size)}"
        case nn.LayerNorm() as layer:
            return f"over {dimensions(list(layer.normalized_shape))}"
        case nn.BatchNorm1d() | nn.BatchNorm2d() | nn.BatchNorm3d() as layer:
            return f"{layer.num_features} channels"
        case nn.GroupNorm() as layer:
            return f"{layer.num_channels} channels, {layer.num_groups} groups"
        case nn.Embedding() as layer:
            return f"{layer.num_embeddings:,} × {layer.embedding_dim}"
        case module:
            return _by_attribute(module)


def dimensions(shape: list[int]) -> str:
    """Format a shape: 64×7×7."""
    return "×".join(map(str, shape))


def kernel(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> str:
    """Format the kernel of a convolution: "depthwise 7×7"."""
    depthwise = layer.groups > 1 and layer.groups == layer.in_channels
    groups = "" if layer.groups == 1 or depthwise else f"in {layer.groups} groups "
    return f"{'depthwise ' if depthwise else groups}{dimensions(list(layer.kernel_size))}"


def attention_heads(module: nn.Module) -> int | None:
    """The number of attention heads that a module declares."""
    for name in ("num_heads", "attention_heads", "heads"):
        heads = getattr(module, name, None)
        if isinstance(heads, int) and not isinstance(heads, bool):
            return heads
    return None


def _by_attribute(module: nn.Module) -> str:
    heads = attention_heads(module)
    if heads is not None:
        return f"{heads} heads"
    for name in ("p", "rate", "drop_prob"):
        share = getattr(module, name, None)
        if isinstance(share, float):
            return f"rate {share:.3g}"
    return ""


def _step(stride: tuple[int, ...]) -> list[str]:
    return [] if set(stride) == {1} else [f"stride {_plain(stride)}"]


def _plain(given: Any) -> str:
    if isinstance(given, tuple | list):
        return str(given[0]) if len(set(given)) == 1 else dimensions(list(given))
    return str(given)


def _pair(given: Any) -> str:
    return dimensions(list(given)) if isinstance(given, tuple | list) else f"{given}×{given}"
