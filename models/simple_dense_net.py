"""A fully connected network with batch normalization."""

from itertools import pairwise

from torch import Tensor, nn

from models._batch_norm import require_two_images
from models._heads import Heads
from models._registry import Family, Shape, Size, register


class SimpleDenseNet(nn.Module):
    """Flatten, then Linear, BatchNorm, ReLU for each hidden width, then a Linear per head.

    images: [N, C, H, W] float of the shape the network was built for. In training a batch of one image raises
    ValueError. Batch normalization: Ioffe & Szegedy 2015.
    """

    def __init__(self, shape: Shape, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten())
        for before, after in pairwise((shape.channels * shape.side**2, *hidden)):
            self.body.extend([nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU(inplace=True)])
        self.heads = Heads(hidden[-1], shape.heads)

    def forward(self, images: Tensor, auxiliary: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        require_two_images(self, images)
        logits: Tensor | dict[str, Tensor] = self.heads(self.body(images))
        return logits


register(
    Family(
        name="simple_dense_net",
        summary="A fully connected network with batch normalization after every hidden layer.",
        when="Quick prototypes, baselines and debugging.",
        build=SimpleDenseNet,
        sizes=(
            Size("tiny", {"hidden": (10, 20, 10)}, (8_470, 31_350, 32_340)),
            Size("small", {"hidden": (64, 128, 64)}, (67_978, 214_410, 220_260)),
            Size("base", {"hidden": (256, 256, 256)}, (336_650, 922_378, 945_508)),
            Size("large", {"hidden": (200, 400, 620)}, (494_670, 952_270, 1_008_160)),
        ),
        default="small",
        smallest_batch=2,
        reference="Ioffe & Szegedy 2015, Batch Normalization: Accelerating Deep Network Training by Reducing Internal"
        " Covariate Shift",
        order=1,
    )
)
