"""What the tests of the launch page share: an inspector that answers at once, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.contract.catalog import Catalog
from app.contract.datasets import DATASETS
from app.contract.errors import Unavailable
from app.contract.preview import Layer, Prediction, Preview
from app.contract.spec import FieldError, RunConfig, SpecError
from app.routes.launch import cost as launch_cost

PREDICTIONS = [
    Prediction(device="Test GPU", epoch_seconds=2.5, runs=12, basis="runs like this one"),
    Prediction(device="cpu", epoch_seconds=None, runs=0, basis="no successful run on this device yet"),
]


class Figures:
    """The inspector as the launch page meets it: cold until it is let go, and one network that cannot be built."""

    def __init__(self) -> None:
        self.warm = asyncio.Event()
        self.warm.set()
        self.away = False
        self.devices = True

    async def preview(self, parts: Any, catalog: Catalog, config: RunConfig) -> Preview:
        await self.check(config)
        await self.warm.wait()
        steps = DATASETS[config.dataset].train // config.batch_size
        return Preview(
            family=config.family,
            size=config.size,
            dataset=config.dataset,
            params=421_834 if len(config.targets) == 1 else 422_866,
            flops=8_300_000,
            batch_size=config.batch_size,
            activation_bytes=3_000_000,
            memory_bytes=10_000_000,
            steps_per_epoch=steps,
            steps=steps * config.epochs,
            layers=[
                Layer(path="features.0", kind="Conv2d", about="3×3, 1 → 32", shape=[32, 28, 28], params=320, flops=9)
            ],
            predictions=PREDICTIONS if self.devices else [],
        )

    async def check(self, config: RunConfig) -> None:
        if self.away:
            raise Unavailable("could not inspect the networks; see the server's log")
        if config.options.get("patch") == 7 and config.dataset == "cifar10":
            raise SpecError([FieldError("options", "patch 7 does not divide 32")])


@pytest.fixture
def figures(server: Any, monkeypatch: pytest.MonkeyPatch) -> Figures:
    """What the inspector says, without its process."""
    found = Figures()
    monkeypatch.setattr(launch_cost, "preview", found.preview)
    monkeypatch.setattr(server.state.parts.inspector, "check", found.check)
    return found
