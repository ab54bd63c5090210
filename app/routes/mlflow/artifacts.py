"""/api/2.0/mlflow/artifacts, and what else MLflow has that Runyard has not: said so, in MLflow's own words."""

from __future__ import annotations

from fastapi import Request, Response

from app.actions import tracking as acts
from app.routes.mlflow.protocol import PREFIX, Answer, Arguments, NotServed, call, refusal, router
from app.web.dependencies import Parts

ARTIFACTS = "/api/2.0/mlflow-artifacts"
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@call("/artifacts/list", "GET")
def list_artifacts(parts: Parts, args: Arguments) -> Answer:
    """The files of a run: none are kept."""
    acts.find(parts, args.run)
    return {"root_uri": ""}


async def no_artifacts(request: Request) -> Response:
    """Files are not taken, so that there are none."""
    if request.method == "GET" and request.url.path == f"{ARTIFACTS}/artifacts":
        return Response(b'{"files": []}', media_type="application/json")
    return refusal(
        NotServed("Runyard keeps no files of runs that are logged by MLflow: metrics, parameters and tags only")
    )


async def nothing_there(request: Request) -> Response:
    """A call that is not served here."""
    sentence = f"Runyard does not serve {request.url.path[:200]}: of MLflow it has experiments, runs and metrics"
    return refusal(NotServed(sentence))


# After all others: whatever they do not serve.
router.add_api_route(ARTIFACTS + "/{rest:path}", no_artifacts, methods=METHODS)
router.add_api_route(PREFIX + "/{rest:path}", nothing_there, methods=METHODS)
