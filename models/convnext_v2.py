"""ConvNeXt V2: a convolutional network modernized after transformers, with global response normalization."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models._drop_path import DropPath, linear_rates
from models._heads import Heads
from models._initialization import INIT, initialize
from models._registry import Family, Shape, Size, register

EPSILON = 1e-6


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of [N, C, H, W].

    Its output is channels last in memory, which the following convolutions preserve: from the stem on, the permutations
    in this file are views and copy nothing.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=EPSILON)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GlobalResponseNorm(nn.Module):
    """Global response normalization of [N, H, W, C]: y = gamma x N + beta + x; the identity while gamma and beta are 0.

    G is the L2 norm of each channel over H and W, N is G divided by its mean over the channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        response = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        normalized = response / (response.mean(dim=-1, keepdim=True) + EPSILON)
        # The factor is small, [N, 1, 1, C], so x itself is read only once, in its own precision.
        factor = 1 + self.gamma * normalized
        return torch.addcmul(self.beta.to(x.dtype), x, factor.to(x.dtype))


class Block(nn.Module):
    """Depthwise convolution, LayerNorm, Linear x4, GELU, GRN, Linear, drop path, residual; keeps [N, C, H, W]."""

    def __init__(self, channels: int, kernel: int, drop_path: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=EPSILON)
        self.expand = nn.Linear(channels, 4 * channels)
        self.grn = GlobalResponseNorm(4 * channels)
        self.project = nn.Linear(4 * channels, channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(x).permute(0, 2, 3, 1)
        y = self.project(self.grn(F.gelu(self.expand(self.norm(y)))))
        joined: Tensor = self.drop_path(x, y.permute(0, 3, 1, 2))
        return joined


class ConvNeXtV2(nn.Module):
    """A stem, four stages of blocks with a downsampling between them, global average, LayerNorm, a Linear per head.

    images: [N, C, H, W] float, sides of at least 16 pixels (ValueError otherwise). The stem is a 2x2 convolution of
    stride 2 for sides up to 32, 4x4 of stride 4 above. Woo et al. 2023, "ConvNeXt V2: Co-designing and Scaling ConvNets
    with Masked Autoencoders".
    """

    def __init__(
        self,
        shape: Shape,
        depths: tuple[int, int, int, int],
        dims: tuple[int, int, int, int],
        kernel: int = 7,
        drop_path: float = 0.0,
        init: str = "scaled",
    ) -> None:
        super().__init__()
        if shape.side < 16:
            raise ValueError(
                "convnext_v2 downsamples images four times and needs at least 16×16 pixels,"
                f" not {shape.side}×{shape.side}"
            )
        patch = 2 if shape.side <= 32 else 4
        rates = iter(linear_rates(drop_path, sum(depths)))
        self.stages = nn.Sequential(nn.Conv2d(shape.channels, dims[0], patch, stride=patch), ChannelNorm(dims[0]))
        for stage, (depth, channels) in enumerate(zip(depths, dims, strict=True)):
            if stage:
                before = dims[stage - 1]
                self.stages.extend([ChannelNorm(before), nn.Conv2d(before, channels, 2, stride=2)])
            self.stages.extend([Block(channels, kernel, next(rates)) for _ in range(depth)])
        self.norm = nn.LayerNorm(dims[-1], eps=EPSILON)
        self.heads = Heads(dims[-1], shape.heads)
        initialize(self, init, [layer.project for layer in self.stages if isinstance(layer, Block)])

    def forward(self, images: Tensor, auxiliary: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        features = self.stages(images).mean(dim=(2, 3))
        logits: Tensor | dict[str, Tensor] = self.heads(self.norm(features))
        return logits


def settings(
    depths: tuple[int, int, int, int], dims: tuple[int, int, int, int], kernel: int, drop_path: float
) -> dict[str, object]:
    """The settings of one row of the table below."""
    return {"depths": depths, "dims": dims, "kernel": kernel, "drop_path": drop_path}


# fmt: off
SIZES = (
    Size("tiny",     settings((1, 1, 1, 1),  (4, 8, 16, 32),     7, 0.0),  (18_002, 18_034, 21_004)),
    Size("small",    settings((1, 1, 2, 1),  (8, 16, 32, 64),    7, 0.0),  (73_402, 73_466, 79_316)),
    Size("base",     settings((2, 2, 4, 2),  (12, 24, 48, 96),   7, 0.1),  (288_118, 288_214, 296_944)),
    Size("large",    settings((3, 3, 6, 3),  (16, 32, 64, 128),  7, 0.2),  (724_938, 725_066, 736_676)),
    Size("small_k3", settings((2, 2, 4, 2),  (8, 16, 32, 64),    3, 0.05), (122_834, 122_898, 128_748)),
    Size("base_k3",  settings((2, 2, 6, 2),  (12, 24, 48, 96),   3, 0.05), (309_142, 309_238, 317_968)),
    Size("xlarge",   settings((3, 3, 9, 3),  (18, 36, 72, 144),  3, 0.1),  (997_642, 997_786, 1_010_836)),
    Size("huge",     settings((4, 6, 18, 6), (42, 84, 168, 336), 3, 0.2),  (10_323_064, 10_323_400, 10_353_730)),
)
# fmt: on

register(
    Family(
        name="convnext_v2",
        summary="A modern convolutional network: depthwise convolutions, LayerNorm and global response normalization.",
        when="Best accuracy per parameter and per second.",
        build=ConvNeXtV2,
        sizes=SIZES,
        default="base",
        options=(INIT,),
        reference="Woo et al. 2023, ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders",
        order=4,
    )
)
