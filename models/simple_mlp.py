"""A multilayer perceptron without normalization."""

from itertools import pairwise

from torch import Tensor, nn

from models._dropout import Dropout
from models._heads import Heads
from models._registry import Family, Shape, Size, register


class SimpleMLP(nn.Module):
    """Flatten, then Linear, ReLU, Dropout for each hidden width, then a Linear per head.

    images: [N, C, H, W] float of the shape the network was built for; any N, even 1, in training too. Rumelhart, Hinton
    & Williams 1986; dropout: Srivastava et al. 2014.
    """

    def __init__(self, shape: Shape, hidden: tuple[int, ...], dropout: float = 0.1) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten())
        for before, after in pairwise((shape.channels * shape.side**2, *hidden)):
            self.body.extend([nn.Linear(before, after), nn.ReLU(inplace=True), Dropout(dropout)])
        self.heads = Heads(hidden[-1], shape.heads)

    def forward(self, images: Tensor, auxiliary: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        logits: Tensor | dict[str, Tensor] = self.heads(self.body(images))
        return logits


register(
    Family(
        name="simple_mlp",
        summary="A multilayer perceptron with dropout and no normalization.",
        when="Training or inference at batch size 1: no layer depends on the rest of the batch.",
        build=SimpleMLP,
        sizes=(
            Size("tiny", {"hidden": (10, 20, 10), "dropout": 0.1}, (8_390, 31_270, 32_260)),
            Size("small", {"hidden": (64, 128, 64), "dropout": 0.1}, (67_466, 213_898, 219_748)),
            Size("base", {"hidden": (256, 128), "dropout": 0.1}, (235_146, 820_874, 832_484)),
        ),
        default="base",
        reference="Rumelhart, Hinton & Williams 1986, Learning Representations by Back-Propagating Errors",
        order=2,
    )
)
