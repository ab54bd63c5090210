"""/account: one's own password, sessions and tokens."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.actions import account
from app.contract.errors import Conflict, Invalid, RunyardError, TooManyAttempts
from app.contract.people import ROLE_PERMISSIONS, SCOPE_PERMISSIONS, SCOPES
from app.web.browser_name import browser_name
from app.web.caller import Caller
from app.web.cookies import clear_session
from app.web.dependencies import CallerDep, Parts, PartsDep
from app.web.formatting import upper_first

pages = APIRouter()

HERE = "/account"
DAYS = (("30", "30 days"), ("90", "90 days"), ("365", "a year"), ("", "never"))
Text = Annotated[str, Form(max_length=1000)]


@pages.get("/account")
def account_page(request: Request, parts: PartsDep, caller: CallerDep, changed: bool = False) -> HTMLResponse:
    """Show the page."""
    return _page(request, parts, caller, changed=changed)


@pages.post("/account/password")
def post_password(
    request: Request, parts: PartsDep, caller: CallerDep, current: Text = "", new: Text = "", again: Text = ""
) -> Response:
    """Change the password."""
    try:
        if new != again:
            raise Invalid("the new passwords differ")
        account.change_password(parts, caller, current, new)
    except (Invalid, TooManyAttempts) as error:
        return _page(request, parts, caller, form="password", error=error)
    return RedirectResponse(f"{HERE}?changed=1", 303)


@pages.post("/account/sessions/end")
def post_end_sessions(
    request: Request, parts: PartsDep, caller: CallerDep, session: Text = "", others: Text = ""
) -> Response:
    """End one session, all others, or all."""
    if session.isascii() and session.isdigit() and len(session) < 16:
        account.end_own_sessions(parts, caller, int(session))
    else:
        account.end_own_sessions(parts, caller, others=bool(others))
        if not others:
            answer: Response = RedirectResponse("/sign-in", 303)
            clear_session(answer, request, parts.settings)
            return answer
    return RedirectResponse(f"{HERE}#sessions", 303)


@pages.post("/account/tokens")
def post_token(
    request: Request, parts: PartsDep, caller: CallerDep, name: Text = "", scope: Text = "launch", days: Text = "90"
) -> Response:
    """Create a token and show it once."""
    try:
        if scope not in SCOPES:
            raise Invalid(f"no scope '{scope[:40]}'; scopes: {', '.join(SCOPES)}")
        if days not in dict(DAYS):
            raise Invalid("choose when the token expires")
        _, secret = account.create_token(parts, caller, name, scope, int(days) if days else None)
    except (Invalid, Conflict) as error:
        return _page(request, parts, caller, form="token", error=error, typed={"name": name, "scope": scope})
    answer = _page(request, parts, caller, secret=secret, status=201)
    answer.headers["cache-control"] = "no-store"
    return answer


@pages.post("/account/tokens/{token_id}/delete")
def post_delete_token(token_id: str, parts: PartsDep, caller: CallerDep) -> Response:
    """Delete a token."""
    account.delete_token(parts, caller, token_id)
    return RedirectResponse(f"{HERE}#tokens", 303)


def _page(
    request: Request,
    parts: Parts,
    caller: Caller,
    *,
    form: str = "",
    error: RunyardError | None = None,
    typed: dict[str, Any] | None = None,
    secret: str = "",
    changed: bool = False,
    status: int = 200,
) -> HTMLResponse:
    user = account.own(parts, caller)
    return parts.templates.page(
        request,
        "account.html",
        status if error is None else error.status,
        user=user,
        sessions=account.list_own_sessions(parts, caller),
        current=caller.session,
        browser_name=browser_name,
        tokens=account.list_own_tokens(parts, caller),
        scopes=[scope for scope in SCOPES if SCOPE_PERMISSIONS[scope] <= ROLE_PERMISSIONS[user.role]],
        days=DAYS,
        form=form,
        wrong="" if error is None else upper_first(error.message),
        typed=typed or {},
        secret=secret,
        changed=changed,
    )
