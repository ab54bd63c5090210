"""Cursors for keyset pagination: the end of a page, encoded as text that the client sends back for the next page."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DataError, ProgrammingError

from app.contract.errors import QueryError


@dataclass(frozen=True)
class Cursor:
    """The run after which a page begins."""

    value: Any
    number: int
    then: tuple[Any, ...] = ()


_INVALID = "invalid cursor; use the 'next' value of the previous page"


def write_cursor(value: Any, number: int, then: tuple[Any, ...] = ()) -> str:
    """Encode the cursor of the page that follows a run with this value, number and values of further sort keys."""
    return base64.urlsafe_b64encode(json.dumps([value, number, *then]).encode()).decode()


def read_cursor(after: str, further: int = 0) -> Cursor:
    """Decode a cursor with this many ``further`` keys. Raises QueryError."""
    try:
        value, number, *then = json.loads(base64.urlsafe_b64decode(after.encode()))
    except (ValueError, TypeError, RecursionError) as error:
        raise QueryError("after", _INVALID) from error
    if type(number) is not int or len(then) != further or not all(map(_storable, (value, number, *then))):
        raise QueryError("after", _INVALID)
    return Cursor(value, number, tuple(then))


@contextmanager
def comparing(after: Cursor | None) -> Iterator[None]:
    """Raise QueryError if PostgreSQL cannot compare a cursor's values: text with numbers, which SQLite compares."""
    try:
        yield
    except (DataError, ProgrammingError) as error:
        if after is None:
            raise
        raise QueryError("after", _INVALID) from error


def _storable(value: Any) -> bool:
    match value:
        case None:
            return True
        case int() | float():
            return abs(value) < 2**63
        case str():
            return value == value.encode("utf-8", "replace").decode()
    return False
