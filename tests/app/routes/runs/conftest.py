"""Stopped runs with their checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from app.contract.events import Checkpoint
from app.contract.settings import Settings
from app.store import lineage
from app.store.database import writing
from tests.conftest import Runs

Trained = Callable[..., str]


@pytest.fixture
def stopped(runs: Runs, trained: Trained, settings: Settings, engine: Engine) -> Callable[..., str]:
    """Add a successful run of 200 steps in four epochs, with its last, best and two saved checkpoints."""

    def add(outcome: str = "cancelled", step: int = 200, **said: Any) -> str:
        run = trained(None, **({"epochs": 8, "family": "simple_mlp"} | said))
        files = {"last": (step, step // 50), "best": (100, 2), "epoch-2": (100, 2), "epoch-4": (200, 4)}
        folder = Path(settings.artifacts) / run / "1"
        folder.mkdir(parents=True)
        for name in files:
            (folder / f"{name}.safetensors").write_bytes(f"{run} {name}".encode())
        said_of = {
            name: Checkpoint(path=f"{run}/1/{name}.safetensors", epoch=epoch, step=at, within=at % 50)
            for name, (at, epoch) in files.items()
        }
        runs.set(run, checkpoint=said_of["last"].model_dump_json(), best_checkpoint=said_of["best"].model_dump_json())
        with writing(engine) as connection:
            for name in ("epoch-2", "epoch-4"):
                lineage.save_checkpoint(connection, run, said_of[name])
        runs.finish(run, outcome)
        return run

    return add
