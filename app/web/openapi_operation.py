"""An operation of the API as the OpenAPI document describes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Operation:
    """An API operation: its ``name`` in generated clients, and an example request ``body`` and ``answer``, if any."""

    name: str
    body: Any = None
    answer: Any = None
