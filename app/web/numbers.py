"""Types of the numbers in addresses and forms: each has bounds, so that none is too large for the database."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

LARGEST = 2**63 - 1
"""The largest integer that the database holds."""

Count = Annotated[int, Field(ge=0, le=LARGEST)]
"""How many of something, or an id of the database; 0 stands for none."""

Timestamp = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
"""Seconds since 1970; 0 stands for none."""
