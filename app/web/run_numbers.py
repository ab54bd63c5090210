"""Addresses with a run's number, which people see everywhere, lead to the run: /runs/12/card is /runs/r_…/card."""

from __future__ import annotations

import re
from typing import Final

from fastapi.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.store.database import reading
from app.store.run import resolve_run
from app.web.dependencies import Parts

NUMBERED: Final = re.compile(r"((?:/api/v1)?/runs/)([0-9]{1,9})((?:[/.].*)?)")


class RunNumbers:
    """Redirects pages with a number to the one address that a run has, and answers requests of the API directly."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        match = NUMBERED.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if match is None:
            await self.app(scope, receive, send)
            return
        before, number, after = match.groups()
        path = before + await run_in_threadpool(_id_of, scope["app"].state.parts, number) + after
        if path != scope["path"] and not before.startswith("/api/") and scope["method"] in ("GET", "HEAD"):
            query = scope["query_string"].decode("latin-1")
            await RedirectResponse(f"{path}?{query}" if query else path, 307)(scope, receive, send)
            return
        await self.app(dict(scope) | {"path": path, "raw_path": path.encode()}, receive, send)


def _id_of(parts: Parts, number: str) -> str:
    with reading(parts.engine) as connection:
        return resolve_run(connection, number)
