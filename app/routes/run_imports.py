"""/api/v1/import: import of runs that were recorded elsewhere."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.actions.run_imports import CurvePart, ImportedRun, import_run
from app.actions.tracking import Points
from app.contract.steps import LARGEST_STEP, SMALLEST_STEP
from app.web.dependencies import PartsDep

api = APIRouter(tags=["runs"])

MOST_POINTS = 50_000
LATEST = 4_102_444_800.0
UnixTime = Annotated[float, Field(ge=0, le=LATEST, allow_inf_nan=False)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=250)]
RunKey = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_.:-]{8,120}$")]


class PieceIn(BaseModel):
    """Consecutive points of one metric; ``offset``: number of earlier points. NaN and infinities are sent as text."""

    model_config = ConfigDict(extra="forbid")

    offset: int = Field(0, ge=0, lt=2**53)
    step: list[Annotated[int, Field(ge=SMALLEST_STEP, le=LARGEST_STEP)]] = Field(max_length=MOST_POINTS)
    value: list[float] = Field(max_length=MOST_POINTS)
    time: list[UnixTime] = Field(max_length=MOST_POINTS)

    @model_validator(mode="after")
    def _equally_long(self) -> PieceIn:
        if not len(self.step) == len(self.value) == len(self.time):
            raise ValueError("step, value and time must have the same length")
        return self


class ImportIn(BaseModel):
    """A run that was recorded elsewhere, or a part of it. ``key`` identifies the run across imports.

    ``damaged``: number of places in its files where damaged records were skipped. ``left_out``: number of points that
    were skipped because their step, name or time is invalid.
    """

    model_config = ConfigDict(extra="forbid")

    key: RunKey
    experiment: Name
    name: Name
    started: UnixTime
    ended: UnixTime
    outcome: Literal["", "succeeded", "failed", "cancelled"] = ""
    parameters: dict[Key, Annotated[str, StringConstraints(max_length=6000)]] = Field(
        default_factory=dict, max_length=2000
    )
    curves: dict[Key, PieceIn] = Field(default_factory=dict, max_length=2000)
    damaged: int = Field(0, ge=0, lt=2**53)
    left_out: int = Field(0, ge=0, lt=2**53)


class ImportOut(BaseModel):
    """The run and the number of new points."""

    id: str
    url: str
    added: int


@api.post("/import")
def post_import(requested: ImportIn, parts: PartsDep) -> ImportOut:
    """Import a run that was recorded elsewhere. A repeated import adds only new points."""
    imported = ImportedRun(
        key=requested.key,
        experiment=requested.experiment,
        name=requested.name,
        started=requested.started,
        ended=max(requested.started, requested.ended),
        outcome=requested.outcome,
        parameters=requested.parameters,
        curves={
            name: CurvePart(part.offset, Points(part.step, part.value, part.time))
            for name, part in requested.curves.items()
        },
        damaged=requested.damaged,
        left_out=requested.left_out,
    )
    run, added = import_run(parts, imported)
    return ImportOut(id=run, url=f"/runs/{run}", added=added)
