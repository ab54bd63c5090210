"""Networks with random weights to export, and random pictures."""

from __future__ import annotations

from typing import Any

import torch

from tests.worker.conftest import make_config
from worker.data.inputs import Inputs
from worker.exporting.sample import PICTURES, Sample
from worker.training.network import build_network
from worker.training.predictor import Predictor


def predictor_of(family: str, size: str, **changes: Any) -> Predictor:
    """A network for digits, freshly initialized with a fixed seed."""
    config = make_config(family, size, **changes)
    torch.manual_seed(0)
    return Predictor(config, Inputs((0.13,), (0.31,)), build_network(config, 0, None).eval())


def sample_of(pictures: int = PICTURES) -> Sample:
    """Pictures of noise, uint8 [pictures, 1, 28, 28]."""
    generator = torch.Generator().manual_seed(1)
    return Sample(torch.randint(0, 256, (pictures, 1, 28, 28), dtype=torch.uint8, generator=generator))
