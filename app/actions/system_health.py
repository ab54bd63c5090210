"""What administrators see of the system: its health, its versions, and what takes disk space."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any, cast

from redis.exceptions import RedisError, ResponseError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from _runyard import __version__
from app.contract import broker
from app.services import machine_checks
from app.services.data_folder import StartError
from app.services.embedded import check_redis
from app.services.machine_checks import Finding
from app.store.database import current_revision, newest_revision, reading
from app.store.disk_use import DiskUse, disk_use
from app.store.queue import count_queued, held_for, paused_at
from app.store.worker import WorkerRecord, list_workers
from app.web.dependencies import Parts

SILENT_SECONDS = 10.0
"""The recorder reads at least once a second; on a busy machine, not quite."""


@dataclass(frozen=True)
class System:
    """``versions`` by what they are of; ``workers``: those connected, with their own versions."""

    findings: list[Finding]
    versions: dict[str, str]
    workers: list[WorkerRecord]
    disk: DiskUse | None


def read_system(parts: Parts) -> System:
    """Check what a running server can check of itself. What does not respond is a finding, never an error."""
    findings = [*_database(parts), *_redis(parts)]
    versions = {
        "Runyard": __version__,
        "Python": platform.python_version(),
        "PyTorch": metadata.version("torch"),
        "Database": "",
        "Migration": "",
        "Redis": "",
    }
    workers: list[WorkerRecord] = []
    disk = None
    try:
        with reading(parts.engine) as connection:
            versions["Database"] = _database_version(connection)
            versions["Migration"] = current_revision(connection) or "none"
            workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
            findings += _queue(connection, workers)
            disk = disk_use(connection)
    except SQLAlchemyError:
        # Among the findings.
        versions["Database"] = versions["Migration"] = "unknown"
    try:
        versions["Redis"] = str(cast(Any, parts.redis).info("server")["redis_version"])
    except (RedisError, OSError):
        versions["Redis"] = "unknown"
    checks = (machine_checks.python, machine_checks.packages, machine_checks.data_folder)
    for check in (*checks, machine_checks.browser_code, machine_checks.models):
        findings += check(parts.settings)
    return System(findings, versions, workers, disk)


def _database(parts: Parts) -> Iterator[Finding]:
    try:
        with reading(parts.engine) as connection:
            revision = current_revision(connection)
    except SQLAlchemyError as error:
        yield Finding("Database", "fail", f"does not respond ({type(error).__name__})", "start it, or free up its disk")
        return
    yield Finding("Database", "ok", f"{_kind(parts.engine)} responds")
    newest = newest_revision()
    if revision != newest:
        advice = "restart Runyard, which migrates the database"
        yield Finding("Migration", "fail", f"the database is at {revision}, and this version needs {newest}", advice)


def _redis(parts: Parts) -> Iterator[Finding]:
    try:
        parts.redis.ping()
        check_redis(parts.redis)
        yield Finding("Redis", "ok", "responds and keeps its data")
        yield _recorder(parts)
    except StartError as error:
        yield Finding("Redis", "fail", "responds, but can lose data", str(error))
    except (RedisError, OSError) as error:
        yield Finding("Redis", "fail", f"does not respond ({type(error).__name__})", "start it, or restart Runyard")


def _recorder(parts: Parts) -> Finding:
    """Whether the recorder reads what workers report, by when it last asked Redis for it."""
    advice = "start Runyard again with `runyard up`, which starts a recorder"
    try:
        consumers: Any = parts.redis.xinfo_consumers(broker.EVENTS, broker.GROUP)
    except ResponseError:  # no stream, or no group: nothing was ever reported, or nobody has read it
        consumers = []
    if not consumers:
        return Finding("Recorder", "fail", "no recorder has ever read what workers report", advice)
    idle = min(each["idle"] for each in consumers) / 1000
    if idle > SILENT_SECONDS:
        return Finding("Recorder", "fail", f"has not read what workers report for {idle:,.0f} s", advice)
    waiting = sum(each["pending"] for each in consumers)
    writes = f"{waiting:,} report{'s are' if waiting != 1 else ' is'} being written"
    return Finding("Recorder", "ok", f"reads what workers report; {writes}")


def _queue(connection: Connection, workers: list[WorkerRecord]) -> Iterator[Finding]:
    queued, slots = count_queued(connection), sum(worker.slots for worker in workers)
    if not workers:
        yield Finding("Workers", "warn", "none is connected, so no run starts", "start one with `runyard worker`")
    else:
        one = "1 worker is" if len(workers) == 1 else f"{len(workers)} workers are"
        yield Finding("Workers", "ok", f"{one} connected, with {slots} slot{'' if slots == 1 else 's'}")
    if paused_at(connection) is not None:
        yield Finding("Queue", "warn", f"is paused; {queued:,} runs wait", "resume it on the page Queue")
    elif held := held_for(connection):
        yield Finding("Queue", "fail", f"starts no run: {held}", "free up disk space; it goes on by itself")
    else:
        yield Finding("Queue", "ok", f"{queued:,} run{'' if queued == 1 else 's'} queued")


def _kind(engine: Engine) -> str:
    return "SQLite" if engine.dialect.name == "sqlite" else "PostgreSQL"


def _database_version(connection: Connection) -> str:
    numbers = connection.dialect.server_version_info or ()
    return f"{_kind(connection.engine)} {'.'.join(map(str, numbers))}"
