"""/api/v1/groups: matching runs as groups, with mean, median, minimum and maximum of each metric."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.routes.runs.groups import DEFAULT_METRICS, read_groups
from app.routes.runs.table_request import table_query
from app.store.database import reading
from app.web.dependencies import PartsDep

api = APIRouter(tags=["runs"])


class SpreadOut(BaseModel):
    """A metric over the ``n`` runs of a group that have it. ``half``: half the width of the mean's 95% interval."""

    mean: float
    half: float | None
    median: float
    min: float
    max: float
    n: int


class RunGroupOut(BaseModel):
    """Runs with equal fields; ``values``: the formatted values of those fields, in order."""

    values: list[str]
    runs: list[str]
    figures: dict[str, SpreadOut]


class GroupsOut(BaseModel):
    """Groups of runs. ``capped``: some matching runs or groups are left out."""

    groups: list[RunGroupOut]
    capped: bool


@api.get("/groups")
def get_groups(
    parts: PartsDep,
    by: Annotated[
        str,
        Query(
            max_length=200,
            description="variant (all settings that affect the result, except the seed), or comma-separated fields.",
        ),
    ] = "variant",
    figures: Annotated[
        str, Query(max_length=1000, description="Comma-separated metrics: val/acc, val/loss.last, duration, params …")
    ] = DEFAULT_METRICS,
    q: Annotated[str, Query(max_length=200)] = "",
    sort: Annotated[str, Query(max_length=80, description="n, or a metric and statistic: -val/acc@mean.")] = "",
) -> GroupsOut:
    """Group the runs that match a search."""
    query = table_query(
        q=q, status=[], family=[], size=[], dataset=[], tag=[], columns=figures, column=[], group=by, sort=sort
    )
    with reading(parts.engine) as connection:
        table = read_groups(connection, query)
    return GroupsOut(
        groups=[
            RunGroupOut(
                values=row.titles,
                runs=[member.id for member in row.members],
                figures={
                    key: SpreadOut(
                        mean=spread.mean.mean,
                        half=spread.mean.half,
                        median=spread.median,
                        min=spread.min,
                        max=spread.max,
                        n=spread.mean.n,
                    )
                    for key, spread in row.spreads.items()
                },
            )
            for row in table.rows
        ],
        capped=table.capped or bool(table.hidden),
    )
