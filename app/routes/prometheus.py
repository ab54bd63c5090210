"""/metrics: queue, runs, workers, stream, disk and requests in the text format of Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest

from app.services.yard_metrics import YardMetrics
from app.web.dependencies import Parts, PartsDep

pages = APIRouter()


@pages.get("/metrics")
def metrics(request: Request, parts: PartsDep) -> Response:
    """Everything that Prometheus scrapes."""
    requests: CollectorRegistry = request.app.state.requests
    content = generate_latest(_yard(request, parts)) + generate_latest(requests)
    return Response(content, headers={"content-type": CONTENT_TYPE_LATEST})


def _yard(request: Request, parts: Parts) -> CollectorRegistry:
    """The registry of what is read for every scrape; one per server, since it remembers the use of the disk."""
    state = request.app.state
    known: tuple[Parts, CollectorRegistry] | None = getattr(state, "yard_metrics", None)
    if known is None or known[0] is not parts:
        registry = CollectorRegistry()
        registry.register(YardMetrics(parts.settings, parts.engine, parts.redis))
        ProcessCollector(registry=registry)
        state.yard_metrics = known = parts, registry
    return known[1]
