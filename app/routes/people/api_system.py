"""/api/v1/system: health, versions and disk use, for administrators."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from app.actions.system_health import read_system
from app.web.dependencies import PartsDep

api = APIRouter(tags=["people"])


class CheckOut(BaseModel):
    """The result of a check; ``warn``: works with limitations; ``advice``: how to fix it."""

    what: str
    state: Literal["ok", "warn", "fail"]
    said: str
    advice: str


class WorkerVersionsOut(BaseModel):
    """A connected worker, and the versions it reported when it started."""

    id: str
    versions: dict[str, str]


class DiskOut(BaseModel):
    """Bytes by kind; ``unknown``: number of checkpoints whose size was not recorded."""

    checkpoints: int
    predictions: int
    exports: int
    files: int
    histograms_and_texts: int
    unknown: int


class SystemOut(BaseModel):
    """``ok``: no check failed. ``disk``: null if the database does not respond."""

    ok: bool
    checks: list[CheckOut]
    versions: dict[str, str]
    workers: list[WorkerVersionsOut]
    disk: DiskOut | None


@api.get("/system")
def get_system(parts: PartsDep) -> SystemOut:
    """Check the server and what it needs, and read versions and disk use."""
    system = read_system(parts)
    return SystemOut(
        ok=all(finding.state != "fail" for finding in system.findings),
        checks=[CheckOut(**vars(finding)) for finding in system.findings],
        versions=system.versions,
        workers=[WorkerVersionsOut(id=worker.id, versions=worker.versions) for worker in system.workers],
        disk=None if system.disk is None else DiskOut(**vars(system.disk)),
    )
