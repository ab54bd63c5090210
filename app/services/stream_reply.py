"""What Redis answers when a stream is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

Entry: TypeAlias = tuple[bytes, dict[bytes, bytes]]
"""The id of an entry, and its fields."""


def first_stream(reply: Any) -> list[Entry]:
    """The entries of the only stream in a reply; [] if there are none."""
    if not reply:
        return []
    streams: Iterable[Any] = reply.values() if isinstance(reply, dict) else (part[1] for part in reply)
    # RESP3 wraps the entries of a stream in one more list.
    wrapped = (part if part and isinstance(part[0], list | tuple) else [part] for stream in streams for part in stream)
    return [(entry_id, fields or {}) for part in wrapped for entry_id, fields in part]


def milliseconds(entry_id: bytes) -> int:
    """When Redis received an entry, by its clock, since 1970."""
    return int(entry_id.split(b"-")[0])
