"""Error handlers: turn exceptions into HTTP responses.

The API responds with problem details (RFC 9457) that name the field; a browser gets an error page with the same text.
"""

from __future__ import annotations

import logging
import socket
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.contract.disk_space import is_disk_full
from app.contract.errors import (
    DiskFull,
    Invalid,
    NotFound,
    QueryError,
    RunyardError,
    Unavailable,
    printable,
    to_field_errors,
)
from app.contract.logs import concern
from app.contract.spec import FieldError, SpecError
from app.web.broken_json import describe

logger = logging.getLogger("runyard.server")

UNCHANGED = "nothing was changed; free some space and try again"


class FieldProblem(BaseModel):
    """An error of a single field."""

    field: str
    message: str


class Problem(BaseModel):
    """Problem details (RFC 9457); ``errors`` lists each invalid field and explains what is expected."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []


def problem(status: int, title: str, detail: str, errors: Sequence[FieldError] = ()) -> JSONResponse:
    """Return a problem-details response."""
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": printable(detail)}
    if errors:
        body["errors"] = [{"field": printable(e.field), "message": printable(e.message)} for e in errors]
    return JSONResponse(body, status, media_type="application/problem+json")


def answer_to(request: Request, error: RunyardError) -> Response:
    """Return an error as problem details to the API, and as a page to a browser."""
    if request.url.path.startswith("/api/") or request.url.path in ("/healthz", "/metrics"):
        answer: Response = problem(error.status, error.title, error.message, error.errors)
    else:
        templates = request.app.state.parts.templates
        answer = templates.error_page(request, error.status, error.title, error.message)
    answer.headers.update(error.headers)
    return answer


async def handle(request: Request, error: Exception) -> Response:
    """Return the response to an error that users can understand; raises any other again."""
    match error:
        case RunyardError():
            return answer_to(request, error)
        case SpecError():
            return answer_to(request, Invalid(str(error), error.errors))
        case QueryError():
            return answer_to(request, Invalid(str(error), [FieldError(error.field, str(error))]))
        case RequestValidationError():
            errors = to_field_errors(error.errors())
            first = error.errors()[0]
            if first["type"] == "json_invalid" and isinstance(error.body, str):
                errors = [describe(error.body, int(first["loc"][-1]), str(first["ctx"]["error"]))]
            return answer_to(request, Invalid("; ".join(field_error.message for field_error in errors), errors))
        case _ if is_disk_full(error):
            logger.error("%s %s: the disk is full (%s)", request.method, request.url.path, error)
            return answer_to(request, DiskFull(f"the disk of {socket.gethostname()} is full; {UNCHANGED}"))
        case OperationalError() if not isinstance(error.orig, sqlite3.Error):
            logger.error("%s %s: the database does not respond (%s)", request.method, request.url.path, error.orig)
            return answer_to(request, Unavailable("the database does not respond; nothing was changed; try again"))
        case HTTPException():
            problem_error = RunyardError(str(error.detail))
            problem_error.status, problem_error.title = error.status_code, str(error.detail)
            if error.status_code == 405:
                what = "address" if request.url.path.startswith("/api/") else "page"
                problem_error = RunyardError(f"this {what} does not accept {request.method} requests")
                problem_error.status, problem_error.title = 405, "Method not allowed"
            elif error.status_code == 413:
                problem_error.title = "Request too large"
            elif error.status_code == 404:
                problem_error = NotFound(f"nothing found at {request.url.path[:200]}")
            elif error.__cause__ is not None and error.status_code == 400:
                # FastAPI raises this for a body that is nested too deep, not UTF-8, or has numbers of 5,000 digits.
                message = "the body is not valid JSON"
                problem_error = Invalid(message, [FieldError("body", message)])
            return answer_to(request, problem_error)
    raise error


def install(app: FastAPI, headers: Mapping[str, str]) -> None:
    """Register the handlers; ``headers`` are added to 500 responses, which bypass all middleware in Starlette."""

    async def left(request: Request, error: Exception) -> Response:
        # Whoever sent the request is gone before it was read: nobody gets this answer.
        return Response(status_code=499)

    async def unknown(request: Request, error: Exception) -> Response:
        if is_disk_full(error):
            answer = await handle(request, error)
            answer.headers.update(headers)
            answer.headers["x-request-id"] = concern("request")
            return answer
        logger.exception("%s %s failed", request.method, request.url.path, exc_info=error)
        request_id = concern("request")
        where = f"look for request {request_id} in the server's log" if request_id else "see the server's log"
        answer = answer_to(request, RunyardError(f"internal error in Runyard; {where}"))
        answer.headers.update(headers)
        answer.headers["x-request-id"] = request_id
        return answer

    for kind in (RunyardError, SpecError, QueryError, RequestValidationError, HTTPException, OperationalError):
        app.add_exception_handler(kind, handle)
    app.add_exception_handler(ClientDisconnect, left)
    app.add_exception_handler(Exception, unknown)
