"""What the networks of a comparison cost: looked at only where the page is asked for it, since it can take a moment."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from fastapi.concurrency import run_in_threadpool

from app.contract.errors import Unavailable
from app.contract.spec import SpecError
from app.store.database import reading
from app.store.search.query import RunRow, runs_by_id
from app.web.dependencies import Parts, PartsDep
from app.web.run_selection import MOST_RUNS, AskedDep

FLOPS = "FLOPs"


async def flops_of(parts: PartsDep, asked: AskedDep) -> dict[str, int]:
    """Floating-point operations of one image forward, by run; of those alone whose network can still be built."""
    found: dict[str, int] = {}
    if asked.cost != FLOPS:
        return found
    for row in await run_in_threadpool(_rows, parts, asked.ids[:MOST_RUNS]):
        if row.run.logged:
            continue
        try:
            found[row.run.id] = (await parts.inspector.profile(row.run.config)).flops
        except (SpecError, Unavailable):
            # An architecture that is gone, or a process that does not answer: the page says of how few it knows.
            continue
    return found


def _rows(parts: Parts, ids: list[str]) -> list[RunRow]:
    with reading(parts.engine) as connection:
        return runs_by_id(connection, ids)


FlopsDep = Annotated[dict[str, int], Depends(flops_of)]
