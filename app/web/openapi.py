"""The OpenAPI document, with verb names and example bodies for all operations.

FastAPI generates the document from the routes. `app/web/openapi_examples.py` adds names and examples, so that generated
clients have methods such as ``launch_run`` and requests in /docs can be tried without filling anything in.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.web.openapi_examples import OPERATIONS

JSON = "application/json"


def describe(app: FastAPI, prefix: str) -> None:
    """Make ``app`` serve this document."""

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
    """Add a body's example; client generators recognize an optional body by ``required``, not by a null type."""
    schema = body["content"][JSON]["schema"]
    types = [option for option in schema.get("anyOf", []) if option.get("type") != "null"]
    if len(types) == 1:
        body["content"][JSON]["schema"] = types[0]
    body["content"][JSON]["example"] = example
