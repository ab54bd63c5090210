"""The OpenAPI document: every operation has a name that reads as a verb, and examples of what is sent and answered.

FastAPI writes the document from the routes. `app/web/openapi_examples.py` holds the names and examples in one table, so
that generated clients have methods such as ``launch_run`` and /docs can be tried without filling anything in.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.web.openapi_examples import OPERATIONS

JSON = "application/json"


def describe(app: FastAPI, prefix: str) -> None:
    """Let ``app`` answer with this document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, prefix)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI, prefix: str) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            known = OPERATIONS.get((method.upper(), path.removeprefix(prefix)))
            if known is None:
                continue
            operation["operationId"] = known.name
            operation["summary"] = known.name.replace("_", " ").capitalize()
            if known.body is not None:
                _body(operation["requestBody"], known.body)
            if known.answer is not None:
                success = next(code for code in operation["responses"] if code.startswith("2"))
                content = operation["responses"][success].setdefault("content", {})
                content.setdefault(JSON, {})["example"] = known.answer
    return document


def _body(body: dict[str, Any], example: Any) -> None:
    """The example of a body; one that may be left out is body by ``required``, which generators understand."""
    schema = body["content"][JSON]["schema"]
    real = [each for each in schema.get("anyOf", []) if each.get("type") != "null"]
    if len(real) == 1:
        body["content"][JSON]["schema"] = real[0]
    body["content"][JSON]["example"] = example
