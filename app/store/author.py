"""Who the current request acts for: runs and sweeps keep it as ``created_by``, and their limit counts.

A context variable, because it concerns every way in which a run is created, and none of them decides by it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final

from sqlalchemy import Connection, text

AUTHOR: Final[ContextVar[str]] = ContextVar("author", default="")
"""The person's name; blank while nobody has to sign in, and outside of requests."""
MOST_QUEUED: Final[ContextVar[int]] = ContextVar("most_queued", default=0)
"""How many runs whoever has no limit of their own may have queued; 0 for any number."""


def author_of(connection: Connection, sweep: str | None) -> str:
    """The author of a new run: the current one, or the author of the sweep whose search chose it."""
    if AUTHOR.get() or sweep is None:
        return AUTHOR.get()
    found: Any = connection.execute(text("SELECT created_by FROM sweep WHERE id = :id"), {"id": sweep}).scalar()
    return str(found or "")
