"""Where each error becomes an HTTP answer.

The API answers with problem details (RFC 9457) that name the field; a browser gets a page that says the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from app.contract.errors import Invalid, NotFound, QueryError, RunyardError, printable, to_field_error
from app.contract.spec import FieldError, SpecError

logger = logging.getLogger("runyard.server")


class FieldProblem(BaseModel):
    """One thing wrong with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """Problem details (RFC 9457); ``errors`` names each field that is wrong and says what would be right."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []


def problem(status: int, title: str, detail: str, errors: Sequence[FieldError] = ()) -> JSONResponse:
    """A problem-details answer."""
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": printable(detail)}
    if errors:
        body["errors"] = [{"field": printable(e.field), "message": printable(e.message)} for e in errors]
    return JSONResponse(body, status, media_type="application/problem+json")


def _answer(request: Request, error: RunyardError) -> Response:
    if request.url.path.startswith("/api/") or request.url.path == "/healthz":
        return problem(error.status, error.title, error.message, error.errors)
    templates = request.app.state.templates
    page: Response = templates.error_page(request, error.status, error.title, error.message)
    return page


async def _known(request: Request, error: Exception) -> Response:
    match error:
        case RunyardError():
            return _answer(request, error)
        case SpecError():
            return _answer(request, Invalid(str(error), error.errors))
        case QueryError():
            return _answer(request, Invalid(str(error), [FieldError(error.field, str(error))]))
        case RequestValidationError():
            errors = [to_field_error(each) for each in error.errors()]
            return _answer(request, Invalid("; ".join(each.message for each in errors), errors))
        case HTTPException():
            told = RunyardError(str(error.detail))
            told.status, told.title = error.status_code, str(error.detail)
            if error.status_code == 404:
                told = NotFound(f"there is nothing at {request.url.path[:200]}")
            elif error.__cause__ is not None and error.status_code == 400:
                # What FastAPI raises for a body that is nested too deep, not UTF-8, or has numbers of 5,000 digits.
                message = "the body cannot be read as JSON"
                told = Invalid(message, [FieldError("body", message)])
            return _answer(request, told)
    raise error


def install(app: FastAPI, headers: Mapping[str, str]) -> None:
    """Register the handlers. ``headers`` go with the answer to a fault, which Starlette sends past all middleware."""

    async def unknown(request: Request, error: Exception) -> Response:
        logger.exception("%s %s failed", request.method, request.url.path, exc_info=error)
        answer = _answer(request, RunyardError("this is a fault of Runyard's own; the server's log says more"))
        answer.headers.update(headers)
        return answer

    for kind in (RunyardError, SpecError, QueryError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _known)
    app.add_exception_handler(Exception, unknown)
