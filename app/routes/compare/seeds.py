"""The seeds that would decide a comparison: a sweep of each of two variants, launched at one press."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from app.actions.lineage import launched
from app.actions.sweeps import check_expansion, launch_sweep
from app.contract.errors import Invalid
from app.contract.spec import FieldError
from app.contract.sweep import SweepSpec
from app.store import sweep as sweeps
from app.store.database import reading
from app.store.search.query import runs_by_id
from app.web.dependencies import CatalogDep, Parts, PartsDep
from app.web.run_selection import MOST_RUNS, named

pages = APIRouter()

MOST_SEEDS = 50


@pages.post("/compare/seeds")
async def launch_seeds(
    parts: PartsDep,
    catalog: CatalogDep,
    more: Annotated[int, Form(ge=1, le=MOST_SEEDS)],
    variants: Annotated[list[str], Form(max_length=10)],
    runs: Annotated[str, Form(max_length=4000)] = "",
    by: Annotated[str, Form(max_length=400)] = "",
    baseline: Annotated[str, Form(max_length=60)] = "",
) -> RedirectResponse:
    """Launch ``more`` seeds of each of ``variants``, which name their runs by comma; the comparison has them then."""
    made: list[str] = []
    for said in variants:
        spec = await run_in_threadpool(_sweep_of, parts, named(said), more)
        expansion = await check_expansion(parts, catalog, spec)
        sweep = await run_in_threadpool(launch_sweep, parts, catalog, spec, expansion)
        made += await run_in_threadpool(_runs_of, parts, sweep)
    together = list(dict.fromkeys([*named(runs), *made]))
    if len(together) > MOST_RUNS:
        # Of what does not fit, the two that are to be told apart are what the comparison is about.
        together = list(dict.fromkeys([*named(*variants), *made]))[:MOST_RUNS]
    rest = "".join(
        f"&{name}={quote(value, safe=',')}"
        for name, value in (("by", by or "variant"), ("baseline", baseline))
        if value
    )
    return RedirectResponse(f"/compare?runs={','.join(together)}{rest}", 303)


def _sweep_of(parts: Parts, runs: list[str], more: int) -> SweepSpec:
    if not runs:
        sentence = "a variant is named by its runs"
        raise Invalid(sentence, [FieldError("variants", sentence)])
    first = launched(parts, runs[0])
    with reading(parts.engine) as connection:
        used = {row.run.seed for row in runs_by_id(connection, runs)}
    fresh: list[int] = []
    seed = max(used | {0})
    while len(fresh) < more:
        seed += 1
        fresh.append(seed)
    asked: dict[str, Any] = {name: value for name, value in first.asked_spec.items() if name != "seed"}
    name = f"{more} more seed{'s' if more != 1 else ''} of {first.config.family} {first.config.size}"
    return SweepSpec(base=asked, grid={"seed": fresh}, name=name[:200])


def _runs_of(parts: Parts, sweep: str) -> list[str]:
    with reading(parts.engine) as connection:
        return [run.id for run in sweeps.read_runs(connection, sweep, "val/acc", "maximize")]
