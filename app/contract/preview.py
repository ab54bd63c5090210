"""Preview of a network before training: parameter counts, shapes and memory, as plain data for the server."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Layer(BaseModel):
    """A leaf module of a network.

    ``path``: its name in the network; ``kind``: its class; ``about``: its settings as text ("3×3, 32 → 64");
    ``shape``: output shape for one image (no batch dimension); ``params``: its own parameters; ``flops``:
    floating-point operations for one image (a multiply-add counts as 2).
    """

    model_config = ConfigDict(frozen=True)

    path: str
    kind: str
    about: str = ""
    shape: list[int]
    params: int
    flops: int


class Block(BaseModel):
    """A part of a network's diagram: a module, or ``repeat`` equal ones in a row, and the parts it consists of."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    about: str = ""
    shape: list[int]
    params: int
    repeat: int = 1
    parts: list[Block] = []


class Profile(BaseModel):
    """Exact size and cost of a network.

    ``flops``: forward pass of one image. ``activation_bytes``: activations that a training step of ``batch_size``
    images saves for its backward pass. ``memory_bytes``: weights, gradients, optimizer state and those activations.
    """

    model_config = ConfigDict(frozen=True)

    params: int
    flops: int
    batch_size: int
    activation_bytes: int
    memory_bytes: int
    layers: list[Layer] = []
    blocks: list[Block] = []


class Prediction(BaseModel):
    """Predicted duration of an epoch on ``device``, based on ``runs`` successful runs; None without any."""

    model_config = ConfigDict(frozen=True)

    device: str
    epoch_seconds: float | None
    runs: int
    basis: str = ""


class Preview(BaseModel):
    """What a run would train, and its cost."""

    model_config = ConfigDict(frozen=True)

    family: str
    size: str
    dataset: str
    params: int
    flops: int
    batch_size: int
    activation_bytes: int
    memory_bytes: int
    steps_per_epoch: int
    steps: int
    layers: list[Layer]
    predictions: list[Prediction]
