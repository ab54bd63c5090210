"""The one process of the server's side that imports torch, ``python -m app.inspection``, and what it answers.

Importing this package imports no torch: the server reads the process's answers with it.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from app.contract.preview import Block, Layer, Profile
from app.contract.spec import RunConfig

# Numbers of four bytes that an optimizer keeps beside each one that it trains.
_STATE_OF_OPTIMIZER = {"adam": 2, "adamw": 2, "sgd": 1}


class Traced(BaseModel):
    """A network as it was found by letting tensors without values through it; right for any batch size and optimizer.

    ``flops``: one image forward. ``weight_bytes``: parameters and running statistics. ``trained_bytes``: those
    parameters that have a gradient. What a training step keeps for its backward pass: ``kept_bytes``, and
    ``kept_bytes_per_image`` for each image of the batch. ``image_bytes``: one image with its scalars and labels.
    """

    model_config = ConfigDict(frozen=True)

    params: int
    flops: int
    weight_bytes: int
    trained_bytes: int
    kept_bytes: int
    kept_bytes_per_image: int
    image_bytes: int
    layers: list[Layer]
    blocks: list[Block]

    def profile(self, config: RunConfig) -> Profile:
        """What it costs to train this network with the batch size and the optimizer of ``config``."""
        activations = self.kept_bytes + config.batch_size * self.kept_bytes_per_image
        states = 0 if config.optimizer == "sgd" and not config.momentum else _STATE_OF_OPTIMIZER[config.optimizer]
        batch = config.batch_size * self.image_bytes
        return Profile(
            params=self.params,
            flops=self.flops,
            batch_size=config.batch_size,
            activation_bytes=activations,
            memory_bytes=self.weight_bytes + self.trained_bytes * (1 + states) + activations + batch,
            layers=self.layers,
            blocks=self.blocks,
        )


class Refusal(BaseModel):
    """Why a network cannot be trained so: a field of the RunSpec, and a sentence for its user."""

    model_config = ConfigDict(frozen=True)

    field: str
    message: str
