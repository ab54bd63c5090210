"""Where in a picture a network sees a class: Grad-CAM, attention rollout, or occlusion.

Every function takes ``logits``, float inputs [N, C, H, W] -> the logits of one head [N, classes], and one normalized
input [1, C, H, W]. It returns a map, float32 [h, w] in 0..1, whose largest value is 1 unless it is 0 throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.convnext_v2 import ConvNeXtV2
from models.efficientnet import EfficientNet
from models.simple_cnn import SimpleCNN
from models.vit import Attention, VisionTransformer

Logits = Callable[[Tensor], Tensor]
Method = Literal["Grad-CAM", "attention rollout", "occlusion"]

COARSEST: Final = 4
"""Grad-CAM looks at the last layer whose maps still have this side: the last ones of a small image have 1 pixel."""
WINDOWS: Final = 7
"""Occluded windows across a picture that do not overlap; they move by half of their side."""
CHUNK: Final = 64


def explain(network: nn.Module, logits: Logits, image: Tensor, label: int) -> tuple[Tensor, Method]:
    """The map of a class, [H, W] of the image, by the method that suits the network."""
    side = (image.shape[-2], image.shape[-1])
    if isinstance(network, VisionTransformer):
        return _resized(rollout(network, logits, image), side), "attention rollout"
    layers = convolutional(network)
    if layers is not None:
        return _resized(grad_cam(layers, logits, image, label), side), "Grad-CAM"
    return occlusion(logits, image, label), "occlusion"


def convolutional(network: nn.Module) -> Sequence[nn.Module] | None:
    """The layers whose outputs are maps, in forward order; None for a network whose layers are not known."""
    match network:
        case SimpleCNN():
            # Up to the last activation; the pooled maps after it are coarser.
            return list(network.body[:7])
        case ConvNeXtV2():
            return list(network.stages)
        case EfficientNet():
            return list(network.body)
    return None


def grad_cam(layers: Sequence[nn.Module], logits: Logits, image: Tensor, label: int) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017): the maps of a layer, weighted by the mean gradient of the class's logit.

    The layer is the last one of ``layers`` whose maps have a side of at least COARSEST, or the finest one.
    """
    found: list[Tensor] = []

    def keep(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        if not found or min(output.shape[2:]) >= min(COARSEST, *found[-1].shape[2:]):
            found.append(output)

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        with torch.enable_grad():
            score = logits(image.detach().clone().requires_grad_())[0, label]
    finally:
        for hook in hooks:
            hook.remove()
    maps = found[-1]
    (gradient,) = torch.autograd.grad(score, maps)
    weights = gradient.mean((2, 3), keepdim=True)
    return _scaled((weights * maps.detach()).sum(1)[0].relu())


def rollout(network: VisionTransformer, logits: Logits, image: Tensor) -> Tensor:
    """Attention rollout (Abnar & Zuidema 2020): how much of each patch reaches what feeds the heads.

    Attention is averaged over its heads and, for the residual, with the identity; the layers are multiplied. It is the
    same for all classes.
    """
    mixed: list[Tensor] = []

    def keep(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, Attention)
        stacked = layer.query_key_value(given[0]).unflatten(-1, (3, layer.heads, -1))
        query, key, _ = stacked.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(-1)
        mixed.append(weights[0].mean(0))

    hooks = [layer.register_forward_pre_hook(keep) for layer in network.modules() if isinstance(layer, Attention)]
    try:
        with torch.no_grad():
            logits(image)
    finally:
        for hook in hooks:
            hook.remove()
    reached = rolled(mixed)
    has_token = network.token is not None
    of_patches = reached[0, 1:] if has_token else reached.mean(0)
    across = round(len(of_patches) ** 0.5)
    return _scaled(of_patches.view(across, across))


def rolled(attentions: Sequence[Tensor]) -> Tensor:
    """Attentions [T, T] of all layers, first one first, as one: row i says where the last token i comes from."""
    identity = torch.eye(len(attentions[0]))
    reached = identity
    for attention in attentions:
        reached = (attention + identity) / 2 @ reached
    return reached


def occlusion(logits: Logits, image: Tensor, label: int) -> Tensor:
    """Occlusion (Zeiler & Fergus 2014): how far the class's logit falls where a window is gray, [H, W].

    Gray is the mean of the training images, 0 in a normalized input. Each pixel has the mean over its windows.
    """
    high, wide = image.shape[-2:]
    window = max(1, round(min(high, wide) / WINDOWS))
    step = max(1, window // 2)
    tops, lefts = (_starts(length, window, step) for length in (high, wide))
    places = [(top, left) for top in tops for left in lefts]
    total, count = torch.zeros(high, wide), torch.zeros(high, wide)
    with torch.no_grad():
        before = logits(image)[0, label]
        for start in range(0, len(places), CHUNK):
            some = places[start : start + CHUNK]
            covered = image.repeat(len(some), 1, 1, 1)
            for row, (top, left) in enumerate(some):
                covered[row, :, top : top + window, left : left + window] = 0
            falls = before - logits(covered)[:, label]
            for fall, (top, left) in zip(falls, some, strict=True):
                total[top : top + window, left : left + window] += fall
                count[top : top + window, left : left + window] += 1
    return _scaled((total / count).relu())


def _starts(length: int, window: int, step: int) -> list[int]:
    """Where windows begin, the last one at the end."""
    return [*range(0, length - window, step), length - window]


def _scaled(values: Tensor) -> Tensor:
    most = float(values.max())
    return values / most if most > 0 else torch.zeros_like(values)


def _resized(values: Tensor, side: tuple[int, int]) -> Tensor:
    return F.interpolate(values[None, None], side, mode="bilinear", align_corners=False)[0, 0].clamp(0, 1)
