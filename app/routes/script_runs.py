"""/api/v1/log: runs that a program logs with Runyard's Python client."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.actions.run_imports import CurvePart
from app.actions.script_runs import ScriptRunPart, log_part
from app.actions.tracking import Points
from app.routes.run_imports import Key, Name, PieceIn, RunKey, UnixTime
from app.store.tracked_run import LONGEST_TAG
from app.web.dependencies import PartsDep

api = APIRouter(tags=["runs"])

Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_TAG, pattern="^[^,]+$")]
Value = Annotated[str, StringConstraints(max_length=6000)]


class LogIn(BaseModel):
    """A part of a run that a program logs. ``key`` identifies the run, which begins with its first part.

    ``outcome``: how the run ended, at ``ended``; empty while it runs.
    """

    model_config = ConfigDict(extra="forbid")

    key: RunKey
    experiment: Name
    name: Name
    started: UnixTime
    user: Annotated[str, StringConstraints(max_length=200)] = ""
    source: Annotated[str, StringConstraints(max_length=500)] = ""
    tags: list[Tag] = Field(default_factory=list, max_length=100)
    parameters: dict[Key, Value] = Field(default_factory=dict, max_length=2000)
    curves: dict[Key, PieceIn] = Field(default_factory=dict, max_length=2000)
    outcome: Literal["", "succeeded", "failed", "cancelled"] = ""
    ended: UnixTime | None = None


class LogOut(BaseModel):
    """The run."""

    id: str
    number: int
    url: str


@api.post("/log")
def post_log(requested: LogIn, parts: PartsDep) -> LogOut:
    """Log a part of a run that a program trains. A part that is sent again adds nothing."""
    curves = {
        name: CurvePart(piece.offset, Points(piece.step, piece.value, piece.time))
        for name, piece in requested.curves.items()
    }
    fields = {name: getattr(requested, name) for name in LogIn.model_fields if name != "curves"}
    run, number = log_part(parts, ScriptRunPart(**fields, curves=curves))
    return LogOut(id=run, number=number, url=f"/runs/{run}")
