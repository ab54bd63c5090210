"""EfficientNet: inverted residual blocks with squeeze-and-excitation, scaled in width and depth together."""

from math import ceil

import torch
from torch import Tensor, nn

from models._batch_norm import require_two_images
from models._drop_path import DropPath, linear_rates
from models._dropout import Dropout
from models._heads import Heads
from models._registry import Family, Option, Shape, Size, register

STEM, HEAD = 32, 1280
#        expand, channels, blocks, stride, kernel
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


class LearnableSwish(nn.Module):
    """x sigmoid(beta x) with one trainable beta, which starts at 1 (Ramachandran et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.beta * x)


SWISHES: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "learnable": LearnableSwish}


class SqueezeExcitation(nn.Module):
    """Weights the channels of [N, C, H, W] by a function of their means (Hu et al. 2018).

    Its 1x1 convolutions see a single pixel, so they are implemented as linear layers.
    """

    def __init__(self, channels: int, squeezed: int, swish: type[nn.Module]) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, squeezed)
        self.swish = swish()
        self.excite = nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.sigmoid(self.excite(self.swish(self.squeeze(x.mean(dim=(2, 3))))))
        return x * weights[:, :, None, None]


class MBConv(nn.Module):
    """Expand 1x1, depthwise, squeeze-and-excitation, project 1x1; with a residual if the shape stays the same."""

    def __init__(
        self, before: int, after: int, expand: int, stride: int, kernel: int, drop_path: float, swish: type[nn.Module]
    ) -> None:
        super().__init__()
        inner = before * expand
        self.branch = nn.Sequential()
        if expand != 1:
            self.branch.extend([nn.Conv2d(before, inner, 1, bias=False), nn.BatchNorm2d(inner), swish()])
        self.branch.extend(
            [
                nn.Conv2d(inner, inner, kernel, stride, padding=kernel // 2, groups=inner, bias=False),
                nn.BatchNorm2d(inner),
                swish(),
                SqueezeExcitation(inner, inner // 4, swish),
                nn.Conv2d(inner, after, 1, bias=False),
                nn.BatchNorm2d(after),
            ]
        )
        self.drop_path = DropPath(drop_path) if stride == 1 and before == after else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.branch(x)
        if self.drop_path is not None:
            y = self.drop_path(x, y)
        return y


class EfficientNet(nn.Module):
    """A stem, seven stages of MBConv, a 1x1 convolution, global average, dropout, a Linear per head.

    images: [N, C, H, W] float of any side. In training a batch of one image raises ValueError: small images end as one
    pixel, which BatchNorm cannot normalize alone. Tan & Le 2019, "EfficientNet: Rethinking Model Scaling for
    Convolutional Neural Networks", a simplified B0.
    """

    def __init__(
        self,
        shape: Shape,
        width: float,
        depth: float,
        dropout: float = 0.2,
        drop_path: float = 0.2,
        swish: str = "silu",
    ) -> None:
        super().__init__()
        activation = SWISHES[swish]
        depths = [ceil(blocks * depth) for _, _, blocks, _, _ in STAGES]
        rates = iter(linear_rates(drop_path, sum(depths)))

        channels = scaled(STEM, width)
        self.body = nn.Sequential(
            nn.Conv2d(shape.channels, channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            activation(),
        )
        for (expand, after, _, stride, kernel), blocks in zip(STAGES, depths, strict=True):
            for block in range(blocks):
                before, channels = channels, scaled(after, width)
                step = stride if block == 0 else 1
                self.body.append(MBConv(before, channels, expand, step, kernel, next(rates), activation))
        before, channels = channels, scaled(HEAD, width)
        self.body.extend([nn.Conv2d(before, channels, 1, bias=False), nn.BatchNorm2d(channels), activation()])
        self.dropout = Dropout(dropout)
        self.heads = Heads(channels, shape.heads)

    def forward(self, images: Tensor, auxiliary: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        require_two_images(self, images)
        features = self.body(images).mean(dim=(2, 3))
        logits: Tensor | dict[str, Tensor] = self.heads(self.dropout(features))
        return logits


def scaled(channels: int, width: float) -> int:
    """Channels times the width factor, rounded up to a multiple of 8."""
    return ceil(channels * width / 8) * 8


# fmt: off
SIZES = (
    Size("tiny",  {"width": 0.002, "depth": 0.3}, (21_880, 22_024, 22_834)),
    Size("mini",  {"width": 0.043, "depth": 0.7}, (66_016, 66_160, 71_290)),
    Size("small", {"width": 0.2,   "depth": 0.5}, (207_624, 207_768, 230_898)),
    Size("base",  {"width": 0.8,   "depth": 1.0}, (4_994_306, 4_994_882, 5_087_132)),
    Size("large", {"width": 1.0,   "depth": 1.0}, (7_155_082, 7_155_658, 7_270_948)),
)
# fmt: on

register(
    Family(
        name="efficientnet",
        summary="A mobile convolutional network: inverted residual blocks with squeeze-and-excitation.",
        when="Efficient inference on mobile and edge devices.",
        build=EfficientNet,
        sizes=SIZES,
        default="small",
        options=(
            Option(
                "swish",
                "silu",
                ("silu", "learnable"),
                "Activation: fixed SiLU, or swish with one trainable beta per activation.",
            ),
        ),
        smallest_batch=2,
        reference="Tan & Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
        order=6,
    )
)
