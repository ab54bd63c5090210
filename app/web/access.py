"""Who may send which request: finds out who sends it, and asks the table in app/web/access_table.py.

Everything that is not open is refused without a credential, whether the address exists or not.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlencode

from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.contract.errors import Forbidden, NotFound, RunyardError, Unauthorized
from app.contract.local_key import SCHEME
from app.store.author import AUTHOR, MOST_QUEUED
from app.web.access_table import Entry, Table
from app.web.audit import Audited
from app.web.caller import NOBODY, OPEN, Caller
from app.web.cookies import clear_session, read_session, set_session
from app.web.credentials import Credentials
from app.web.dependencies import Parts
from app.web.error_responses import answer_to

TABLE: Final = Table()
RECHECK_SECONDS: Final = 15.0
"""How long an event stream goes on after its session has ended."""
THEMSELVES: Final = ("session", "password", "proxy")
"""Credentials with which people do what their role says."""
DOES: Final[Mapping[str, str]] = {
    "read": "read",
    "log": "log runs",
    "log-read": "read what it logs",
    "launch": "launch or change anything",
    "admin": "do this: it needs an administrator",
    "account": "change an account: sign in with a name and a password",
}


class Access:
    """ASGI middleware that lets requests pass, or refuses them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        parts: Parts = scope["app"].state.parts
        credentials = parts.credentials
        state = scope.setdefault("state", {})
        if not await _is_required(credentials, (scope.get("server") or (None,))[0]):
            state["caller"] = OPEN
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        entry = TABLE.find(scope["method"], scope["path"])
        if entry is None and scope["path"] != "/" and scope["path"].endswith("/"):
            # The router redirects to the address without a slash; where that leads is checked there.
            entry = TABLE.find(scope["method"], scope["path"][:-1])
        if entry is not None and entry.need == "open":
            state["caller"] = NOBODY
            await self.app(scope, receive, send)
            return
        replacement: str | None = None
        try:
            caller, replacement = await _find_caller(credentials, request)
            state["caller"] = caller = replace(caller, address=client_address(request, credentials))
            _check(caller, entry, request)
        except RunyardError as error:
            await _refuse(request, parts, error)(scope, receive, send)
            return
        AUTHOR.set(caller.name)
        MOST_QUEUED.set(parts.settings.most_queued)
        if replacement is not None:
            send = _with_cookie(send, request, parts, replacement)
        if entry is not None and entry.action:
            audited = Audited(parts.engine, caller, entry, scope, receive, send)
            receive, send = audited.receive, audited.send
        await self.app(scope, receive, _until_signed_out(send, credentials, request))


async def _is_required(credentials: Credentials, listening: str | None) -> bool:
    if credentials.is_known(listening):
        return credentials.required(listening)
    return await run_in_threadpool(credentials.required, listening)


async def _find_caller(credentials: Credentials, request: Request) -> tuple[Caller, str | None]:
    """Find who sends a request; also a new secret for its cookie. Raises Unauthorized and TooManyAttempts."""
    header = request.headers.get("authorization")
    named = proxy_names(request, credentials)
    if named and (header is None or header.lower().startswith("basic ")):
        # A proxy that asks for passwords itself may pass them on; a token was sent on purpose.
        return await run_in_threadpool(credentials.from_proxy, named), None
    if header is not None:
        query = request.scope["query_string"].decode("latin-1")
        raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
        target = raw.decode("latin-1") + (f"?{query}" if query else "")
        caller = await run_in_threadpool(
            credentials.from_header,
            header,
            request.method,
            request.headers.get("host", ""),
            target,
            client_address(request, credentials),
        )
        return caller, None
    secret = read_session(request, credentials.settings)
    found = None if not secret else await run_in_threadpool(credentials.from_session, secret, "browser")
    if found is None:
        raise Unauthorized("sign in first" if not secret else "your session has ended; sign in again")
    return found


def _check(caller: Caller, entry: Entry | None, request: Request) -> None:
    """Raise Forbidden or NotFound unless the caller may send the request."""
    if entry is None:
        raise NotFound(f"nothing found at {request.url.path[:200]}")
    assert entry.need != "open"
    if not caller.may(entry.need):
        subject = f"a {caller.role}" if caller.credential in THEMSELVES else f"the {caller.credential}"
        raise Forbidden(f"{subject} may not {DOES[entry.need]}")


def _refuse(request: Request, parts: Parts, error: RunyardError) -> Response:
    path = request.url.path
    if "/api/2.0/" in path:
        code = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "REQUEST_LIMIT_EXCEEDED"}.get(error.status)
        content = {"error_code": code or "ENDPOINT_NOT_FOUND", "message": error.message}
        return JSONResponse(content, error.status, dict(error.headers))
    scraped = path == "/metrics" and "text/html" not in request.headers.get("accept", "")
    if not isinstance(error, Unauthorized) or path.startswith("/api/") or scraped:
        return answer_to(request, error)
    target = path + (f"?{request.url.query}" if request.url.query else "")
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"hx-redirect": "/sign-in"})
    if request.method not in ("GET", "HEAD"):
        target = "/"
    answer: Response = RedirectResponse("/sign-in" + ("" if target == "/" else f"?{urlencode({'next': target})}"), 303)
    if read_session(request, parts.settings):
        clear_session(answer, request, parts.settings)
    return answer


def client_address(request: Request, credentials: Credentials) -> str:
    """Return the address of whoever sends a request: behind trusted proxies, the last one that none of them has."""
    address = request.client.host if request.client else ""
    forwarded = [part.strip() for part in request.headers.get("x-forwarded-for", "").split(",") if part.strip()]
    while forwarded and is_trusted(address, credentials):
        address = forwarded.pop()
    return address


def proxy_names(request: Request, credentials: Credentials) -> list[str]:
    """Return whom a trusted proxy names as the sender; what anyone else says about this means nothing."""
    header = credentials.settings.proxy_user_header
    if not header or not is_trusted(request.client.host if request.client else "", credentials):
        return []
    return [name for name in request.headers.getlist(header) if name.strip()]


def is_trusted(address: str, credentials: Credentials) -> bool:
    """Tell whether an address is that of a proxy whose headers count."""
    if not credentials.proxies:
        return False
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in credentials.proxies)


def _with_cookie(send: Send, request: Request, parts: Parts, secret: str) -> Send:
    async def with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            carrier = Response()
            set_session(carrier, request, parts.settings, secret)
            MutableHeaders(scope=message).append("set-cookie", carrier.headers["set-cookie"])
        await send(message)

    return with_cookie


def _until_signed_out(send: Send, credentials: Credentials, request: Request) -> Send:
    """End an event stream soon after its session has ended."""
    streams, ended, checked = False, False, time.monotonic()

    async def until_signed_out(message: Message) -> None:
        nonlocal streams, ended, checked
        if message["type"] == "http.response.start":
            kind = Headers(scope=message).get("content-type", "")
            streams = kind.startswith("text/event-stream")
        elif ended:
            return
        elif streams and time.monotonic() - checked > RECHECK_SECONDS:
            checked = time.monotonic()
            if not await _is_still_valid(credentials, request):
                ended = True
                message = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(message)

    return until_signed_out


async def _is_still_valid(credentials: Credentials, request: Request) -> bool:
    header = request.headers.get("authorization", "")
    if header.startswith(SCHEME):
        # Good for one request, and this one has passed.
        return True
    try:
        await _find_caller(credentials, request)
    except RunyardError:
        return False
    return True
