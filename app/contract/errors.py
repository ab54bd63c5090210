"""Errors that a user can be told in one sentence. `app.web.error_responses` turns each into an HTTP answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import ErrorDetails

from app.contract.spec import FieldError


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


class QueryError(ValueError):
    """A filter or sort that names what does not exist; ``field`` is the query parameter."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def to_field_error(error: ErrorDetails) -> FieldError:
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
    return FieldError(printable(field), printable(message))


def printable(words: str) -> str:
    """``words`` as text that UTF-8 can carry."""
    # A lone surrogate cannot be sent as UTF-8.
    return words.encode("utf-8", "replace").decode()
