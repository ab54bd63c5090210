"""/api/v1/workers: the connected workers."""

from __future__ import annotations

import time

from fastapi import APIRouter
from pydantic import BaseModel

from app.contract.timestamps import iso
from app.store.database import reading
from app.store.worker import list_workers
from app.web.dependencies import PartsDep

api = APIRouter(tags=["workers"])


class WorkerOut(BaseModel):
    """A worker that sent a heartbeat within its lease. Memory in bytes; times in ISO 8601, UTC.

    ``refusal``: why it gets no runs; "" if it does. ``commands``: whether it has the key of commands.
    """

    id: str
    host: str
    pid: int
    slots: int
    free_slots: int
    device: str
    device_kind: str
    device_index: int
    memory_bytes: int
    cores: int
    versions: dict[str, str]
    first_seen: str
    last_seen: str
    runs: list[str]
    protocol: int
    refusal: str
    commands: bool


class WorkersOut(BaseModel):
    workers: list[WorkerOut]


@api.get("/workers")
def get_workers(parts: PartsDep) -> WorkersOut:
    """List the connected workers with their devices and active runs."""
    with reading(parts.engine) as connection:
        records = list_workers(connection, time.time(), parts.settings.lease_seconds)
    return WorkersOut(
        workers=[
            WorkerOut(
                id=worker.id,
                host=worker.host,
                pid=worker.pid,
                slots=worker.slots,
                free_slots=worker.free_slots,
                device=worker.device_name,
                device_kind=worker.device_kind,
                device_index=worker.device_index,
                memory_bytes=worker.memory_bytes,
                cores=worker.cores,
                versions=worker.versions,
                first_seen=iso(worker.first_seen) or "",
                last_seen=iso(worker.last_seen) or "",
                runs=worker.runs,
                protocol=worker.protocol,
                refusal=worker.refusal,
                commands=bool(worker.commands),
            )
            for worker in records
        ]
    )
