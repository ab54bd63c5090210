"""The pictures on which an exported network is compared with torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worker.exporting.servable import ExportError
from worker.training.predictor import Predictor

PICTURES = 256
LARGEST_DIFFERENCE = 1e-4
"""The largest difference between two probabilities with which a network is still exported."""

Arrays = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Sample:
    """images: raw, uint8 [N, C, H, W]. scalars: as measured, float32 [N, n]; None for a network without them."""

    images: Tensor
    scalars: Tensor | None = None

    def fed(self, predictor: Predictor, preprocessing: bool) -> tuple[Tensor, ...]:
        """The inputs of a network exported with or without preprocessing."""
        scalars = None if self.scalars is None else self.scalars.float()
        if preprocessing:
            return (self.images,) if scalars is None else (self.images, scalars)
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (predictor.inputs.mean, predictor.inputs.std))
        images = (self.images.float() / 255 - mean) / std
        return (images,) if scalars is None else (images, predictor.inputs.standardize(scalars))

    def compare(
        self, predictor: Predictor, preprocessing: bool, run: Callable[[tuple[Tensor, ...]], Arrays], kind: str
    ) -> float:
        """The largest difference of a probability between ``run`` and the checkpoint's own predictions.

        Raises ExportError above `LARGEST_DIFFERENCE`, or if a probability is not finite.
        """
        expected = predictor.probabilities(self.images, self.scalars)
        found = run(self.fed(predictor, preprocessing))
        differences = [np.abs(found[head] - values.numpy()).max() for head, values in expected.items()]
        # A batch of another size, since one that became a constant would have passed.
        single = run(tuple(each[:1] for each in self.fed(predictor, preprocessing)))
        differences += [np.abs(single[head] - values[:1].numpy()).max() for head, values in expected.items()]
        largest = float(np.max(differences))
        if not largest <= LARGEST_DIFFERENCE:
            raise ExportError(
                f"the {kind} differs from torch by up to {largest:.2g} in a probability, on {len(self.images)} test"
                f" pictures; at most {LARGEST_DIFFERENCE:g} is allowed, so it was not written"
            )
        return largest
