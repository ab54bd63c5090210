"""/api/v1/architectures: all families and sizes, for scripts."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.web.dependencies import CatalogDep

api = APIRouter(tags=["catalog"])


class ArchitectureOut(BaseModel):
    """One size of a family; ``params``: exact counts by dataset, with the dataset's first target as the only head.

    ``source``: the file of a user-defined family, else empty.
    """

    family: str
    size: str
    default: bool
    definition: str
    params: dict[str, int]
    summary: str
    when: str
    reference: str
    options: dict[str, list[Any]]
    source: str
    smallest_batch: int
    takes_auxiliary: bool


class ArchitecturesOut(BaseModel):
    architectures: list[ArchitectureOut]
    broken: dict[str, str]


@api.get("/architectures")
def get_architectures(catalog: CatalogDep) -> ArchitecturesOut:
    """List all families and sizes."""
    return ArchitecturesOut(
        architectures=[
            ArchitectureOut(
                family=family.name,
                size=size.name,
                default=size.name == family.default,
                definition=size.definition,
                params=size.params,
                summary=family.summary,
                when=family.when,
                reference=family.reference,
                options={option.name: option.choices for option in family.options},
                source=family.source,
                smallest_batch=family.smallest_batch,
                takes_auxiliary=family.takes_auxiliary,
            )
            for family in catalog.families.values()
            for size in family.sizes
        ],
        broken=catalog.broken,
    )
