"""Errors with a message for the user; `app.web.error_responses` turns each into an HTTP response."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from app.contract.spec import FieldError


def upper_first(text: str) -> str:
    """Return a text with a capital first letter, unless it begins with a name such as simple_mlp."""
    return text if "_" in text.split(" ", 1)[0] else text[:1].upper() + text[1:]


class RunyardError(Exception):
    """An error whose message is one sentence for the user."""

    status = 500
    title = "Something went wrong"
    headers: Mapping[str, str] = {}

    def __init__(self, message: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.errors = list(errors)

    @property
    def sentence(self) -> str:
        """The message as pages show it."""
        return f"{upper_first(self.message)}."


class Forbidden(RunyardError):
    """The sender has not proven that it may do this."""

    status = 403
    title = "Refused"


class Unauthorized(RunyardError):
    """The sender has not signed in, or its credential is not valid."""

    status = 401
    title = "Sign in"
    # Without "Basic", which would make browsers ask for a password by themselves.
    headers: Mapping[str, str] = {"www-authenticate": 'Bearer realm="Runyard"'}


class TooManyAttempts(RunyardError):
    """Too many sign-ins have failed; the next attempt has to wait."""

    status = 429
    title = "Too many attempts"

    def __init__(self, seconds: float) -> None:
        wait = max(1, math.ceil(seconds))
        super().__init__(f"too many failed sign-ins; try again in {wait} s")
        self.headers = {"retry-after": str(wait)}


class NotFound(RunyardError):
    """The requested object does not exist."""

    status = 404
    title = "Not found"


class Conflict(RunyardError):
    """The object exists, but its state does not allow this action."""

    status = 409
    title = "Conflict"


class Invalid(RunyardError):
    """The request contains invalid values."""

    status = 422
    title = "Invalid request"


class Unavailable(RunyardError):
    """A required component is not responding."""

    status = 503
    title = "Temporarily unavailable"


class DiskFull(RunyardError):
    """There is no space left to write what was sent."""

    status = 507
    title = "Disk full"


class QueryError(ValueError):
    """A filter or sort order with an unknown name; ``field`` is the query parameter."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


# Pydantic appends the type of a union's member to the location of its error.
_UNION_MEMBERS = ("str", "int", "float", "bool", "constrained-str", "constrained-int", "constrained-float", "none")
_EXPECTED = {
    "string_type": "a string",
    "string_unicode": "a string",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true/false",
    "bool_parsing": "true/false",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "a JSON object",
    "mapping_type": "a JSON object",
    "model_type": "a JSON object",
    "model_attributes_type": "a JSON object",
    "none_required": "null",
}
"""What a value must be, by the type of Pydantic's error."""


def to_field_errors(errors: Iterable[ErrorDetails]) -> list[FieldError]:
    """Describe validation errors in one sentence per field, without repeating the values."""
    by_path: dict[tuple[int | str, ...], list[ErrorDetails]] = {}
    for error in errors:
        by_path.setdefault(_path(error), []).append(error)
    return [_field_error(path, several) for path, several in by_path.items()]


def _path(error: ErrorDetails) -> tuple[int | str, ...]:
    """Return the location of an error without the names that Pydantic inserts."""
    path = [part for part in error["loc"] if part not in ("body", "query", "path", "header")]
    for at in range(len(path) - 2):
        if path[at] in ("space", "placeholders") and path[at + 2] in ("choice", "range"):
            del path[at + 2]
            break
    if len(path) > 1 and path[-1] in _UNION_MEMBERS:
        del path[-1]
    return tuple(path)


def _field_error(path: tuple[int | str, ...], errors: list[ErrorDetails]) -> FieldError:
    """Describe the errors of one field; several are those of a union's members."""
    field = str(path[0]) if path else "body"
    name = ".".join(str(part) for part in path)[:100] or "the body"
    first = next((error for error in errors if error["type"] not in _EXPECTED), None)
    if first is None:
        message = f"{name} must be {_expected([_EXPECTED[error['type']] for error in errors])}"
        if not path:
            message += ", sent with 'content-type: application/json'"
    elif first["type"] == "json_invalid":
        field, message = "body", "the body is not valid JSON"
    else:
        message = _message(name, first)
    return FieldError(printable(field), printable(message))


def _expected(nouns: list[str]) -> str:
    """Join what each member of a union expects."""
    nouns = [noun for noun in dict.fromkeys(nouns) if noun != "a whole number" or "a number" not in nouns]
    if len(nouns) == 1:
        return {"a string": "text", "true/false": "true or false"}.get(nouns[0], nouns[0])
    return f"{', '.join(nouns[:-1])} or {nouns[-1]}"


def _message(name: str, error: ErrorDetails) -> str:
    context: dict[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "missing":
            return f"{name} is missing"
        case "extra_forbidden":
            return f"unknown field '{name[:60]}'"
        case "greater_than_equal":
            return f"{name} must be at least {_number(context['ge'])}"
        case "greater_than":
            return f"{name} must be greater than {_number(context['gt'])}"
        case "less_than_equal":
            return f"{name} must be at most {_number(context['le'])}"
        case "less_than":
            return f"{name} must be less than {_number(context['lt'])}"
        case "finite_number":
            return f"{name} must be a finite number, not NaN or infinity"
        case "string_too_long":
            return f"{name} can have at most {context['max_length']:,} characters"
        case "too_long":
            return f"{name} can have at most {context['max_length']:,} entries"
        case "string_too_short" | "too_short" if context["min_length"] == 1:
            return f"{name} must not be empty"
        case "string_too_short":
            return f"{name} must have at least {context['min_length']:,} characters"
        case "too_short":
            return f"{name} must have at least {context['min_length']:,} entries"
        case "literal_error" | "enum":
            return f"{name} must be one of {str(context['expected']).replace(chr(39), '')}"
        case "value_error" | "assertion_error":
            return str(context["error"])
    message = error["msg"][:1].lower() + error["msg"][1:]
    for prefix in ("input should be ", "input should ", "must be "):
        if message.startswith(prefix):
            return f"{name} must {'be ' if 'be ' in prefix else ''}{message.removeprefix(prefix)}"
    return f"{name}: {message}"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 1e6 else f"{value:g}"


def printable(text: str) -> str:
    """Replace what UTF-8 cannot encode, such as a lone surrogate."""
    return text.encode("utf-8", "replace").decode()
