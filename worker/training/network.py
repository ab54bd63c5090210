"""Builds the network that a run's configuration names."""

from __future__ import annotations

from pathlib import Path

import torch

import models
from app.contract.datasets import dataset
from app.contract.spec import RunConfig


def build_network(config: RunConfig, scalars: int, models_path: Path | None) -> torch.nn.Module:
    """Build the network that ``config`` names, freshly initialized, with ``scalars`` auxiliary inputs.

    The user's architectures are imported here, in the trainer's process: an edited file takes effect with the next run.
    Raises UnknownArchitecture, also for a file that could not be used, with its error.
    """
    broken = models.load_path(models_path) if models_path is not None else {}
    if config.family not in models.families() and config.family in broken:
        raise models.UnknownArchitecture(f"could not load {config.family}: {broken[config.family]}")
    info = dataset(config.dataset)
    heads = {name: info.target(name).classes for name in config.targets}
    shape = models.Shape(info.channels, info.side, heads, scalars)
    return models.build(config.family, config.size, shape, dict(config.options))
