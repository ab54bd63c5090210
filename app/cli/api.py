"""The API of a running server, as a command asks it; the standard library is enough."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

from app.contract.settings import Settings

# Of a whole answer, and longest silence of a stream, which says something every 15 s. The first answer of a new server
# may have to wait until the networks have been looked at.
ANSWER_SECONDS = 120.0
SILENCE_SECONDS = 45.0


class ApiError(RuntimeError):
    """The server refused, or there is none, in one sentence; ``status`` is the HTTP status, 0 without an answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def server_address(settings: Settings) -> str:
    """Where a server with these settings listens, seen from this machine. Raises ApiError where they leave it open."""
    if settings.port == 0:
        raise ApiError("RUNYARD_PORT is 0, which can be any port; name the server in RUNYARD_URL")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


class Api:
    """The API of the server at ``address``, "http://127.0.0.1:8000". Every method raises ApiError."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        # A proxy for the world outside cannot reach this machine's own addresses.
        own = _host(self.address) in ("localhost", "127.0.0.1", "::1")
        handlers = [urllib.request.ProxyHandler({})] if own else []
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str, **query: Any) -> Any:
        """The answer to GET /api/v1``path``; a list in ``query`` is sent as several values."""
        query = {name: value for name, value in query.items() if value is not None}
        with self._open(f"{path}?{urlencode(query, doseq=True)}" if query else path) as answer:
            return _json(answer.read(), self.address)

    def post(self, path: str, body: Any, key: str = "") -> Any:
        """The answer to POST /api/v1``path``; with an idempotency ``key``, asked again where a connection broke."""
        headers = {"content-type": "application/json"} | ({"idempotency-key": key} if key else {})
        sent = json.dumps(body).encode()
        for again in (True, False) if key else (False,):
            try:
                with self._open(path, sent, headers) as answer:
                    return _json(answer.read(), self.address)
            except ApiError as error:
                if error.status or not again:
                    raise
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def changes(self) -> Iterator[Iterator[None]]:
        """Gives one item whenever something may have changed on the server, until it ends the stream.

        What changes after this was entered is told; "may have", since the stream also says now and then that it lives.
        """
        with self._open("/events", seconds=SILENCE_SECONDS) as answer:
            # The first line comes when the server listens, not before.
            answer.readline()
            yield (None for line in answer if line.startswith((b"event:", b":")))

    @contextmanager
    def _open(
        self,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> Iterator[Any]:
        request = urllib.request.Request(f"{self.address}/api/v1{path}", body, headers or {})
        try:
            with self._opener.open(request, timeout=seconds) as answer:
                yield answer
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(_detail(error, self.address), error.code) from error
        except (OSError, HTTPException) as error:
            raise ApiError(
                f"no Runyard answers at {self.address}; start one with `runyard up`, or name another in RUNYARD_URL"
            ) from error


def _host(address: str) -> str:
    """The host of an address. Raises ApiError where it is no address of a server."""
    refusal = ApiError(f"'{address[:100]}' is not the address of a server; it looks like http://127.0.0.1:8000")
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise refusal from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise refusal
    return parts.hostname


def _json(said: bytes, address: str) -> Any:
    try:
        return json.loads(said)
    except ValueError as error:
        raise ApiError(f"what answers at {address} is not Runyard") from error


def _detail(error: urllib.error.HTTPError, address: str) -> str:
    """The sentence of a problem detail (RFC 9457)."""
    try:
        said = json.loads(error.read())
        return str(said["detail"])
    except (OSError, ValueError, LookupError, TypeError, HTTPException):
        return f"what answers at {address} is not Runyard, or a proxy stands between: HTTP status {error.code}"
