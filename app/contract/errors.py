"""Errors with a message for the user; `app.web.error_responses` turns each into an HTTP response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import ErrorDetails

from app.contract.spec import FieldError


class RunyardError(Exception):
    """An error whose message is one sentence for the user."""

    status = 500
    title = "Something went wrong"

    def __init__(self, message: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.errors = list(errors)


class NotFound(RunyardError):
    """The requested object does not exist."""

    status = 404
    title = "Not found"


class Conflict(RunyardError):
    """The object exists, but its state does not allow this action."""

    status = 409
    title = "Not possible now"


class Invalid(RunyardError):
    """The request contains invalid values."""

    status = 422
    title = "Invalid"


class Unavailable(RunyardError):
    """A required component is not responding."""

    status = 503
    title = "Temporarily unavailable"


class QueryError(ValueError):
    """A filter or sort order with an unknown name; ``field`` is the query parameter."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def to_field_error(error: ErrorDetails) -> FieldError:
    """Describe a validation error in one sentence about its field, without repeating the value."""
    path = [part for part in error["loc"] if part not in ("body", "query", "path", "header")]
    field = str(path[0]) if path else "body"
    name = ".".join(str(part) for part in path) or "the body"
    context: dict[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "missing":
            message = f"{name} is missing"
        case "extra_forbidden":
            message = f"no field '{name[:60]}'"
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
            message = f"{name} can have at most {context['max_length']:,} characters"
        case "string_too_short":
            message = f"{name} must not be empty"
        case "too_long":
            message = f"{name} can have at most {context['max_length']:,} entries"
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


def printable(text: str) -> str:
    """Replace what UTF-8 cannot encode, such as a lone surrogate."""
    return text.encode("utf-8", "replace").decode()
