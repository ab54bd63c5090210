"""/api/v1/audit and /api/v1/audit.csv: who did what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy import Engine

from app.contract.timestamps import iso
from app.formats.table import as_csv
from app.store.audit_event import list_events
from app.store.database import reading
from app.web.dependencies import PartsDep
from app.web.numbers import Count

api = APIRouter(tags=["people"])

Who = Annotated[str, Query(max_length=60)]
Action = Annotated[str, Query(max_length=60, description="Action, or the start of one: run.")]
Target = Annotated[str, Query(max_length=300)]
SLICE: Final = 1000


class AuditEventOut(BaseModel):
    """``who`` did ``action`` to ``target``, with which ``credential``, from which ``address``."""

    id: int
    time: str
    who: str
    credential: str
    address: str
    action: str
    target: str
    detail: dict[str, Any]


class AuditOut(BaseModel):
    """Events, newest first; ``next``: for ``before``, to read on, if there may be more."""

    events: list[AuditEventOut]
    next: int | None


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    return {"time": iso(row["at"]) or "", **{name: row[name] for name in row if name != "at"}}


@api.get("/audit")
def get_audit(
    parts: PartsDep,
    who: Who = "",
    action: Action = "",
    target: Target = "",
    before: Annotated[Count | None, Query(description="Only events before this one.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditOut:
    """List who did what, newest first."""
    with reading(parts.engine) as connection:
        found = list_events(connection, who=who, action=action, target=target, before=before, limit=limit)
    events = [AuditEventOut(**_as_json(row)) for row in found]
    return AuditOut(events=events, next=events[-1].id if len(events) == limit else None)


@api.get("/audit.csv", response_class=StreamingResponse)
def export_audit(parts: PartsDep, who: Who = "", action: Action = "", target: Target = "") -> StreamingResponse:
    """Export who did what as CSV, newest first, one row per event; ``detail`` is JSON."""
    rows = _slices(parts.engine, who=who, action=action, target=target)
    headers = {"content-disposition": 'attachment; filename="audit.csv"', "cache-control": "no-store"}
    chunks = as_csv(list(AuditEventOut.model_fields), rows)
    return StreamingResponse(chunks, media_type="text/csv; charset=utf-8", headers=headers)


def _slices(engine: Engine, **filters: str) -> Iterator[list[dict[str, Any]]]:
    """Events, newest first, each slice in a transaction of its own; what happens meanwhile is not among them."""
    before: int | None = None
    while True:
        with reading(engine) as connection:
            found = list_events(connection, **filters, before=before, limit=SLICE)
        yield [_as_json(row) for row in found]
        if len(found) < SLICE:
            return
        before = found[-1]["id"]
