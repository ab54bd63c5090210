"""/api/v1/runs/{id}/disk and /api/v1/disk: what the files of one run, and of all runs, take in the artifact store."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from app.actions.runs import find_run
from app.store.database import reading
from app.store.disk_use import disk_use
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
