"""Request checks (Host, Origin, body size) and security headers for all responses.

Listening on loopback alone does not protect: any page in the user's browser can send requests to 127.0.0.1 (CSRF), and
a host name that resolves to it can read the responses (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.error_responses import problem

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
MAX_BODY_BYTES = 4 * 2**20
MAX_PICTURES_BYTES = 32 * 2**20
PICTURES = re.compile(r"/api/v1/(runs|models)/[^/]+/predict|/playground/look")
"""Requests with pictures, which may have this many bytes."""
UNLIMITED = re.compile(
    r"POST (/api/v1/datasets|/datasets/imports)"
    r"|PUT ((/runs/[^/]+)?/api/2\.0/mlflow-artifacts/|/api/v1/runs/[^/]+/files/).*",
    re.DOTALL,
)
"""Requests of any size, which are written to disk while they arrive; files of runs have limits in the settings."""
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]@/\\?#:\s]+)(:[0-9]*)?")
"""A Host header, without what else an address can have: others might read such a name in another way."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class BindError(ValueError):
    """The server must not listen on this address."""


def check_bind(host: str) -> None:
    """Raise BindError unless ``host`` is an address or localhost: a name could mean an address that others reach.

    On an address that others reach, everyone has to sign in (app/web/credentials.py), and without an administrator,
    `runyard up` and `runyard server` print a one-time link that creates the first.
    """
    if host == "localhost":
        return
    try:
        ipaddress.ip_address(host)
    except ValueError as error:
        raise BindError(f"'{host}' is not an IP address; use 127.0.0.1") from error


class Guard:
    """ASGI middleware that rejects foreign hosts, foreign origins and oversized bodies, and adds security headers.

    ``by_address``: also accept the address at which a request arrived. No name is involved, so nobody can rebind it.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: str = "", by_address: bool = False) -> None:
        self.app = app
        self.by_address = by_address
        self.hosts = {"localhost", "127.0.0.1", "::1"} | {
            host.strip().lower() for host in allowed_hosts.split(",") if host.strip()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        unlimited = UNLIMITED.fullmatch(f"{scope['method']} {scope['path']}") is not None
        most = MAX_PICTURES_BYTES if PICTURES.fullmatch(scope["path"]) else MAX_BODY_BYTES
        own = str((scope.get("server") or ("",))[0]) if self.by_address else ""
        refusal = self._refusal(scope["method"], headers, None if unlimited else most, own)
        if refusal is not None:
            status, sentence = refusal
            await problem(status, "Refused", sentence)(scope, receive, _with_headers(send))
            return
        await self.app(scope, receive if unlimited else _limited(receive, most), _with_headers(send))

    def _refusal(self, method: str, headers: Headers, most: int | None, own: str) -> tuple[int, str] | None:
        given = headers.get("host", "")
        host = _split(f"//{given}")[0] if HOST.fullmatch(given) else ""
        if host not in self.hosts and not (own and _is_address(host, own)):
            return 421, (
                "this server does not accept that host name; use 127.0.0.1, or add the name to RUNYARD_ALLOWED_HOSTS"
            )
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            return 400, "the content-length header is not a number"
        if len(length) > 15 or (most is not None and int(length) > most):
            return 413, too_large(most or MAX_BODY_BYTES)
        if method in SAFE_METHODS:
            return None
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "requests that change something must come from Runyard's own pages"
        origin = headers.get("origin")
        if origin is not None and _split(origin)[1] != headers.get("host"):
            return 403, "requests that change something must come from Runyard's own pages"
        return None


def _is_address(host: str, own: str) -> bool:
    """Whether a host name is this address, and no name."""
    try:
        return ipaddress.ip_address(host) == ipaddress.ip_address(own)
    except ValueError:
        return False


def _split(address: str) -> tuple[str, str]:
    """Return an address's host name, and its host with port; blank if it is invalid."""
    try:
        parts = urlsplit(address)
        return (parts.hostname or "").lower(), parts.netloc
    except ValueError:
        return "", ""


def too_large(most: int) -> str:
    """What is said of a request with more than ``most`` bytes."""
    return f"a request can have at most {most // 2**20} MiB"


def _limited(receive: Receive, most: int) -> Receive:
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            # For requests without content-length; an exception handler turns this into a response.
            raise HTTPException(413, too_large(most))
        return message

    return limited


def _with_headers(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return with_headers
