"""The vision transformer: an image as a sequence of patches, related to each other by attention."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models._dropout import Dropout
from models._heads import Heads
from models._initialization import INIT, initialize
from models._registry import Family, Option, Shape, Size, register


class Attention(nn.Module):
    """Multi-head self-attention of [N, T, E] with biased projections.

    The separate projections of queries, keys and values are stacked in this order in one layer: the same parameters,
    one product instead of three.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        stacked = self.query_key_value(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = stacked.permute(2, 0, 3, 1, 4).unbind(0)
        mixed: Tensor = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Attention, then a perceptron, each with LayerNorm before, dropout after, and a residual; keeps [N, T, E]."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        attention, last = Attention(width, heads), nn.Linear(2 * width, width)
        self.attention = nn.Sequential(nn.LayerNorm(width), attention, Dropout(dropout))
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            last,
            Dropout(dropout),
        )
        # The layers at the ends of the residual branches.
        self.ends = (attention.out, last)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        out: Tensor = x + self.perceptron(x)
        return out


class VisionTransformer(nn.Module):
    """Patches by a strided convolution, a learned position for each, blocks, LayerNorm, pooling, a Linear per head.

    images: [N, C, H, W] float, whose side must be a multiple of `patch` (ValueError otherwise). With `pool` "cls" a
    class token without position comes first, and feeds the heads through Linear and tanh; with "mean" there is no such
    token, and the mean over the patches feeds them. Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words".
    """

    def __init__(
        self,
        shape: Shape,
        width: int,
        blocks: int,
        attention_heads: int,
        dropout: float = 0.1,
        pool: str = "cls",
        patch: int = 4,
        init: str = "scaled",
    ) -> None:
        super().__init__()
        if shape.side % patch:
            raise ValueError(f"the image size ({shape.side}) must be a multiple of vit's patch size ({patch})")
        self.patches = nn.Conv2d(shape.channels, width, patch, stride=patch)
        self.position = nn.Parameter(torch.empty((shape.side // patch) ** 2, width))
        self.token = nn.Parameter(torch.empty(width)) if pool == "cls" else None
        self.dropout = Dropout(dropout)
        stack = [Block(width, attention_heads, dropout) for _ in range(blocks)]
        self.blocks = nn.Sequential(*stack)
        self.norm = nn.LayerNorm(width)
        self.pooler = nn.Sequential(nn.Linear(width, width), nn.Tanh()) if pool == "cls" else None
        self.heads = Heads(width, shape.heads)
        initialize(self, init, [end for block in stack for end in block.ends])
        if init == "scaled":
            # Half as large as the patches that they are added to, so that where a patch is matters from the start.
            nn.init.normal_(self.position, std=0.5)
        else:
            nn.init.trunc_normal_(self.position, std=0.02)
        if self.token is not None:
            nn.init.trunc_normal_(self.token, std=0.02)

    def forward(self, images: Tensor, auxiliary: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        x = self.patches(images).flatten(2).transpose(1, 2) + self.position
        if self.token is not None:
            x = torch.cat((self.token.expand(x.shape[0], 1, -1), x), dim=1)
        x = self.blocks(self.dropout(x))
        features = self.norm(x).mean(dim=1) if self.pooler is None else self.pooler(self.norm(x[:, 0]))
        logits: Tensor | dict[str, Tensor] = self.heads(features)
        return logits


def settings(width: int, blocks: int, attention_heads: int) -> dict[str, object]:
    """The settings of one row of the table below."""
    return {"width": width, "blocks": blocks, "attention_heads": attention_heads}


# fmt: off
SIZES = (
    Size("tiny",  settings(32, 4, 4),   (37_770, 39_274, 42_244)),
    Size("small", settings(64, 6, 4),   (210_058, 213_066, 218_916)),
    Size("base",  settings(128, 6, 8),  (821_514, 827_530, 839_140)),
    Size("large", settings(384, 12, 6), (14_384_650, 14_402_698, 14_437_348)),
)
# fmt: on

register(
    Family(
        name="vit",
        summary="A vision transformer: the image as a sequence of patches that attend to each other.",
        when="Larger datasets and models.",
        build=VisionTransformer,
        sizes=SIZES,
        default="small",
        options=(
            Option("pool", "cls", ("cls", "mean"), "Pooling: class token, or mean over patches."),
            # A default of at most 256 patches: attention compares each with all others.
            Option(
                "patch",
                4,
                (4, 7, 8, 14, 16, 32),
                "Patch size in pixels; the image size must be a multiple of it.",
                larger=((65, 8), (129, 16)),
                divides_side=True,
            ),
            INIT,
        ),
        reference="Dosovitskiy et al. 2021, An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        order=5,
    )
)
