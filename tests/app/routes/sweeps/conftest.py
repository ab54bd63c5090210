"""What the tests of sweeps share: runs that have reached something."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import Engine

from app.store.database import next_commit, writing
from app.store.metric import Curve, add_points
from tests.conftest import Runs


@pytest.fixture
def reached(runs: Runs, engine: Engine) -> Callable[..., None]:
    """Lets a queued run train and end with this best validation accuracy."""

    def end(run: str, level: float, outcome: str | None = "succeeded", began: float = 1_700_000_000.0) -> None:
        runs.set(run, status="running", fence=1, started_at=began, attempt=1)
        values = np.array([level - 0.1, level])
        with writing(engine) as connection:
            curve = Curve(np.array([9, 18], np.int64), values, began + np.array([1.0, 2.0]))
            add_points(connection, run, "val/acc", curve, next_commit(connection))
        if outcome is not None:
            runs.finish(run, outcome, began + 10)

    return end
