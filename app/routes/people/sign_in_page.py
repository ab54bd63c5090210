"""/sign-in, also at a provider, /sign-out and /welcome: forms that work without JavaScript."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.actions import account, people, provider_sign_in
from app.actions.account import sign_in, start_session
from app.contract.errors import Conflict, Invalid, RunyardError, TooManyAttempts, Unauthorized
from app.contract.settings import is_loopback
from app.web.access import client_address
from app.web.caller import NOBODY
from app.web.cookies import (
    clear_attempt,
    clear_session,
    is_secure,
    read_attempt,
    read_session,
    set_attempt,
    set_session,
)
from app.web.dependencies import CallerDep, Parts, PartsDep
from app.web.formatting import upper_first
from app.web.rendering import local_path

pages = APIRouter()

CALLBACK = "/sign-in/oidc/callback"
Text = Annotated[str, Form(max_length=1000)]


@pages.get("/sign-in")
def sign_in_page(request: Request, parts: PartsDep, next: str = "/") -> HTMLResponse:
    """Show the form; ``next``: the page to go on to."""
    return _sign_in_page(request, parts, next)


@pages.post("/sign-in")
def post_sign_in(request: Request, parts: PartsDep, name: Text = "", password: Text = "", next: Text = "/") -> Response:
    """Sign in, or show the form again with what is wrong."""
    address, agent = client_address(request, parts.credentials), request.headers.get("user-agent", "")
    before = read_session(request, parts.settings)
    try:
        _, secret = sign_in(parts, name, password, address, agent, "browser", before)
    except (Unauthorized, TooManyAttempts) as error:
        return _sign_in_page(request, parts, next, name, error)
    answer = RedirectResponse(local_path(next, "/"), 303)
    set_session(answer, request, parts.settings, secret)
    return answer


@pages.get("/sign-in/oidc")
def start_at_provider(request: Request, parts: PartsDep, next: str = "/") -> Response:
    """Send the browser to the provider. A link, no form: browsers let no form lead to another site here (CSP)."""
    address = client_address(request, parts.credentials)
    scheme = "https" if is_secure(request, parts.settings) else "http"
    # The host is one of the server's own: app/web/security.py has refused all others.
    redirect = f"{scheme}://{request.headers['host']}{CALLBACK}"
    try:
        leads_to, secret = provider_sign_in.start(parts, redirect, local_path(next, "/"), address)
    except RunyardError as error:
        return _sign_in_page(request, parts, next, error=error)
    answer = RedirectResponse(leads_to, 303, {"cache-control": "no-store"})
    set_attempt(answer, request, parts.settings, secret)
    return answer


@pages.get(CALLBACK)
def finish_at_provider(request: Request, parts: PartsDep) -> Response:
    """Sign in whoever the provider has sent back, or show the form with what is wrong."""
    address, agent = client_address(request, parts.credentials), request.headers.get("user-agent", "")
    browser, before = read_attempt(request, parts.settings), read_session(request, parts.settings)
    try:
        secret, target = provider_sign_in.finish(parts, request.query_params, browser, address, agent, before)
    except RunyardError as error:
        answer: Response = _sign_in_page(request, parts, "/", error=error)
    else:
        answer = RedirectResponse(target, 303, {"cache-control": "no-store"})
        set_session(answer, request, parts.settings, secret)
    clear_attempt(answer, request, parts.settings)
    return answer


@pages.post("/sign-out")
def post_sign_out(request: Request, parts: PartsDep, caller: CallerDep) -> Response:
    """End the session of this browser."""
    if caller.session is not None:
        account.sign_out(parts, caller)
    answer = RedirectResponse("/sign-in", 303)
    clear_session(answer, request, parts.settings)
    return answer


def _sign_in_page(
    request: Request, parts: Parts, next: str, name: str = "", error: RunyardError | None = None
) -> HTMLResponse:
    answer = parts.templates.page(
        request,
        "sign_in.html",
        200 if error is None else error.status,
        next=local_path(next, "/"),
        provider="" if parts.provider is None else parts.provider.host,
        typed=name,
        wrong="" if error is None else upper_first(error.message),
        in_the_clear=_is_in_the_clear(request, parts),
    )
    answer.headers.update({} if error is None else error.headers)
    return answer


@pages.get("/welcome")
def welcome_page(request: Request, parts: PartsDep, code: str = "") -> HTMLResponse:
    """Show the form for the first administrator."""
    return _welcome_page(request, parts, code, people.is_welcome(parts, code))


@pages.post("/welcome")
def post_welcome(
    request: Request, parts: PartsDep, code: Text = "", name: Text = "", password: Text = "", again: Text = ""
) -> Response:
    """Create the first administrator and sign in, or show the form again with what is wrong."""
    address, agent = client_address(request, parts.credentials), request.headers.get("user-agent", "")
    try:
        if password != again:
            raise Invalid("the passwords differ")
        user = people.welcome(parts, NOBODY, code, name, password)
    except Conflict as error:
        return _welcome_page(request, parts, code, False, name, error)
    except Invalid as error:
        return _welcome_page(request, parts, code, True, name, error)
    secret = start_session(parts, user, address, agent, "browser")
    answer = RedirectResponse("/", 303)
    set_session(answer, request, parts.settings, secret)
    return answer


def _welcome_page(
    request: Request, parts: Parts, code: str, valid: bool, name: str = "", error: RunyardError | None = None
) -> HTMLResponse:
    return parts.templates.page(
        request,
        "welcome.html",
        (200 if valid else 410) if error is None else error.status,
        code=code,
        valid=valid,
        typed=name,
        wrong="" if error is None else upper_first(error.message),
        in_the_clear=_is_in_the_clear(request, parts),
    )


def _is_in_the_clear(request: Request, parts: Parts) -> bool:
    """Tell whether others on the network could read what is sent."""
    return not is_secure(request, parts.settings) and not is_loopback(request.client.host if request.client else "")
