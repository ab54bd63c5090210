"""How pixels and measured scalars become what a network is fed: the same figures in training and in prediction."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from app.contract.spec import RunConfig
from worker.data.datasets import Data

HALF = 0.5


@dataclass(frozen=True)
class Inputs:
    """``mean`` and ``std`` per channel, of pixels scaled to 0..1; those of each auxiliary scalar, by its name's place.

    A checkpoint keeps them, since a prediction is worth nothing when its inputs are scaled by other figures than those
    of training. Raises ValueError when the figures do not fit one another, or a deviation is not positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scalars: tuple[str, ...] = ()
    scalars_mean: tuple[float, ...] = ()
    scalars_std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not len(self.scalars) == len(self.scalars_mean) == len(self.scalars_std):
            raise ValueError(f"there is not one deviation for each mean: {self}")
        if not all(value > 0 for value in (*self.std, *self.scalars_std)):
            raise ValueError(f"a deviation is not positive: {self}")

    @classmethod
    def of(cls, data: Data, config: RunConfig | None = None) -> Inputs:
        """The figures of ``data``, with the pixels normalized as ``config`` says (by the dataset's own without)."""
        facts = data.dataset
        half = config is not None and config.normalization == "half"
        mean, std = ((HALF,) * facts.channels,) * 2 if half else (facts.mean, facts.std)
        if not data.auxiliary_mean:
            return cls(mean, std)
        names = tuple(scalar.name for scalar in facts.auxiliary)
        # A scalar that never varies says nothing, and is fed as 0 whatever it is divided by.
        deviations = tuple(value if value > 0 else 1.0 for value in data.auxiliary_std)
        return cls(mean, std, names, data.auxiliary_mean, deviations)

    def standardize(self, scalars: Tensor) -> Tensor:
        """Measured scalars float [N, n] -> float32 [N, n] of mean 0 and deviation 1 on the training set."""
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (self.scalars_mean, self.scalars_std))
        return ((scalars.double() - mean) / std).float()

    def as_facts(self) -> dict[str, Any]:
        """As JSON can say it."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Inputs:
        """Inverse of as_facts."""
        return cls(**{name: tuple(values) for name, values in facts.items()})
