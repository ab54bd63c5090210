"""/admin: people with their roles, all tokens, worker machines, and the audit log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.actions import account, people, worker_tokens
from app.contract.errors import Conflict, Invalid, RunyardError
from app.contract.people import ROLES, Role
from app.store.audit_event import list_events
from app.store.database import reading
from app.web.dependencies import CallerDep, Parts, PartsDep
from app.web.formatting import upper_first
from app.web.numbers import Count

pages = APIRouter()

HERE = "/admin"
EVENTS = 50
Text = Annotated[str, Form(max_length=1000)]
Filter = Annotated[str, Query(max_length=300)]


@pages.get("/admin")
def admin_page(
    request: Request,
    parts: PartsDep,
    who: Filter = "",
    action: Filter = "",
    target: Filter = "",
    before: Count | None = None,
) -> HTMLResponse:
    """Show the page; the query filters the audit log."""
    return _page(request, parts, who=who.strip(), action=action.strip(), target=target.strip(), before=before)


@pages.post("/admin/people")
def post_person(
    request: Request, parts: PartsDep, caller: CallerDep, name: Text = "", role: Text = "member", password: Text = ""
) -> Response:
    """Add a person."""
    try:
        people.add_person(parts, caller, name, _role(role), password or None)
    except (Invalid, Conflict) as error:
        return _page(request, parts, error=error, typed={"name": name, "role": role})
    return RedirectResponse(HERE, 303)


@pages.post("/admin/people/{name}/role")
def post_role(request: Request, name: str, parts: PartsDep, caller: CallerDep, role: Text = "") -> Response:
    """Change a person's role."""
    return _change(request, parts, lambda: people.change_person(parts, caller, name, role=_role(role)))


@pages.post("/admin/people/{name}/password")
def post_password(request: Request, name: str, parts: PartsDep, caller: CallerDep, password: Text = "") -> Response:
    """Set a person's password; their sessions end."""
    return _change(request, parts, lambda: people.change_person(parts, caller, name, password=password))


@pages.post("/admin/people/{name}/disable")
def post_disable(request: Request, name: str, parts: PartsDep, caller: CallerDep) -> Response:
    """Disable a person; their sessions end."""
    return _change(request, parts, lambda: people.change_person(parts, caller, name, disabled=True))


@pages.post("/admin/people/{name}/enable")
def post_enable(request: Request, name: str, parts: PartsDep, caller: CallerDep) -> Response:
    """Enable a person again."""
    return _change(request, parts, lambda: people.change_person(parts, caller, name, disabled=False))


@pages.post("/admin/people/{name}/delete")
def post_delete(request: Request, name: str, parts: PartsDep, caller: CallerDep) -> Response:
    """Remove a person."""
    return _change(request, parts, lambda: people.remove_person(parts, caller, name))


@pages.post("/admin/tokens/{token_id}/delete")
def post_delete_token(token_id: str, parts: PartsDep, caller: CallerDep) -> Response:
    """Delete anyone's token."""
    account.delete_token(parts, caller, token_id, anyones=True)
    return RedirectResponse(f"{HERE}#tokens", 303)


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
        return _page(request, parts, machine_error=error, machine=typed)
    return _page(request, parts, command=f"runyard join {token}")


@pages.post("/admin/worker-tokens/{token_id}/delete")
def post_delete_worker_token(token_id: str, parts: PartsDep, caller: CallerDep) -> Response:
    """Delete a token for worker machines."""
    worker_tokens.delete_token(parts, caller, token_id)
    return RedirectResponse(f"{HERE}#machines", 303)


def _whole(name: str, text: str) -> int:
    if not text.strip().isascii() or not text.strip().isdigit():
        raise Invalid(f"{name} must be a whole number")
    return int(text)


def _role(role: str) -> Role:
    if role not in ROLES:
        raise Invalid(f"no role '{role[:40]}'; roles: {', '.join(ROLES)}")
    return role


def _change(request: Request, parts: Parts, change: Callable[[], object]) -> Response:
    try:
        change()
    except (Invalid, Conflict) as error:
        return _page(request, parts, error=error)
    return RedirectResponse(HERE, 303)


def _page(
    request: Request,
    parts: Parts,
    *,
    error: RunyardError | None = None,
    typed: dict[str, Any] | None = None,
    machine_error: RunyardError | None = None,
    machine: dict[str, str] | None = None,
    command: str = "",
    who: str = "",
    action: str = "",
    target: str = "",
    before: int | None = None,
) -> HTMLResponse:
    with reading(parts.engine) as connection:
        events = list_events(connection, who=who, action=action, target=target, before=before, limit=EVENTS)
    return parts.templates.page(
        request,
        "admin.html",
        next((each.status for each in (error, machine_error) if each is not None), 200),
        people=people.list_people(parts),
        roles=ROLES,
        tokens=account.list_all_tokens(parts),
        machine_tokens=worker_tokens.list_tokens(parts),
        machine_wrong="" if machine_error is None else upper_first(machine_error.message),
        machine=machine or {"hours": "1", "uses": "1", "url": ""},
        command=command,
        now=time.time(),
        events=events,
        older=events[-1]["id"] if len(events) == EVENTS else None,
        before=before,
        filters={"who": who, "action": action, "target": target},
        filtered=bool(who or action or target),
        wrong="" if error is None else upper_first(error.message),
        typed=typed or {},
    )
