"""/admin/tokens, /admin/audit and /admin/system: all tokens, who did what, how the system is and what it keeps."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.actions import account, worker_tokens
from app.actions.retention import Retention, apply_retention, read_retention
from app.actions.system_health import read_system
from app.contract.errors import Conflict, Invalid, RunyardError
from app.contract.retention import LABELS
from app.store.audit_event import list_events
from app.store.database import reading
from app.web.dependencies import CallerDep, Parts, PartsDep
from app.web.formatting import upper_first
from app.web.numbers import Count

pages = APIRouter()

EVENTS = 50
RETENTION_ENTRIES = 50
Text = Annotated[str, Form(max_length=1000)]
Filter = Annotated[str, Query(max_length=300)]


@pages.get("/admin/tokens")
def tokens_page(request: Request, parts: PartsDep) -> HTMLResponse:
    """Show the tokens of all people, and those for worker machines."""
    return _tokens_page(request, parts)


def _tokens_page(
    request: Request,
    parts: Parts,
    error: RunyardError | None = None,
    machine: dict[str, str] | None = None,
    command: str = "",
) -> HTMLResponse:
    return parts.templates.page(
        request,
        "admin_tokens.html",
        200 if error is None else error.status,
        tokens=account.list_all_tokens(parts),
        machine_tokens=worker_tokens.list_tokens(parts),
        machine_wrong="" if error is None else upper_first(error.message),
        machine=machine or {"hours": "1", "uses": "1", "url": ""},
        command=command,
        now=time.time(),
    )


@pages.post("/admin/tokens/{token_id}/delete")
def post_delete_token(token_id: str, parts: PartsDep, caller: CallerDep) -> Response:
    """Delete anyone's token."""
    account.delete_token(parts, caller, token_id, anyones=True)
    return RedirectResponse("/admin/tokens", 303)


@pages.post("/admin/worker-tokens")
def post_worker_token(
    request: Request, parts: PartsDep, caller: CallerDep, hours: Text = "", uses: Text = "", url: Text = ""
) -> Response:
    """Create a token for worker machines, and show the command for them this once."""
    typed = {"hours": hours, "uses": uses, "url": url}
    try:
        requested, count = str(request.base_url), _whole("uses", uses) or None
        _, token = worker_tokens.create_token(parts, caller, requested, _whole("hours", hours), count, url.strip())
    except (Invalid, Conflict) as error:
        return _tokens_page(request, parts, error, typed)
    return _tokens_page(request, parts, command=f"runyard join {token}")


@pages.post("/admin/worker-tokens/{token_id}/delete")
def post_delete_worker_token(token_id: str, parts: PartsDep, caller: CallerDep) -> Response:
    """Delete a token for worker machines."""
    worker_tokens.delete_token(parts, caller, token_id)
    return RedirectResponse("/admin/tokens#machines", 303)


def _whole(name: str, text: str) -> int:
    if not text.strip().isascii() or not text.strip().isdigit():
        raise Invalid(f"{name} must be a whole number")
    return int(text)


@pages.get("/admin/audit")
def audit_page(
    request: Request,
    parts: PartsDep,
    who: Filter = "",
    action: Filter = "",
    target: Filter = "",
    before: Count | None = None,
) -> HTMLResponse:
    """Show the audit log; the query filters it."""
    filters = {"who": who.strip(), "action": action.strip(), "target": target.strip()}
    with reading(parts.engine) as connection:
        events = list_events(connection, **filters, before=before, limit=EVENTS)
    return parts.templates.page(
        request,
        "admin_audit.html",
        events=events,
        older=events[-1]["id"] if len(events) == EVENTS else None,
        before=before,
        filters=filters,
        filtered=any(filters.values()),
    )


@pages.get("/admin/system")
def system_page(request: Request, parts: PartsDep) -> HTMLResponse:
    """Show the system's health, its versions, the workers, what takes disk space and what would be removed."""
    system = read_system(parts)
    retention = None if system.disk is None else read_retention(parts)
    return parts.templates.page(
        request,
        "admin_system.html",
        system=system,
        trash_days=parts.settings.trash_days,
        **_retention_values(retention),
    )


def _retention_values(retention: Retention | None, doomed: int = 0) -> dict[str, Any]:
    return {"retention": retention, "doomed": doomed, "labels": LABELS, "most": RETENTION_ENTRIES}


@pages.get("/admin/system/retention")
def retention_part(request: Request, parts: PartsDep, doomed: Count = 0) -> HTMLResponse:
    """Show what would be removed and what is being deleted; ``doomed``: bytes to delete when that began."""
    values = _retention_values(read_retention(parts), doomed)
    return parts.templates.fragment(request, "_admin_retention.html", **values)


@pages.post("/admin/system/retention")
def post_retention(parts: PartsDep, caller: CallerDep) -> Response:
    """Remove what the settings no longer keep."""
    apply_retention(parts, caller)
    return RedirectResponse("/admin/system#retention", 303)
