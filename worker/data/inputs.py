"""Scales pixels and measured scalars into network inputs, with the same values in training and in prediction."""

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
    """``mean`` and ``std`` of each channel (pixels scaled to 0..1) and each auxiliary scalar, ordered as ``scalars``.

    A checkpoint stores them, since a prediction is worthless if its inputs are scaled by other values than in training.
    Raises ValueError if the lengths do not match, or a deviation is not positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scalars: tuple[str, ...] = ()
    scalars_mean: tuple[float, ...] = ()
    scalars_std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not len(self.scalars) == len(self.scalars_mean) == len(self.scalars_std):
            raise ValueError(f"mean and std must have the same length: {self}")
        if not all(value > 0 for value in (*self.std, *self.scalars_std)):
            raise ValueError(f"std must be positive: {self}")

    @classmethod
    def of(cls, data: Data, config: RunConfig | None = None) -> Inputs:
        """The values of ``data``, with pixels normalized as ``config`` says, by default by the dataset's own values."""
        info = data.dataset
        half = config is not None and config.normalization == "half"
        mean, std = ((HALF,) * info.channels,) * 2 if half else (info.mean, info.std)
        if not data.auxiliary_mean:
            return cls(mean, std)
        names = tuple(scalar.name for scalar in info.auxiliary)
        # A scalar that never varies carries no information, and becomes 0 whatever it is divided by.
        deviations = tuple(value if value > 0 else 1.0 for value in data.auxiliary_std)
        return cls(mean, std, names, data.auxiliary_mean, deviations)

    def standardize(self, scalars: Tensor) -> Tensor:
        """Standardize measured scalars float [N, n] -> float32 [N, n] of mean 0 and deviation 1 on the training set."""
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (self.scalars_mean, self.scalars_std))
        return ((scalars.double() - mean) / std).float()

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-compatible values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Inputs:
        """Inverse of to_dict."""
        return cls(**{name: tuple(values) for name, values in fields.items()})
