"""Cursors of keyset pagination: where a page ended, as text that a caller sends back for the next page."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from app.contract.errors import QueryError


@dataclass(frozen=True)
class Cursor:
    """Behind which run a page begins."""

    value: Any
    number: int
    then: tuple[Any, ...] = ()


def write_cursor(value: Any, number: int, then: tuple[Any, ...] = ()) -> str:
    """The cursor of the page behind a run with this value and number, and these values of further keys."""
    return base64.urlsafe_b64encode(json.dumps([value, number, *then]).encode()).decode()


def read_cursor(after: str, further: int = 0) -> Cursor:
    """Inverse of write_cursor, where there are so many ``further`` keys. Raises QueryError."""
    wrong = "not a cursor of this list; take it from 'next' of the page before"
    try:
        value, number, *then = json.loads(base64.urlsafe_b64decode(after.encode()))
    except (ValueError, TypeError, RecursionError) as error:
        raise QueryError("after", wrong) from error
    if type(number) is not int or len(then) != further or not all(map(_storable, (value, number, *then))):
        raise QueryError("after", wrong)
    return Cursor(value, number, tuple(then))


def _storable(value: Any) -> bool:
    match value:
        case None:
            return True
        case int() | float():
            return abs(value) < 2**63
        case str():
            return value == value.encode("utf-8", "replace").decode()
    return False
