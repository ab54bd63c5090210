"""What the address of a comparison asks for."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

MOST_RUNS = 50
"""So many are compared at once."""


def named(*said: str) -> list[str]:
    """The ids that are named, once each: ?runs=a,b and ?runs=a&runs=b mean the same."""
    return list(dict.fromkeys(part.strip() for value in said for part in value.split(",") if part.strip()))


class Asked(BaseModel):
    """The query of /compare and of what belongs to it."""

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
        """The runs that are named."""
        return named(*self.runs)


AskedDep = Annotated[Asked, Query()]
