"""/api/v1/runs/{id}/disk and /api/v1/disk: what the files of one run, and of all runs, take in the artifact store.

/api/v1/disks: how much room the disks of the server and of the workers have.
"""

from __future__ import annotations

import time

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from app.actions.runs import find_run
from app.contract.disk_space import DiskSpace
from app.services.disk_warnings import known_disks
from app.store.database import reading
from app.store.disk_use import disk_use
from app.store.worker import list_workers
from app.web.dependencies import PartsDep

api = APIRouter(tags=["runs"])


class DiskUseOut(BaseModel):
    """Bytes of checkpoints, kept predictions, exported files and what a script logged: files, histograms and texts.

    ``unknown``: checkpoints that an earlier version of Runyard wrote, whose sizes are in no sum.
    """

    model_config = ConfigDict(from_attributes=True)

    checkpoints: int
    predictions: int
    exports: int
    files: int
    histograms_and_texts: int
    unknown: int
    total: int


class DisksOut(BaseModel):
    """The disks that the server and connected workers write to, the server's first.

    ``low``: less is free than RUNYARD_DISK_WARN_MIB; ``full``: less than RUNYARD_DISK_PAUSE_MIB, so that no run starts
    there until ``needed`` bytes are free.
    """

    disks: list[DiskSpace]


@api.get("/runs/{run_id}/disk")
def get_disk_use(run_id: str, parts: PartsDep) -> DiskUseOut:
    """Get what the files of a run take in the artifact store."""
    find_run(parts, run_id)
    with reading(parts.engine) as connection:
        return DiskUseOut.model_validate(disk_use(connection, run_id))


@api.get("/disk")
def get_disk_use_of_all_runs(parts: PartsDep) -> DiskUseOut:
    """Get what the files of all runs take, those of deleted ones included until these are removed for good."""
    with reading(parts.engine) as connection:
        return DiskUseOut.model_validate(disk_use(connection))


@api.get("/disks")
def get_disks(parts: PartsDep) -> DisksOut:
    """List disks with their free space in bytes."""
    with reading(parts.engine) as connection:
        workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
    return DisksOut(disks=known_disks(parts.settings, workers))
