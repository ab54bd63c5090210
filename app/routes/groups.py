"""/api/v1/groups: runs that match as groups, each figure as mean, median and extremes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.routes.runs.groups import USUAL_FIGURES, read_groups
from app.routes.runs.table_request import listing
from app.store.database import reading
from app.web.dependencies import PartsDep

api = APIRouter(tags=["runs"])


class SpreadOut(BaseModel):
    """A figure over the ``n`` runs of a group that have it; ``half``: half the width of the mean's 95 % interval."""

    mean: float
    half: float | None
    median: float
    min: float
    max: float
    n: int


class RunGroupOut(BaseModel):
    """Runs that are equal in the fields; ``values`` in the order of these, in words."""

    values: list[str]
    runs: list[str]
    figures: dict[str, SpreadOut]


class GroupsOut(BaseModel):
    """Groups; ``capped``: older runs that match are left out."""

    groups: list[RunGroupOut]
    capped: bool


@api.get("/groups")
def get_groups(
    parts: PartsDep,
    by: Annotated[
        str, Query(max_length=200, description="variant (all settings but the seed), or fields by comma.")
    ] = "variant",
    figures: Annotated[
        str, Query(max_length=1000, description="Metrics such as val/acc or val/loss.last, duration, params; by comma.")
    ] = USUAL_FIGURES,
    q: Annotated[str, Query(max_length=200)] = "",
    sort: Annotated[str, Query(max_length=80, description="n, or a figure's part: -val/acc@mean.")] = "",
) -> GroupsOut:
    """Runs that match a question, as groups."""
    shown = listing(
        q=q, status=[], family=[], size=[], dataset=[], tag=[], columns=figures, column=[], group=by, sort=sort
    )
    with reading(parts.engine) as connection:
        found = read_groups(connection, shown)
    return GroupsOut(
        groups=[
            RunGroupOut(
                values=row.titles,
                runs=[each.id for each in row.members],
                figures={
                    key: SpreadOut(
                        mean=each.mean.mean,
                        half=each.mean.half,
                        median=each.median,
                        min=each.min,
                        max=each.max,
                        n=each.mean.n,
                    )
                    for key, each in row.spreads.items()
                },
            )
            for row in found.rows
        ],
        capped=found.capped or bool(found.hidden),
    )
