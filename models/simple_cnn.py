"""Two convolutions and one hidden layer, with optional auxiliary scalars."""

import torch
from torch import Tensor, nn

from models._dropout import Dropout
from models._heads import Heads
from models._registry import Family, Shape, Size, register

AUXILIARY_WIDTH = 32


class SimpleCNN(nn.Module):
    """Twice Conv 3x3, BatchNorm, ReLU, MaxPool 2; average pooling; Linear, ReLU, Dropout; a Linear per head.

    images: [N, C, H, W] float, sides of at least 4 pixels (ValueError otherwise). A shape with n auxiliary scalars adds
    a small network on auxiliary [N, n] float, whose features are concatenated with those of the image; omitting them,
    or passing some to a network built without, raises ValueError. After LeCun et al. 1998.
    """

    def __init__(self, shape: Shape, conv: tuple[int, int], fc: int, dropout: float = 0.25, pool: int = 7) -> None:
        super().__init__()
        if shape.side < 4:
            raise ValueError(
                f"simple_cnn downsamples images twice and needs at least 4×4 pixels, not {shape.side}×{shape.side}"
            )
        first, second = conv
        self.body = nn.Sequential(
            nn.Conv2d(shape.channels, first, 3, padding=1),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 3, padding=1),
            nn.BatchNorm2d(second),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            average_pool(shape.side // 4, pool),
            nn.Flatten(),
            nn.Linear(second * pool**2, fc),
            nn.ReLU(inplace=True),
            Dropout(dropout),
        )
        self.scalars = shape.auxiliary
        if self.scalars:
            self.auxiliary = nn.Sequential(
                nn.Linear(self.scalars, AUXILIARY_WIDTH),
                nn.ReLU(inplace=True),
                Dropout(dropout / 2),
                nn.Linear(AUXILIARY_WIDTH, AUXILIARY_WIDTH),
                nn.ReLU(inplace=True),
            )
        self.heads = Heads(fc + (AUXILIARY_WIDTH if self.scalars else 0), shape.heads)

    def forward(self, images: Tensor, auxiliary: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        given = 0 if auxiliary is None else auxiliary.shape[-1]
        if given != self.scalars:
            raise ValueError(f"this network takes {self.scalars} auxiliary scalars per image, not {given}")
        features = self.body(images)
        if auxiliary is not None:
            features = torch.cat((features, self.auxiliary(auxiliary)), dim=1)
        logits: Tensor | dict[str, Tensor] = self.heads(features)
        return logits


def average_pool(side: int, pooled: int) -> nn.Module:
    """Adaptive average pooling of side x side to pooled x pooled.

    If all its windows are equal (7 to 7, 8 to 7, 8 to 4: every dataset here), plain average pooling does the same, and
    its gradient on CUDA, unlike the adaptive one's, is the same in every run.
    """
    windows = [(i * side // pooled, -(-(i + 1) * side // pooled)) for i in range(pooled)]
    kernel, stride = windows[0][1], windows[1][0] if pooled > 1 else 1
    if side == pooled:
        return nn.Identity()
    if stride and windows == [(i * stride, i * stride + kernel) for i in range(pooled)]:
        return nn.AvgPool2d(kernel, stride)
    return nn.AdaptiveAvgPool2d(pooled)


LARGE = {"conv": (64, 128), "fc": 512, "dropout": 0.5}

register(
    Family(
        name="simple_cnn",
        summary="A small convolutional network: two convolutions, one hidden layer, optional auxiliary scalars.",
        when="Image classification with spatial structure, several targets or auxiliary scalars.",
        build=SimpleCNN,
        sizes=(
            Size("tiny", {"conv": (3, 6), "fc": 25, "dropout": 0.25}, (7_851, 7_905, 10_245)),
            Size("small", {"conv": (8, 20), "fc": 68, "dropout": 0.25}, (68_994, 69_138, 75_348)),
            Size("base", {"conv": (32, 64), "fc": 128, "dropout": 0.25}, (421_834, 422_410, 434_020)),
            Size("large", LARGE, (3_291_786, 3_292_938, 3_339_108)),
            Size("large_pool4", {**LARGE, "pool": 4}, (1_129_098, 1_130_250, 1_176_420)),
        ),
        default="base",
        takes_auxiliary=True,
        reference="LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition",
        order=3,
    )
)
