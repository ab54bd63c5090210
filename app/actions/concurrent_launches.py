"""Launching while others launch: an insert that a concurrent request overtook is made again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import IntegrityError

Made = TypeVar("Made")

ATTEMPTS = 20


class Overtaken(Exception):
    """Another request with the same idempotency key was faster."""


def until_inserted(insert: Callable[[], Made]) -> Made:
    """Call ``insert`` until no concurrent request has taken its idempotency key or number, and return what it made.

    ``insert`` is to look for its idempotency key anew each time: when it was overtaken, the next call finds what the
    other request made. Raises IntegrityError or Overtaken after the last attempt, and whatever else ``insert`` raises.
    """
    for left in reversed(range(ATTEMPTS)):
        try:
            return insert()
        except (IntegrityError, Overtaken):
            if not left:
                raise
    raise AssertionError("unreachable")
