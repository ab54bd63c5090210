"""FLOPs of the networks of a comparison, computed only on request because building the networks takes a moment."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from fastapi.concurrency import run_in_threadpool

from app.contract.errors import Unavailable
from app.contract.spec import SpecError
from app.store.database import reading
from app.store.search.query import RunRow, runs_by_id
from app.web.dependencies import Parts, PartsDep
from app.web.run_selection import MOST_RUNS, ComparisonQueryDep

FLOPS = "FLOPs"


async def flops_of(parts: PartsDep, query: ComparisonQueryDep) -> dict[str, int]:
    """Return the forward FLOPs per image by run ID, for runs whose network can still be built."""
    flops: dict[str, int] = {}
    if query.cost != FLOPS:
        return flops
    for row in await run_in_threadpool(_rows, parts, query.ids[:MOST_RUNS]):
        if row.run.logged:
            continue
        try:
            flops[row.run.id] = (await parts.inspector.profile(row.run.config)).flops
        except (SpecError, Unavailable):
            # The architecture was removed or the inspector does not answer; the page says if too few are known.
            continue
    return flops


def _rows(parts: Parts, ids: list[str]) -> list[RunRow]:
    with reading(parts.engine) as connection:
        return runs_by_id(connection, ids)


FlopsDep = Annotated[dict[str, int], Depends(flops_of)]
