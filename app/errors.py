"""A small family of errors, and the one place where each becomes an HTTP answer.

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
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException

from app.contract.spec import FieldError, SpecError
from app.store.order import QueryError

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


class RunyardError(Exception):
    """Something a user can be told in one sentence."""

    status = 500
    title = "Something went wrong"

    def __init__(self, message: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.errors = list(errors)


class NotFound(RunyardError):
    """There is nothing under this name."""

    status = 404
    title = "Not found"


class Conflict(RunyardError):
    """The thing is there, but its state does not allow this."""

    status = 409
    title = "Not possible now"


class Invalid(RunyardError):
    """What was sent cannot be used."""

    status = 422
    title = "Invalid"


class Unavailable(RunyardError):
    """A part that is needed does not answer at present."""

    status = 503
    title = "Not available at present"


def sentence(error: ErrorDetails) -> FieldError:
    """A validation error as one sentence about its field; the value itself is never repeated."""
    path = [part for part in error["loc"] if part not in ("body", "query", "path", "header")]
    field = str(path[0]) if path else "body"
    name = ".".join(str(part) for part in path) or "the body"
    context: dict[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "missing":
            message = f"{name} is missing"
        case "extra_forbidden":
            message = f"there is no field '{name[:60]}'"
        case "greater_than_equal":
            message = f"{name} must be at least {context['ge']:g}"
        case "greater_than":
            message = f"{name} must be greater than {context['gt']:g}"
        case "less_than_equal":
            message = f"{name} must be at most {context['le']:g}"
        case "less_than":
            message = f"{name} must be less than {context['lt']:g}"
        case "int_parsing" | "int_type" | "int_from_float" | "int_parsing_size":
            message = f"{name} must be a whole number"
        case "float_parsing" | "float_type":
            message = f"{name} must be a number"
        case "finite_number":
            message = f"{name} must be a finite number, not NaN or infinity"
        case "bool_parsing" | "bool_type":
            message = f"{name} must be true or false"
        case "string_too_long":
            message = f"{name} can have {context['max_length']:,} characters at most"
        case "string_too_short":
            message = f"{name} must not be empty"
        case "too_long":
            message = f"{name} can have {context['max_length']:,} entries at most"
        case "literal_error":
            message = f"{name} must be one of {str(context['expected']).replace(chr(39), '')}"
        case "string_type" | "string_unicode":
            message = f"{name} must be text"
        case "json_invalid":
            field, message = "body", "the body is not JSON"
        case "model_attributes_type" | "dict_type" if not path:
            field, message = "body", "the body must be a JSON object, sent with 'content-type: application/json'"
        case _:
            message = f"{name}: {error['msg'][:1].lower()}{error['msg'][1:]}"
    return FieldError(_printable(field), _printable(message))


def _printable(words: str) -> str:
    # A lone surrogate cannot be sent as UTF-8.
    return words.encode("utf-8", "replace").decode()


def problem(status: int, title: str, detail: str, errors: Sequence[FieldError] = ()) -> JSONResponse:
    """A problem-details answer."""
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": _printable(detail)}
    if errors:
        body["errors"] = [{"field": _printable(e.field), "message": _printable(e.message)} for e in errors]
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
            errors = [sentence(each) for each in error.errors()]
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
