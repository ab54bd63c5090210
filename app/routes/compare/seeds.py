"""/compare/seeds: launch more seeds of the two best variants, as one sweep each."""

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
from app.web.run_selection import MOST_RUNS, split_ids

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
    """Launch ``more`` seeds of each variant (comma-separated run IDs) and add them to the comparison."""
    new_ids: list[str] = []
    for variant in variants:
        spec = await run_in_threadpool(_seed_sweep, parts, split_ids(variant), more)
        expansion = await check_expansion(parts, catalog, spec)
        sweep = await run_in_threadpool(launch_sweep, parts, catalog, spec, expansion)
        new_ids += await run_in_threadpool(_sweep_run_ids, parts, sweep)
    run_ids = list(dict.fromkeys([*split_ids(runs), *new_ids]))
    if len(run_ids) > MOST_RUNS:
        # If they do not all fit, keep only the two variants in question.
        run_ids = list(dict.fromkeys([*split_ids(*variants), *new_ids]))[:MOST_RUNS]
    parameters = "".join(
        f"&{name}={quote(value, safe=',')}"
        for name, value in (("by", by or "variant"), ("baseline", baseline))
        if value
    )
    return RedirectResponse(f"/compare?runs={quote(','.join(run_ids), safe=',')}{parameters}", 303)


def _seed_sweep(parts: Parts, runs: list[str], more: int) -> SweepSpec:
    if not runs:
        sentence = "each configuration needs at least one run ID"
        raise Invalid(sentence, [FieldError("variants", sentence)])
    run = launched(parts, runs[0])
    with reading(parts.engine) as connection:
        used = {row.run.seed for row in runs_by_id(connection, runs)}
    seeds: list[int] = []
    seed = max(used | {0})
    while len(seeds) < more:
        seed += 1
        seeds.append(seed)
    base: dict[str, Any] = {name: value for name, value in run.requested_spec.items() if name != "seed"}
    name = f"{more} more seed{'s' if more != 1 else ''} of {run.config.family} {run.config.size}"
    return SweepSpec(base=base, grid={"seed": seeds}, name=name[:200])


def _sweep_run_ids(parts: Parts, sweep: str) -> list[str]:
    with reading(parts.engine) as connection:
        return [run.id for run in sweeps.read_runs(connection, sweep, "val/acc", "maximize")]
