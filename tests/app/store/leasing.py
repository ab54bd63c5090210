"""Helpers for the tests of runs and leases: a device, a claim, and a call in its own transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from app.contract.events import DeviceInfo, LogLine
from app.store import lease
from app.store.database import next_commit, writing
from app.store.lease import Granted
from app.store.log import add_lines
from app.store.metric import Curve, add_points
from tests.conftest import Runs

NOW = 1_700_000_000.0


def device(kind: str = "cpu") -> DeviceInfo:
    return DeviceInfo.model_validate({"kind": kind, "name": kind, "memory_bytes": 1, "cores": 1})


def claim(runs: Runs, name: str, kind: str = "cpu", until: float = NOW + 10) -> Granted | None:
    with writing(runs.engine) as connection:
        return lease.claim_next(connection, name, "w1", 0, device(kind), next_commit(connection), until)


def change(runs: Runs, act: Callable[..., Any], *said: Any, **more: Any) -> Any:
    """Call a function of the store in its own transaction, with the commit as its last argument."""
    with writing(runs.engine) as connection:
        return act(connection, *said, next_commit(connection), **more)


def add_curve(runs: Runs, run: str) -> None:
    with writing(runs.engine) as connection:
        commit = next_commit(connection)
        curve = Curve(np.array([1, 2, 3], np.int64), np.array([1.0, 2, 3]), np.array([1.0, 2, 3]))
        add_points(connection, run, "train/loss", curve, commit)
        add_lines(connection, run, 1, [LogLine(time=1, level="info", text="hello")], commit)
