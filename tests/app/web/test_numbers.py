"""Every number of every route has bounds, and a number beyond them is answered with a sentence, never with a fault."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from annotated_types import Ge, Gt, Le, Lt
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from app.main import API_PREFIX
from app.routes import routers
from app.routes.mlflow import mlflow
from app.web.numbers import LARGEST
from tests.app.web.walk import parameters
from tests.conftest import Runs

HOSTILE = (
    str(LARGEST),
    str(LARGEST + 1),
    str(-(2**63) - 1),
    "1" + 400 * "0",
    "-1",
    "1e999",
    "-1e999",
    "NaN",
    "1.5",
    "x",
    "",
)
FAULTS = {500, 502, 503, 504}
"""501 is an honest answer: MLflow's artifacts are not kept here."""
STREAMS = ("/events",)
"""The ends of addresses whose answers do not end."""


def api_routes() -> Iterator[tuple[str, APIRoute]]:
    """Every route that answers at once, with its whole address."""
    for api, pages in (*routers(), (None, mlflow)):
        for prefix, router in ((API_PREFIX, api), ("", pages)):
            for route in router.routes if router is not None else ():
                if isinstance(route, APIRoute) and not route.path.endswith(STREAMS):
                    yield prefix + route.path, route


def numbers_in(kind: Any, metadata: tuple[Any, ...]) -> Iterator[tuple[type, tuple[Any, ...]]]:
    """The number types in a type, each with the constraints on it: in ``list[Annotated[int, Ge(0)]]`` int and Ge(0)."""
    if kind in (int, float):
        yield kind, metadata
        return
    if hasattr(kind, "__metadata__"):
        more = tuple(part for each in kind.__metadata__ for part in getattr(each, "metadata", (each,)))
        yield from numbers_in(kind.__origin__, (*metadata, *more))
        return
    for part in get_args(kind):
        yield from numbers_in(part, metadata)


def test_every_number_of_every_route_has_bounds_in_its_type() -> None:
    seen, unbounded = 0, []
    for path, route in api_routes():
        for place, name, kind, field in parameters(route):
            for number, constraints in numbers_in(kind, tuple(field.metadata)):
                seen += 1
                low = any(isinstance(each, Ge | Gt) for each in constraints)
                high = any(isinstance(each, Le | Lt) for each in constraints)
                if not (low and high):
                    unbounded.append((sorted(route.methods or ()), path, place, name, number.__name__, constraints))
    assert seen > 80
    assert unbounded == []


def test_a_number_beyond_all_bounds_is_answered_with_a_sentence(client: TestClient, runs: Runs) -> None:
    run = runs.add()
    asked, faults = 0, []
    for path, route in api_routes():
        method = next(iter(sorted((route.methods or set()) - {"HEAD"})))
        wanted = list(parameters(route))
        address = path
        for place, name, _, _ in wanted:
            if place == "path":
                address = address.replace(f"{{{name}}}", run if name == "run_id" else "1")
        for place, name, kind, _ in wanted:
            if place in ("path", "header") or not list(numbers_in(kind, ())):
                continue
            for value in HOSTILE:
                sent: dict[str, Any] = {"params" if place == "query" else "data": {name: value}}
                answer = client.request(method, address, follow_redirects=False, **sent)
                asked += 1
                if answer.status_code in FAULTS:
                    faults.append((method, address, place, name, value[:30], answer.status_code))
        for value in (str(LARGEST + 1), "-1"):
            if "{" in path:
                hostile = path
                for place, name, _, _ in wanted:
                    hostile = hostile.replace(f"{{{name}}}", value) if place == "path" else hostile
                asked += 1
                status = client.request(method, hostile, follow_redirects=False).status_code
                if status in FAULTS:
                    faults.append((method, hostile, "path", "", value, status))
    assert asked > 400
    assert faults == []


def numeric_fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number in the bodies that the OpenAPI document says can be sent."""
    if schema.get("type") in ("integer", "number"):
        yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from numeric_fields(inner, f"{path}.{name}")
    for inner in (*schema.get("anyOf", ()), *([schema["items"]] if isinstance(schema.get("items"), dict) else ())):
        yield from numeric_fields(inner, path)


@pytest.mark.parametrize("number", [2**63, -math.inf])
def test_a_number_in_a_body_beyond_all_bounds_is_answered_with_a_sentence(
    client: TestClient, runs: Runs, number: float
) -> None:
    run = runs.add()
    document = client.get("/openapi.json").json()
    components = document["components"]["schemas"]
    asked, faults = 0, []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            name = body.get("$ref", "").rpartition("/")[2]
            for field, _ in numeric_fields(components.get(name, {})):
                written = json.dumps({field.lstrip(".").split(".")[0]: number})
                address = path.replace("{run_id}", run)
                answer = client.request(method, address, content=written, headers={"content-type": "application/json"})
                asked += 1
                if answer.status_code in FAULTS:
                    faults.append((method, address, field, answer.status_code))
    assert asked > 30
    assert faults == []
