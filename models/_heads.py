"""The last layer of every network: one linear classifier per named head."""

from collections.abc import Mapping

from torch import Tensor, nn


class Heads(nn.Module):
    """Features [N, width] to logits: a tensor [N, classes] for one head, a dict of them by name for several."""

    def __init__(self, width: int, heads: Mapping[str, int]) -> None:
        super().__init__()
        self.by_name = nn.ModuleDict({name: nn.Linear(width, classes) for name, classes in heads.items()})

    def forward(self, features: Tensor) -> Tensor | dict[str, Tensor]:
        logits: dict[str, Tensor] = {name: head(features) for name, head in self.by_name.items()}
        return logits if len(logits) > 1 else next(iter(logits.values()))
