"""Runs with kept predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from app.contract.settings import Settings
from tests.app.predicted import keep, keep_history, predictions_of
from tests.conftest import Runs

Kept = Callable[..., str]


@pytest.fixture
def predicted(runs: Runs, settings: Settings, engine: Engine) -> Kept:
    """Adds a run that has ended, with kept predictions."""

    def add(**said: Any) -> str:
        run = runs.add()
        runs.finish(run)
        keep(settings, engine, predictions_of(run, **said))
        return run

    return add


@pytest.fixture
def training(runs: Runs, settings: Settings, engine: Engine) -> Kept:
    """Adds a run that still trains, with its history so far."""

    def add(**said: Any) -> str:
        run = runs.add(epochs=9)
        runs.set(run, status="running")
        keep_history(settings, engine, predictions_of(run, **said))
        return run

    return add
