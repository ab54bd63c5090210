"""/admin/tokens, /admin/audit and /admin/system: all tokens, who did what, and how the system is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.actions import account
from app.actions.system_health import read_system
from app.store.audit_event import list_events
from app.store.database import reading
from app.web.dependencies import CallerDep, PartsDep
from app.web.numbers import Count

pages = APIRouter()

EVENTS = 50
Filter = Annotated[str, Query(max_length=300)]


@pages.get("/admin/tokens")
def tokens_page(request: Request, parts: PartsDep) -> HTMLResponse:
    """Show the tokens of all people."""
    return parts.templates.page(request, "admin_tokens.html", tokens=account.list_all_tokens(parts))


@pages.post("/admin/tokens/{token_id}/delete")
def post_delete_token(token_id: str, parts: PartsDep, caller: CallerDep) -> Response:
    """Delete anyone's token."""
    account.delete_token(parts, caller, token_id, anyones=True)
    return RedirectResponse("/admin/tokens", 303)


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
    """Show the system's health, its versions, the workers and what takes disk space."""
    trash_days = parts.settings.trash_days
    return parts.templates.page(request, "admin_system.html", system=read_system(parts), trash_days=trash_days)
