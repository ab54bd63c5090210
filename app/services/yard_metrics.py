"""What Prometheus is told about a yard: queue, runs, workers, the event stream, disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from _runyard import __version__
from app.contract import broker
from app.contract.settings import Settings
from app.store import queue
from app.store.database import reading
from app.store.disk_use import disk_use
from app.store.run import STATES
from app.store.worker import list_workers

DISK_SECONDS: Final = 60.0
"""How long the use of the disk is remembered: adding it up reads every run."""


class YardMetrics(Collector):
    """Reads everything anew for every scrape, but the use of the disk."""

    def __init__(self, settings: Settings, engine: Engine, redis: Redis) -> None:
        self._settings = settings
        self._engine = engine
        self._redis = redis
        self._disk: tuple[float, dict[str, int]] | None = None

    def collect(self) -> Iterator[Metric]:
        """All metrics; those of a database or a Redis that does not respond are missing, and its ``up`` is 0."""
        yield InfoMetricFamily("runyard", "Version of Runyard.", {"version": __version__})
        yield from self._of_database()
        yield from self._of_redis()
        free = GaugeMetricFamily("runyard_disk_free_bytes", "Free bytes on the disk of the data folder.")
        size = GaugeMetricFamily("runyard_disk_size_bytes", "Bytes of the disk of the data folder.")
        usage = shutil.disk_usage(self._settings.data_dir)
        free.add_metric([], usage.free)
        size.add_metric([], usage.total)
        yield from (free, size)

    def _of_database(self) -> Iterator[Metric]:
        try:
            with reading(self._engine) as connection:
                found = [*self._of_runs(connection), *self._of_workers(connection), self._stored(connection)]
        except SQLAlchemyError:
            found = []
        yield _one("runyard_database_up", "Whether the database responds.", bool(found))
        yield from found

    def _of_runs(self, connection: Connection) -> Iterator[Metric]:
        runs = GaugeMetricFamily("runyard_runs", "Runs by status, without deleted ones.", labels=["status"])
        counted = dict.fromkeys(STATES, 0)
        query = text("SELECT status, count(*) AS runs FROM run WHERE deleted_at IS NULL GROUP BY status")
        counted |= {str(row.status): int(row.runs) for row in connection.execute(query)}
        for status, count in counted.items():
            runs.add_metric([status], count)
        yield runs
        oldest = connection.execute(
            text("SELECT min(queued_at) FROM run WHERE status = 'queued' AND deleted_at IS NULL")
        ).scalar()
        waited = 0.0 if oldest is None else max(0.0, time.time() - float(oldest))
        yield _one("runyard_queue_oldest_seconds", "How long the oldest queued run has been waiting.", waited)
        paused = bool(queue.stopped_for(connection))
        yield _one("runyard_queue_paused", "Whether the queue is paused, by a user or because a disk is full.", paused)
        commits = CounterMetricFamily("runyard_commits", "Commits of the recorder and of requests.")
        commits.add_metric([], int(connection.execute(text("SELECT value FROM commit_counter")).scalar_one()))
        yield commits

    def _of_workers(self, connection: Connection) -> Iterator[Metric]:
        labels = ["worker", "host", "device", "name"]
        slots = GaugeMetricFamily("runyard_worker_slots", "Runs that a connected worker can train.", labels=labels)
        busy = GaugeMetricFamily("runyard_worker_runs", "Runs that a connected worker trains.", labels=labels)
        memory = GaugeMetricFamily(
            "runyard_worker_memory_bytes", "Memory of the GPU, or of the machine without one.", labels=labels
        )
        for worker in list_workers(connection, time.time(), self._settings.lease_seconds):
            values = [worker.id, worker.host, worker.device, worker.device_name]
            slots.add_metric(values, worker.slots)
            busy.add_metric(values, len(worker.runs))
            memory.add_metric(values, worker.memory_bytes)
        yield from (slots, busy, memory)

    def _stored(self, connection: Connection) -> Metric:
        now = time.monotonic()
        if self._disk is None or now - self._disk[0] > DISK_SECONDS:
            use = disk_use(connection)
            kinds = {
                "checkpoints": use.checkpoints,
                "predictions": use.predictions,
                "exports": use.exports,
                "files": use.files,
            }
            self._disk = now, kinds | {"database": self._database_bytes()}
        stored = GaugeMetricFamily("runyard_stored_bytes", "Bytes that Runyard has stored, by kind.", labels=["kind"])
        for kind, size in self._disk[1].items():
            stored.add_metric([kind], size)
        return stored

    def _database_bytes(self) -> int:
        """Bytes of a SQLite database; 0 for another, which knows that itself."""
        if self._engine.dialect.name != "sqlite" or not self._engine.url.database:
            return 0
        path = Path(self._engine.url.database)
        return sum(part.stat().st_size for part in (path, Path(f"{path}-wal")) if part.exists())

    def _of_redis(self) -> Iterator[Metric]:
        try:
            length = int(self._redis.xlen(broker.EVENTS))
            oldest: Any = self._redis.xrange(broker.EVENTS, count=1)
            seconds, microseconds = self._redis.time()
        except (RedisError, OSError):
            yield _one("runyard_redis_up", "Whether Redis responds.", False)
            return
        yield _one("runyard_redis_up", "Whether Redis responds.", True)
        yield _one("runyard_stream_entries", "Reports of workers that are not committed yet.", length)
        lag = 0.0
        if oldest:
            entered = int(oldest[0][0].split(b"-")[0]) / 1000
            lag = max(0.0, float(seconds) + float(microseconds) / 1e6 - entered)
        yield _one("runyard_commit_lag_seconds", "Age of the oldest report that is not committed yet.", lag)


def _one(name: str, help_text: str, value: float) -> Metric:
    metric = GaugeMetricFamily(name, help_text)
    metric.add_metric([], float(value))
    return metric
