"""/admin: people with their roles and limits; add, change, remove and restore them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.actions import people, provider_sign_in
from app.contract.errors import Conflict, Invalid, RunyardError
from app.contract.people import ROLES, Role
from app.web.dependencies import CallerDep, Parts, PartsDep
from app.web.formatting import upper_first

pages = APIRouter()

HERE = "/admin"
Text = Annotated[str, Form(max_length=1000)]


@pages.get("/admin")
def admin_page(
    request: Request,
    parts: PartsDep,
    removed: Annotated[str, Query(max_length=60)] = "",
    restored: Annotated[str, Query(max_length=60)] = "",
) -> HTMLResponse:
    """Show the page; ``removed`` and ``restored``: who just was."""
    return _page(request, parts, removed=removed, restored=restored)


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


@pages.post("/admin/people/{name}/limits")
def post_limits(
    request: Request, name: str, parts: PartsDep, caller: CallerDep, running: Text = "", queued: Text = ""
) -> Response:
    """Set a person's limits; a blank one is that of the settings."""

    def change() -> None:
        limits = people.Limits(_limit("most_running", running), _limit("most_queued", queued))
        people.change_person(parts, caller, name, limits=limits)

    return _change(request, parts, change)


@pages.get("/admin/people/{name}/remove")
def remove_page(request: Request, name: str, parts: PartsDep) -> HTMLResponse:
    """Ask whether to remove a person, and say what stays."""
    person, has = people.belongings(parts, name)
    days = parts.settings.trash_days
    return parts.templates.page(request, "admin_remove.html", person=person, has=has, trash_days=days)


@pages.post("/admin/people/{name}/delete")
def post_delete(request: Request, name: str, parts: PartsDep, caller: CallerDep) -> Response:
    """Remove a person."""
    name = name.strip().lower()
    return _change(
        request, parts, lambda: people.remove_person(parts, caller, name), f"?{urlencode({'removed': name})}"
    )


@pages.post("/admin/people/{name}/restore")
def post_restore(request: Request, name: str, parts: PartsDep, caller: CallerDep) -> Response:
    """Restore a person who was removed."""
    name = name.strip().lower()
    there = f"?{urlencode({'restored': name})}"
    return _change(request, parts, lambda: people.restore_person(parts, caller, name), there)


def _role(role: str) -> Role:
    if role not in ROLES:
        raise Invalid(f"no role '{role[:40]}'; roles: {', '.join(ROLES)}")
    return role


def _limit(field: str, typed: str) -> int | None:
    """Read a limit; None if it is blank. Raises Invalid."""
    typed = typed.strip()
    if not typed:
        return None
    if not (typed.isascii() and typed.isdecimal() and len(typed) <= 9):
        raise people.invalid(field, "a limit must be a whole number, 0 for none, or blank for that of the settings")
    return int(typed)


def _change(request: Request, parts: Parts, change: Callable[[], object], query: str = "") -> Response:
    try:
        change()
    except (Invalid, Conflict) as error:
        return _page(request, parts, error=error)
    return RedirectResponse(HERE + query, 303)


def _page(
    request: Request,
    parts: Parts,
    *,
    error: RunyardError | None = None,
    typed: dict[str, Any] | None = None,
    removed: str = "",
    restored: str = "",
) -> HTMLResponse:
    gone = people.list_removed(parts)
    there = people.list_people(parts)
    return parts.templates.page(
        request,
        "admin.html",
        200 if error is None else error.status,
        people=there,
        subjects=provider_sign_in.subjects(parts),
        by_proxy=bool(parts.settings.proxy_user_header),
        loads=people.list_loads(parts),
        roles=ROLES,
        gone=gone,
        removed=removed if removed in dict(gone) else "",
        restored=restored if restored in [person.name for person in there] else "",
        trash_days=parts.settings.trash_days,
        default_running=parts.settings.most_running,
        default_queued=parts.settings.most_queued,
        fair=parts.settings.fair_queue,
        wrong="" if error is None else upper_first(error.message),
        typed=typed or {},
    )
