"""Number types for URL and form parameters, bounded so that every value fits into the database."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

LARGEST = 2**63 - 1
"""The largest integer that the database can store."""

Count = Annotated[int, Field(ge=0, le=LARGEST)]
"""A count, or an ID in the database; 0 means none."""

Timestamp = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
"""Seconds since 1970; 0 means none."""
