"""/api/v1/sweeps: launch, read, stop and extend sweeps."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from app.actions.sweeps import (
    check_expansion,
    extend_by,
    launch_sweep,
    preview_sweep,
    stop_sweep,
)
from app.analysis.importance import METHOD
from app.contract.spec import SpecError
from app.contract.sweep import MOST_RUNS, SweepSpec
from app.contract.timestamps import iso
from app.routes.sweeps.status import SweepStatus, SweptCommand, read_status, swept_command
from app.store import sweep as store
from app.store.database import reading
from app.store.sweep import SweepRecord, SweepRun
from app.web.dependencies import CatalogDep, Parts, PartsDep
from app.web.numbers import Count

api = APIRouter(tags=["sweeps"])


class BestOut(BaseModel):
    """The best run so far: its best value of the sweep's metric, and the values that the sweep chose for it."""

    run: str
    number: int
    value: float
    values: dict[str, Any]


class ConfigurationOut(BaseModel):
    """Runs that differ only in their seed: the mean of their values, and half its 95% interval if n > 1."""

    values: dict[str, Any]
    runs: list[str]
    n: int
    mean: float | None
    half: float | None


class SweepFacts(BaseModel):
    """A sweep in short. ``counts``: its runs by state; ``pruned``: how many of the cancelled runs were pruned."""

    id: str
    number: int
    url: str
    name: str
    title: str
    status: str
    reason: str
    method: str
    metric: str
    direction: str
    pruning: str | None
    planned: int
    counts: dict[str, int]
    pruned: int
    created: str
    ended: str | None


class SweepOut(SweepFacts):
    """A sweep. ``runs``: all of its runs, by number; ``left_out``: invalid combinations with the reason.

    ``command``: the command with placeholders that its runs execute, null if they train networks. ``unmeasured``: which
    of its runs have ended without a value of its metric, as a sentence; "" if none has.
    ``importances``: field -> 0 to 1, empty until enough runs have ended; ``importance_method``: how they are computed.
    ``seconds_left``: remaining time of its own runs; ``ahead``: number of other runs before them in the queue.
    """

    spec: SweepSpec
    command: SweptCommand | None
    compare_url: str
    best: BestOut | None
    importances: dict[str, float]
    importance_method: str
    configurations: list[ConfigurationOut]
    left_out: list[str]
    unmeasured: str
    seconds_left: float | None
    ahead: int
    runs: list[str]


class SweepsOut(BaseModel):
    """A page of sweeps, newest first; pass ``next`` as ``after`` to get the following page."""

    sweeps: list[SweepFacts]
    next: int | None


class SweepPreview(BaseModel):
    """A sweep before its launch: number of runs, and their duration on the available slots (null: unknown).

    ``unknown``: number of runs without an estimate, counted with the mean of the others. ``examples``: its first runs.
    """

    runs: int
    seconds: float | None
    unknown: int
    slots: int
    examples: list[str]
    left_out: list[str]
    errors: list[dict[str, str]] = []


class More(BaseModel):
    """What to add to a sweep: ``seeds`` and ``draws`` are the new totals, ``grid`` has additional values."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"seeds": 5}]})

    seeds: int | None = Field(None, ge=1, le=MOST_RUNS)
    draws: int | None = Field(None, ge=1, le=MOST_RUNS)
    grid: dict[str, list[Any]] | None = None


def summary_of(record: SweepRecord, spec: SweepSpec, counts: store.Counts) -> dict[str, Any]:
    """Return the fields of a SweepFacts."""
    return {
        "id": record.id,
        "number": record.number,
        "url": f"/sweeps/{record.id}",
        "name": record.name,
        "title": record.title,
        "status": record.status,
        "reason": record.reason,
        "method": spec.method,
        "metric": spec.metric,
        "direction": store.direction_of(spec.metric, spec.direction),
        "pruning": spec.pruning,
        "planned": record.planned,
        "counts": counts.states,
        "pruned": counts.pruned,
        "created": iso(record.created_at),
        "ended": iso(record.ended_at),
    }


def as_json(status: SweepStatus) -> SweepOut:
    """Return a sweep as the API responds with it."""
    return SweepOut(
        **summary_of(status.record, status.spec, status.counts),
        spec=status.spec,
        command=swept_command(status.record),
        compare_url=status.compare_url,
        best=_best(status.best),
        importances=status.importances,
        importance_method=METHOD,
        configurations=[
            ConfigurationOut(
                values=configuration.values,
                runs=[run.id for run in configuration.runs],
                n=configuration.mean.n if configuration.mean else 0,
                mean=configuration.mean.mean if configuration.mean else None,
                half=configuration.mean.half if configuration.mean else None,
            )
            for configuration in status.configurations
        ],
        left_out=status.record.left_out,
        unmeasured=status.unmeasured,
        seconds_left=status.seconds_left,
        ahead=status.ahead,
        runs=[run.id for run in status.runs],
    )


def _best(run: SweepRun | None) -> BestOut | None:
    if run is None or run.value is None:
        return None
    return BestOut(run=run.id, number=run.number, value=run.value, values=run.values)


def read_sweep(parts: Parts, sweep: str) -> SweepOut:
    """Return a sweep as the API responds with it. Raises NotFound."""
    with reading(parts.engine) as connection:
        return as_json(read_status(connection, parts, sweep))


@api.post("/sweeps", status_code=201)
async def post_sweep(
    spec: SweepSpec,
    parts: PartsDep,
    catalog: CatalogDep,
    response: Response,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> SweepOut:
    """Launch a sweep. A repeated Idempotency-Key returns the sweep that it launched before."""
    expansion = await check_expansion(parts, catalog, spec)
    sweep = await run_in_threadpool(launch_sweep, parts, catalog, spec, expansion, idempotency_key or None)
    response.headers["location"] = f"/api/v1/sweeps/{sweep}"
    return await run_in_threadpool(read_sweep, parts, sweep)


@api.post("/sweeps/preview")
async def post_preview(spec: SweepSpec, parts: PartsDep, catalog: CatalogDep) -> SweepPreview:
    """Preview a sweep without launching it: number of runs and duration, or ``errors`` by field."""
    try:
        expansion = await check_expansion(parts, catalog, spec)
        preview = await run_in_threadpool(preview_sweep, parts, catalog, spec, expansion)
    except SpecError as error:
        errors = [{"field": each.field, "message": each.message} for each in error.errors]
        return SweepPreview(runs=0, seconds=None, unknown=0, slots=0, examples=[], left_out=[], errors=errors)
    return SweepPreview(
        runs=preview.total,
        seconds=preview.forecast.seconds,
        unknown=preview.forecast.unknown,
        slots=preview.forecast.slots,
        examples=preview.examples,
        left_out=preview.expansion.left_out[:100],
    )


@api.get("/sweeps")
def get_sweeps(
    parts: PartsDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[Count | None, Query(description="`next` of the previous page.")] = None,
) -> SweepsOut:
    """List sweeps, newest first."""
    with reading(parts.engine) as connection:
        records = store.list_sweeps(connection, limit + 1, after)
        counts = store.count_runs(connection, [record.id for record in records])
    page = records[:limit]
    return SweepsOut(
        sweeps=[SweepFacts(**summary_of(record, record.spec, counts[record.id])) for record in page],
        next=page[-1].number if len(records) > limit else None,
    )


@api.get("/sweeps/{sweep_id}")
def get_sweep(sweep_id: str, parts: PartsDep) -> SweepOut:
    """Return a sweep."""
    return read_sweep(parts, sweep_id)


@api.post("/sweeps/{sweep_id}/stop")
def post_stop(sweep_id: str, parts: PartsDep) -> SweepOut:
    """Stop a sweep: launch no more runs and cancel all that have not ended."""
    stop_sweep(parts, sweep_id)
    return read_sweep(parts, sweep_id)


@api.post("/sweeps/{sweep_id}/extend")
async def post_extend(sweep_id: str, more: More, parts: PartsDep, catalog: CatalogDep) -> SweepOut:
    """Extend a sweep with seeds, draws, or values of the fields that it varies; adds only missing runs."""
    await extend_by(parts, catalog, sweep_id, SweepSpec(**more.model_dump(exclude_none=True)))
    return await run_in_threadpool(read_sweep, parts, sweep_id)
