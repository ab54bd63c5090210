"""/api/v1/retention: what is too old to be kept, for administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from app.actions.retention import apply_retention, read_retention
from app.contract.retention import Kind
from app.contract.timestamps import iso
from app.web.dependencies import CallerDep, PartsDep

api = APIRouter(tags=["people"])


class RetentionRuleOut(BaseModel):
    """A setting; ``value`` is null if it limits nothing."""

    model_config = ConfigDict(from_attributes=True)

    setting: str
    value: float | None
    unit: str


class RetentionEntryOut(BaseModel):
    """What would go of a run, since when it counts, and why; ``number``: null for a run that is gone already."""

    kind: Kind
    run: str
    number: int | None
    title: str
    since: str
    why: str
    files: int
    bytes: int


class RetentionOut(BaseModel):
    """``entries``: the first of ``count`` things that would go, with ``bytes`` together.

    ``missing``: bytes that have to be freed, and that nothing which may go has. ``deleting_files``,
    ``deleting_bytes``: what was removed and is being deleted.
    """

    rules: list[RetentionRuleOut]
    entries: list[RetentionEntryOut]
    count: int
    bytes: int
    missing: int
    deleting_files: int
    deleting_bytes: int


class RetentionAppliedOut(BaseModel):
    """``count`` things were removed, with ``bytes`` together; ``left``: what one request could not do."""

    model_config = ConfigDict(from_attributes=True)

    count: int
    bytes: int
    left: int


@api.get("/retention")
def get_retention(parts: PartsDep, limit: Annotated[int, Query(ge=0, le=10_000)] = 1000) -> RetentionOut:
    """Get what the settings no longer keep, the oldest of each kind first; nothing is removed."""
    found = read_retention(parts)
    entries = [
        RetentionEntryOut(
            kind=entry.item.kind,
            run=entry.item.run,
            number=entry.item.number,
            title=entry.item.title,
            since=iso(entry.item.since) or "",
            why=entry.why,
            files=len(entry.item.files),
            bytes=entry.item.bytes,
        )
        for entry in found.plan.entries[:limit]
    ]
    return RetentionOut(
        rules=[RetentionRuleOut.model_validate(rule) for rule in found.rules],
        entries=entries,
        count=len(found.plan.entries),
        bytes=found.plan.bytes,
        missing=found.plan.missing,
        deleting_files=found.doomed_files,
        deleting_bytes=found.doomed_bytes,
    )


@api.post("/retention")
def post_retention(parts: PartsDep, caller: CallerDep) -> RetentionAppliedOut:
    """Remove what the settings no longer keep, at most 1,000 things at once."""
    return RetentionAppliedOut.model_validate(apply_retention(parts, caller))
