"""Writes changes by people to the audit log: after they have succeeded, and before their sender learns of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from fastapi.concurrency import run_in_threadpool
from sqlalchemy import Engine
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from app.store.audit_event import record_event
from app.store.database import writing
from app.web.access_table import Entry
from app.web.caller import Caller

MOST_BODY_BYTES: Final = 16 * 1024
MOST_ITEMS: Final = 50
LONGEST_TEXT: Final = 100
KEPT: Final = frozenset(
    (
        *("run", "runs", "sweep", "queued", "all", "every", "family", "size", "dataset", "preset", "name", "tags"),
        *("act", "other", "priority", "version", "kind", "value", "epochs", "to", "alias", "experiment_id", "run_id"),
    )
)
"""Fields of a request that say what was changed. No other is written: webhooks, for example, have secrets."""
_CREATED: Final = re.compile(r"/(?:runs|sweeps|jobs|models)/([^/?#]+)")


BEGUN: Final = "begun"


def note_begun(request: Request, target: str) -> None:
    """Note for the audit log that a request has begun something, such as a run that is sent in parts."""
    setattr(request.state, BEGUN, target)


class Audited:
    """One request: ``receive`` notes what it changes, and ``send`` writes it down once it has succeeded."""

    def __init__(
        self, engine: Engine, caller: Caller, entry: Entry, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._engine = engine
        self._caller = caller
        self._entry = entry
        self._path: str = scope["path"]
        self._state: dict[str, Any] = scope["state"]
        self._query: bytes = scope["query_string"]
        self._type = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
        self._receive = receive
        self._send = send
        self._body = bytearray()

    async def receive(self) -> Message:
        """Receive a part of the request."""
        message = await self._receive()
        if self._type in ("application/json", "application/x-www-form-urlencoded"):
            # One more byte says that the body is longer.
            self._body += message.get("body", b"")[: MOST_BODY_BYTES + 1 - len(self._body)]
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response."""
        if message["type"] == "http.response.start" and message["status"] < 400:
            location = Headers(raw=message["headers"]).get("location", "")
            begun = BEGUN in self._state or not self._entry.only_new
            results = dict(parse_qsl(urlsplit(location).query))
            # Of several runs, some may be refused and others not: then there is an act that can be undone.
            if begun and ("refused" not in results or "act" in results):
                await run_in_threadpool(self._record, location)
        await self._send(message)

    def _record(self, location: str) -> None:
        pairs = zip(self._entry.path.split("/"), self._path.split("/"), strict=False)
        named = [segment for template, segment in pairs if template == "{}"]
        created = _CREATED.search(location)
        target = named[0] if named else created[1] if created else str(self._state.get(BEGUN, ""))
        with writing(self._engine) as connection:
            record_event(
                connection,
                at=time.time(),
                who=self._caller.who,
                credential=self._caller.credential,
                address=self._caller.address,
                action=self._entry.action,
                target=target,
                detail=self._detail(),
            )

    def _detail(self) -> dict[str, Any]:
        pairs: Iterable[tuple[str, Any]] = parse_qsl(self._query.decode("latin-1"))
        if len(self._body) <= MOST_BODY_BYTES:
            pairs = [*pairs, *_fields(bytes(self._body), self._type)]
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in KEPT and value not in ("", None):
                found[name] = [*_as_list(found[name]), _short(value)][:MOST_ITEMS] if name in found else _short(value)
        return found


def _fields(body: bytes, kind: str) -> list[tuple[str, Any]]:
    """The fields of a body, which the route has found valid."""
    if kind == "application/x-www-form-urlencoded":
        return list(parse_qsl(body.decode("utf-8", "replace")))
    try:
        values = json.loads(body or b"{}")
    except ValueError:
        return []
    return list(values.items()) if isinstance(values, dict) else []


def _short(value: Any) -> Any:
    match value:
        case list():
            return [_short(each) for each in value[:MOST_ITEMS]]
        case str():
            return value[:LONGEST_TEXT].encode("utf-8", "replace").decode()
        case bool() | int() | float() | None:
            return value
    return "…"


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
