"""/api/v1/log: what programs log with Runyard's Python client."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.actions.run_imports import CurvePart
from app.actions.script_runs import ScriptPart, ScriptRunPart, log_part, log_to_command
from app.actions.tracking import Points
from app.routes.run_imports import Key, Name, PieceIn, RunKey, UnixTime
from app.store.tracked_run import LONGEST_TAG
from app.web.audit import note_begun
from app.web.dependencies import PartsDep

api = APIRouter(tags=["runs"])

Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_TAG, pattern="^[^,]+$")]
Value = Annotated[str, StringConstraints(max_length=6000)]
ShortText = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
PartT = TypeVar("PartT", bound=ScriptPart)


class _PartIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: RunKey
    user: Annotated[str, StringConstraints(max_length=200)] = ""
    source: Annotated[str, StringConstraints(max_length=500)] = ""
    tags: list[Tag] = Field(default_factory=list, max_length=100)
    parameters: dict[Key, Value] = Field(default_factory=dict, max_length=2000)
    curves: dict[Key, PieceIn] = Field(default_factory=dict, max_length=2000)

    def to(self, kind: type[PartT]) -> PartT:
        """Convert to what the actions take."""
        curves = {
            name: CurvePart(piece.offset, Points(piece.step, piece.value, piece.time))
            for name, piece in self.curves.items()
        }
        fields = {name: getattr(self, name) for name in type(self).model_fields if name != "curves"}
        return kind(**fields, curves=curves)


class LogIn(_PartIn):
    """A part of a run that a program logs. ``key`` identifies the run, which begins with its first part.

    ``outcome``: how the run ended, at ``ended``; empty while it runs.
    """

    experiment: Name
    name: Name
    started: UnixTime
    outcome: Literal["", "succeeded", "failed", "cancelled"] = ""
    ended: UnixTime | None = None


class CommandLogIn(_PartIn):
    """What a program of a command logs to the command's run. ``key`` identifies the program.

    ``experiment`` and ``name`` count if nothing else has set them.
    """

    experiment: ShortText = ""
    name: ShortText = ""


class LogOut(BaseModel):
    """The run. ``warnings``: parameters that keep the value that another program has set before."""

    id: str
    number: int
    url: str
    warnings: list[str] = []


@api.post("/log")
def post_log(request: Request, requested: LogIn, parts: PartsDep) -> LogOut:
    """Log a part of a run that a program trains. A part that is sent again adds nothing."""
    run, number, begins = log_part(parts, requested.to(ScriptRunPart))
    if begins:
        note_begun(request, run)
    return LogOut(id=run, number=number, url=f"/runs/{run}")


@api.post("/log/{run_id}")
def post_command_log(run_id: str, requested: CommandLogIn, parts: PartsDep) -> LogOut:
    """Log to the run that executes the program's command. A part that is sent again adds nothing."""
    number, warnings = log_to_command(parts, run_id, requested.to(ScriptPart))
    return LogOut(id=run_id, number=number, url=f"/runs/{run_id}", warnings=warnings)
