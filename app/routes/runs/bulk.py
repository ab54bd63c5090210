"""/api/v1/runs/cancel and /restore-queued: stop many runs at once, and restore runs cancelled before they started."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.actions.bulk import cancel_many, restore_many
from app.contract.errors import Invalid
from app.contract.spec import FieldError
from app.store.bulk import RunSelection
from app.web.dependencies import PartsDep

api = APIRouter(tags=["runs"])

RunId = Annotated[str, StringConstraints(min_length=1, max_length=100)]
RunIds = Annotated[list[RunId], Field(min_length=1, max_length=10_000)]


class CancelIn(BaseModel):
    """Which runs to stop: by ID, all runs of a sweep, or all queued runs."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"queued": True}, {"sweep": "s_…"}]})

    runs: RunIds | None = None
    sweep: RunId | None = None
    queued: bool = False


class CancelledOut(BaseModel):
    """``cancelled`` runs had not started and can be restored with restore-queued; ``stopping`` runs end one by one."""

    cancelled: list[str]
    stopping: list[str]


class RestoreIn(BaseModel):
    """IDs of runs that were cancelled while queued, before they first started."""

    model_config = ConfigDict(extra="forbid")

    runs: RunIds


class RestoredRunOut(BaseModel):
    was: str
    id: str


class RestoredOut(BaseModel):
    """Each cancelled run and the new run queued in its place."""

    runs: list[RestoredRunOut]


@api.post("/runs/cancel")
def post_cancel_many(body: CancelIn, parts: PartsDep) -> CancelledOut:
    """Stop many runs in one transaction; ended runs are left unchanged."""
    if sum((body.runs is not None, body.sweep is not None, body.queued)) != 1:
        sentence = "specify exactly one of runs, sweep and queued"
        raise Invalid(sentence, [FieldError("runs", sentence)])
    result = cancel_many(parts, RunSelection(list(dict.fromkeys(body.runs or [])), body.sweep, body.queued))
    return CancelledOut(cancelled=result.cancelled, stopping=result.stopping)


@api.post("/runs/restore-queued", status_code=201)
def post_restore_queued(body: RestoreIn, parts: PartsDep) -> RestoredOut:
    """Undo a cancellation: queue a new run at the previous position of each; the cancelled run moves to the trash."""
    restored = restore_many(parts, list(dict.fromkeys(body.runs)))
    return RestoredOut(runs=[RestoredRunOut(was=old, id=new) for old, new in restored])
