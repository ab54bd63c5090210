"""/api/2.0/mlflow/artifacts and all other MLflow calls that Runyard does not support, with MLflow's error codes."""

from __future__ import annotations

from fastapi import Request, Response

from app.actions import tracking as acts
from app.routes.mlflow.protocol import PREFIX, Answer, Arguments, NotServed, call, refusal, router
from app.web.dependencies import Parts

ARTIFACTS = "/api/2.0/mlflow-artifacts"
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@call("/artifacts/list", "GET")
def list_artifacts(parts: Parts, args: Arguments) -> Answer:
    """List a run's files: there are none, since Runyard does not store them."""
    acts.find(parts, args.run)
    return {"root_uri": ""}


async def no_artifacts(request: Request) -> Response:
    """List no files, and refuse uploads."""
    if request.method == "GET" and request.url.path.endswith(f"{ARTIFACTS}/artifacts"):
        return Response(b'{"files": []}', media_type="application/json")
    return refusal(
        NotServed("Runyard does not store files of runs logged with MLflow, only metrics, parameters and tags")
    )


async def not_served(request: Request) -> Response:
    """Refuse a call that Runyard does not support."""
    path = request.url.path[:200]
    return refusal(NotServed(f"Runyard does not support {path}, only MLflow's experiments, runs and metrics"))


# Registered after all other routes: everything that they do not serve.
router.add_api_route(ARTIFACTS + "/{rest:path}", no_artifacts, methods=METHODS)
router.add_api_route(PREFIX + "/{rest:path}", not_served, methods=METHODS)
