"""Storage of workers: their devices, slots, and last heartbeats."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Connection, text
from sqlmodel import Field, SQLModel

from _runyard import __version__
from app.contract.disk_space import DiskSpace
from app.contract.events import Heartbeat, accepted_devices
from app.contract.protocol import PROTOCOL, Speaker, skew


class Worker(SQLModel, table=True):
    """One worker process; ``last_seen`` (seconds since 1970, UTC) alone decides whether it counts as connected.

    ``asleep_seconds``: how long its machine had been suspended since boot, as of the last heartbeat. ``disk``: the
    DiskSpace of its machine as JSON, "" if unknown; ``disk_state``: the state in it. ``clock_off``: seconds by which
    its clock is ahead of the recorder's. ``commands``: 1 if it
    has the key of commands, 0 if not.
    """

    __tablename__ = "worker"

    id: str = Field(primary_key=True)
    host: str
    pid: int
    slots: int
    device_kind: str
    device_name: str
    memory_bytes: int
    cores: int
    versions: str = "{}"
    first_seen: float
    last_seen: float = Field(index=True)
    device_index: int = 0
    asleep_seconds: float = 0.0
    disk: str = ""
    disk_state: str = "ok"
    clock_off: float = 0.0
    protocol: int = Field(PROTOCOL, sa_type=BigInteger)
    commands: int = Field(1, sa_type=BigInteger)


@dataclass(frozen=True)
class WorkerRecord:
    """A connected worker and the runs that it owns."""

    id: str
    host: str
    pid: int
    slots: int
    device_kind: str
    device_name: str
    memory_bytes: int
    cores: int
    versions: dict[str, str]
    first_seen: float
    last_seen: float
    runs: list[str]
    device_index: int = 0
    asleep_seconds: float = 0.0
    disk: DiskSpace | None = None
    disk_state: str = "ok"
    clock_off: float = 0.0
    protocol: int = PROTOCOL
    commands: int = 1

    @property
    def compatible(self) -> bool:
        """Whether it understands this server; otherwise it gets no runs."""
        return self.protocol == PROTOCOL

    @property
    def refusal(self) -> str:
        """Why it gets no runs, and what to do; "" if it is compatible."""
        return skew(Speaker(__version__), Speaker(self.versions.get("runyard", ""), self.protocol))

    @property
    def differs(self) -> bool:
        """Whether it says that it has another version of Runyard than this server."""
        return self.versions.get("runyard", __version__) != __version__

    @property
    def device(self) -> str:
        """The worker's device as a run requests it: cpu, or cuda:1."""
        return accepted_devices(self.device_kind, self.device_index)[-1]

    def takes(self, device: str, worker: str, executes: bool = False) -> bool:
        """Whether a run that requests this device and worker can run here; must agree with claim_next.

        ``executes``: it executes a command, for which a worker needs the key.
        """
        fits = device in accepted_devices(self.device_kind, self.device_index) and self.id.startswith(worker)
        return fits and self.compatible and (not executes or bool(self.commands))

    @property
    def lacks_space(self) -> bool:
        """Whether it gets no run because its disk is full; must agree with claim_next."""
        return self.disk_state == "full"

    @property
    def free_slots(self) -> int:
        """Number of slots in which a run could start."""
        return max(0, self.slots - len(self.runs)) if self.compatible else 0


CLOCK_SECONDS = 60.0
"""Smaller differences between clocks are not told; a heartbeat may also have waited for as long as a lease."""


def is_clock_off(seconds: float) -> bool:
    """Whether a clock differs so much that times of its points mislead."""
    return abs(seconds) > CLOCK_SECONDS


def record_heartbeat(connection: Connection, beat: Heartbeat, now: float, commands: bool = True) -> bool:
    """Record a heartbeat; True if the worker was unknown before, or the state of its disk or clock has changed.

    ``commands``: whether it has the key of commands.
    """
    disk_state = beat.disk.state if beat.disk else "ok"
    values: dict[str, Any] = {
        "id": beat.worker,
        "host": beat.host,
        "pid": beat.pid,
        "slots": beat.slots,
        "device_kind": beat.device.kind,
        "device_name": beat.device.name,
        "memory_bytes": beat.device.memory_bytes,
        "cores": beat.device.cores,
        "index": beat.device.index,
        "versions": json.dumps(beat.versions),
        "asleep": beat.asleep_seconds,
        "disk": beat.disk.model_dump_json() if beat.disk else "",
        "disk_state": disk_state,
        "clock_off": 0.0 if beat.time is None else beat.time - now,
        "protocol": beat.protocol,
        "commands": int(commands),
        "now": now,
    }
    before = connection.execute(text("SELECT disk_state, clock_off FROM worker WHERE id = :id"), values).one_or_none()
    if before is not None:
        connection.execute(
            text(
                "UPDATE worker SET last_seen = :now, slots = :slots, asleep_seconds = :asleep, disk = :disk,"
                " disk_state = :disk_state, clock_off = :clock_off, commands = :commands WHERE id = :id"
            ),
            values,
        )
    else:
        connection.execute(
            text(
                "INSERT INTO worker (id, host, pid, slots, device_kind, device_name, memory_bytes, cores, versions,"
                " first_seen, last_seen, device_index, asleep_seconds, disk, disk_state, clock_off, protocol, commands)"
                " VALUES (:id, :host, :pid, :slots, :device_kind, :device_name, :memory_bytes, :cores, :versions, :now,"
                " :now, :index, :asleep, :disk, :disk_state, :clock_off, :protocol, :commands)"
            ),
            values,
        )
    if before is None or before.disk_state != disk_state:
        return True
    return is_clock_off(before.clock_off) != is_clock_off(values["clock_off"])


def time_asleep(connection: Connection, beat: Heartbeat) -> tuple[float, float]:
    """Seconds for which a worker's machine was suspended since its last heartbeat, and when that heartbeat came.

    Call it before ``record_heartbeat``. (0, 0) for an unknown worker.
    """
    before = connection.execute(
        text("SELECT asleep_seconds, last_seen FROM worker WHERE id = :id"), {"id": beat.worker}
    ).one_or_none()
    if before is None:
        return 0.0, 0.0
    return max(0.0, beat.asleep_seconds - before.asleep_seconds), float(before.last_seen)


def forget(connection: Connection, worker: str) -> None:
    """Remove a worker that shut down."""
    connection.execute(text("DELETE FROM worker WHERE id = :id"), {"id": worker})


def any_silent(connection: Connection, before: float) -> bool:
    """Whether any worker was last seen before ``before``."""
    due = text("SELECT 1 FROM worker WHERE last_seen < :before LIMIT 1")
    return connection.execute(due, {"before": before}).one_or_none() is not None


def forget_silent(connection: Connection, before: float) -> list[str]:
    """Remove workers last seen before ``before``; returns their ids."""
    gone = connection.execute(text("DELETE FROM worker WHERE last_seen < :before RETURNING id"), {"before": before})
    return [str(row.id) for row in gone]


def list_workers(connection: Connection, now: float, silent_seconds: float) -> list[WorkerRecord]:
    """Workers seen within ``silent_seconds``, with the runs that they own."""
    owned: dict[str, list[str]] = {}
    active = "('starting', 'running', 'finishing', 'cancelling')"
    for run, worker in connection.execute(text(f"SELECT id, worker FROM run WHERE status IN {active} ORDER BY number")):
        owned.setdefault(worker, []).append(run)
    result = connection.execute(
        text("SELECT * FROM worker WHERE last_seen >= :since ORDER BY host, first_seen"),
        {"since": now - silent_seconds},
    ).mappings()
    return [
        WorkerRecord(
            **{
                **row,
                "versions": json.loads(row["versions"]),
                "runs": owned.get(row["id"], []),
                "disk": DiskSpace.model_validate_json(row["disk"]) if row["disk"] else None,
            }
        )
        for row in result
    ]
