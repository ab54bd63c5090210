"""Query parameters of the comparison pages: run IDs, grouping, baseline and chart controls."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

MOST_RUNS = 50
"""The most runs in one comparison."""


def split_ids(*parameters: str) -> list[str]:
    """Return the unique IDs; ?runs=a,b and ?runs=a&runs=b are equivalent."""
    return list(dict.fromkeys(part.strip() for value in parameters for part in value.split(",") if part.strip()))


class ComparisonQuery(BaseModel):
    """Query parameters of /compare and its subpages."""

    runs: list[str] = Field([], max_length=200)
    by: str = Field("", max_length=400)
    baseline: str = Field("", max_length=60)
    settings: str = ""
    cost: str = ""
    picked: str = Field("", max_length=4000)
    x: str = ""
    smoothing: str = ""
    log: str = ""

    @property
    def ids(self) -> list[str]:
        """IDs of the requested runs."""
        return split_ids(*self.runs)


ComparisonQueryDep = Annotated[ComparisonQuery, Query()]
