"""/api/v1/runs/cancel and /restore-queued: many runs stopped at once, and those that had not started brought back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.actions.bulk import cancel_many, restore_many
from app.contract.errors import Invalid
from app.contract.spec import FieldError
from app.store.bulk import Which
from app.web.dependencies import PartsDep

api = APIRouter(tags=["runs"])

RunId = Annotated[str, StringConstraints(min_length=1, max_length=100)]
RunIds = Annotated[list[RunId], Field(min_length=1, max_length=10_000)]


class CancelIn(BaseModel):
    """Which runs to stop: some by their ids, all of a sweep, or everything that waits."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"queued": True}, {"sweep": "s_…"}]})

    runs: RunIds | None = None
    sweep: RunId | None = None
    queued: bool = False


class CancelledOut(BaseModel):
    """``cancelled`` had never started and can come back with restore-queued; ``stopping`` had, and end one by one."""

    cancelled: list[str]
    stopping: list[str]


class RestoreIn(BaseModel):
    """Runs that were cancelled while they waited, before they had ever started."""

    model_config = ConfigDict(extra="forbid")

    runs: RunIds


class RestoredRunOut(BaseModel):
    was: str
    id: str


class RestoredOut(BaseModel):
    """Each cancelled run and the new one that waits in its place."""

    runs: list[RestoredRunOut]


@api.post("/runs/cancel")
def post_cancel_many(said: CancelIn, parts: PartsDep) -> CancelledOut:
    """Stop many runs in one transaction; those that have ended stay as they are."""
    if sum((said.runs is not None, said.sweep is not None, said.queued)) != 1:
        sentence = "say which runs to stop: exactly one of runs, sweep and queued"
        raise Invalid(sentence, [FieldError("runs", sentence)])
    done = cancel_many(parts, Which(list(dict.fromkeys(said.runs or [])), said.sweep, said.queued))
    return CancelledOut(cancelled=done.cancelled, stopping=done.stopping)


@api.post("/runs/restore-queued", status_code=201)
def post_restore_queued(said: RestoreIn, parts: PartsDep) -> RestoredOut:
    """Undo a cancel: a new run in the old place of the queue for each; the cancelled one goes to the trash."""
    made = restore_many(parts, list(dict.fromkeys(said.runs)))
    return RestoredOut(runs=[RestoredRunOut(was=old, id=new) for old, new in made])
