"""Estimated total duration of a sweep's runs on the existing slots, based on successful runs."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from sqlalchemy import Connection

from app.contract.spec import RunConfig
from app.store.epoch_time import SETTINGS, EpochTimes
from app.store.worker import WorkerRecord


@dataclass(frozen=True)
class Forecast:
    """``seconds`` of wall time for all runs, None if unknown.

    ``unknown``: number of runs with unknown epoch time, which are assumed to take the average of the others. ``slots``:
    how many train at the same time; 1 if no worker is connected.
    """

    seconds: float | None
    unknown: int
    slots: int


def forecast(connection: Connection, configs: list[RunConfig], workers: list[WorkerRecord]) -> Forecast:
    """Estimate how long these runs take when they share the slots of ``workers``."""
    fitting = [worker for worker in workers if any(worker.takes(config.device, config.worker) for config in configs)]
    slots = sum(worker.slots for worker in fitting)
    devices = list(dict.fromkeys(worker.device_name for worker in fitting))
    epoch_times = EpochTimes(connection)
    known: dict[str, float | None] = {}
    durations: list[float] = []
    for config in configs:
        key = repr([config.family, config.size, *(getattr(config, name) for name in SETTINGS)])
        if key not in known:
            known[key] = _epoch_seconds(epoch_times, config, devices)
        if (epoch_seconds := known[key]) is not None:
            durations.append(epoch_seconds * config.epochs)
    unknown = len(configs) - len(durations)
    if not durations:
        return Forecast(None, unknown, max(1, slots))
    total = sum(durations) + statistics.mean(durations) * unknown
    return Forecast(max(total / max(1, slots), max(durations)), unknown, max(1, slots))


def _epoch_seconds(epoch_times: EpochTimes, config: RunConfig, devices: list[str]) -> float | None:
    """Mean epoch time over these devices; without workers, over all devices with successful runs."""
    predictions = [epoch_times.predict_on(config, device).epoch_seconds for device in devices or epoch_times.devices]
    known = [seconds for seconds in predictions if seconds is not None]
    return statistics.mean(known) if known else None
