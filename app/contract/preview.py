"""What a network is before it is trained: counts, shapes and memory, as plain data that the server can show."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Layer(BaseModel):
    """One module of a network that does something itself.

    ``path`` is its name in the network, ``kind`` its class, ``about`` its settings in words ("3×3, 32 → 64"), ``shape``
    what comes out for one image (no batch dimension), ``params`` its own parameters, ``flops`` its floating-point
    operations for one image (a multiply-add counts as 2).
    """

    model_config = ConfigDict(frozen=True)

    path: str
    kind: str
    about: str = ""
    shape: list[int]
    params: int
    flops: int


class Block(BaseModel):
    """A part of a network's diagram: a module or a run of equal ones (``repeat``), with the parts it is made of."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    about: str = ""
    shape: list[int]
    params: int
    repeat: int = 1
    parts: list[Block] = []


class Profile(BaseModel):
    """A network's exact size and its cost.

    ``flops``: one image forward. ``activation_bytes``: what a training step of ``batch_size`` images keeps for its
    backward pass. ``memory_bytes``: weights, gradients, the optimizer's state and those activations together.
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
    """How long an epoch will take: ``seconds`` from ``runs`` finished runs on ``device``; None while there are none."""

    model_config = ConfigDict(frozen=True)

    device: str
    epoch_seconds: float | None
    runs: int
    basis: str = ""


class Preview(BaseModel):
    """What would be trained, and what it would cost."""

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
