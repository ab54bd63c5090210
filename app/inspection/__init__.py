"""The process that imports torch for the server, ``python -m app.inspection``, and the answers it gives.

Importing this package does not import torch, so the server can parse the answers.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from app.contract.preview import Block, Layer, Profile
from app.contract.spec import RunConfig

# Four-byte numbers that an optimizer keeps per trained parameter.
_STATE_OF_OPTIMIZER = {"adam": 2, "adamw": 2, "sgd": 1}


class Traced(BaseModel):
    """A network traced with tensors without values; valid for any batch size and optimizer.

    ``flops``: forward pass of one image. ``weight_bytes``: parameters and running statistics. ``trained_bytes``:
    parameters with a gradient. Kept for the backward pass of a training step: ``kept_bytes``, plus
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
        """The cost of training this network with the batch size and optimizer of ``config``."""
        activations = self.kept_bytes + config.batch_size * self.kept_bytes_per_image
        averages = self.weight_bytes if config.ema_decay else 0
        states = 0 if config.optimizer == "sgd" and not config.momentum else _STATE_OF_OPTIMIZER[config.optimizer]
        batch = config.batch_size * self.image_bytes
        return Profile(
            params=self.params,
            flops=self.flops,
            batch_size=config.batch_size,
            activation_bytes=activations,
            memory_bytes=self.weight_bytes + averages + self.trained_bytes * (1 + states) + activations + batch,
            layers=self.layers,
            blocks=self.blocks,
        )


class Refusal(BaseModel):
    """Why a network cannot be trained: a field of the RunSpec, and a sentence for the user."""

    model_config = ConfigDict(frozen=True)

    field: str
    message: str
