"""Counts and times requests, by route, for Prometheus."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
"""Seconds."""
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class HttpMetrics:
    """ASGI middleware that measures the time until each response begins, since event streams do not end.

    The label ``route`` is a template such as /runs/{run_id}, so that there are no more series than routes.
    """

    def __init__(self, app: ASGIApp, registry: CollectorRegistry, prefix: str) -> None:
        self.app = app
        self.prefix = prefix
        self.seconds = Histogram(
            "runyard_http_request_seconds",
            "Time until a response began.",
            ["method", "route", "status"],
            buckets=BUCKETS,
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        answered = False

        async def timed(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                self._observe(scope, message["status"], began)
            await send(message)

        try:
            await self.app(scope, receive, timed)
        finally:
            if not answered:
                self._observe(scope, 500, began)

    def _observe(self, scope: Scope, status: int, began: float) -> None:
        # A mounted application has no template of its own.
        route = getattr(scope.get("route"), "path", None) or scope.get("root_path") or "other"
        # An included router's template lacks its prefix.
        if scope["path"].startswith(f"{self.prefix}/") and not route.startswith(self.prefix) and route != "other":
            route = self.prefix + route
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.seconds.labels(method, route, f"{status // 100}xx").observe(time.perf_counter() - began)
