"""Helpers for the recorder's tests: log lines to report, and what is in the database and in Redis."""

from __future__ import annotations

from typing import Any, cast

from redis import Redis

from app.contract import broker
from app.contract.events import (
    Log,
    LogLine,
    Progress,
)
from app.services.recorder import Recorder
from app.store.database import reading
from app.store.log import read_lines
from app.store.metric import read_curves
from tests.conftest import Clock, Runs

PROGRESS = Progress(epoch=1, epochs=2, step=10, steps=20, samples_per_second=100.0, eta_seconds=1.0)


def log(*texts: str) -> Log:
    return Log(lines=[LogLine(time=1.0, level="info", text=said) for said in texts])


def curve(runs: Runs, run: str, name: str = "train/loss") -> list[tuple[int, float]]:
    with reading(runs.engine) as connection:
        found = read_curves(connection, run, [name], 0)
    return list(zip(found[name].steps.tolist(), found[name].values.tolist(), strict=True)) if found else []


def lines(runs: Runs, run: str) -> list[str]:
    with reading(runs.engine) as connection:
        return [line["text"] for line in read_lines(connection, run)]


def dead(redis: Redis) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in cast(Any, redis.xrange(broker.UNREADABLE))]


def pending(redis: Redis) -> int:
    """Number of entries in the stream, acknowledged or not."""
    return redis.xlen(broker.EVENTS)


def tick(recorder: Recorder, clock: Clock, seconds: float = 1.0) -> None:
    """Let time pass, and the recorder do its housekeeping."""
    clock.now += seconds
    recorder.step()
