"""/api/v1/runs, and the streams of events."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import from_json, to_json
from starlette.concurrency import run_in_threadpool

from app.actions.bulk import edit_run
from app.actions.runs import cancel, delete, find_run, launch, restore
from app.contract.errors import Invalid
from app.contract.spec import FieldError, RunConfig, RunSpec, Tag, resolve
from app.contract.timestamps import iso
from app.services.live import Cursor, curve_as_json
from app.store.database import reading
from app.store.log import read_lines
from app.store.metric import Summary, read_curves, read_summaries
from app.store.run import RunRecord
from app.store.search.query import RunFilter, list_runs
from app.web.dependencies import CatalogDep, PartsDep

api = APIRouter(tags=["runs"])


class SummaryOut(BaseModel):
    """A curve in figures; NaN and infinite values are counted in ``not_finite`` and are never best, min or max."""

    last: float | None
    last_step: int
    best: float | None
    best_step: int
    min: float | None
    max: float | None
    points: int
    not_finite: int


class RunOut(BaseModel):
    """A run. ``spec`` has every blank filled; ``asked`` is what its launcher said. Times in ISO 8601, UTC.

    A run that was trained elsewhere has an ``origin``, no ``spec``, and the ``parameters`` that its script said.

    ``relation`` is what it is to its ``parent``: clone, retry, resume, extend, fork or verify; ``parent_step`` the step
    of the parent that it goes on from. ``sweep_values``: what its sweep chose for it.
    """

    id: str
    number: int
    url: str
    title: str
    status: str
    reason: str
    attempt: int
    params: int | None
    spec: RunConfig | None
    origin: str = ""
    parameters: dict[str, Any] = {}
    notes: str = ""
    asked: dict[str, Any]
    tags: list[str]
    progress: dict[str, Any]
    summary: dict[str, SummaryOut]
    environment: dict[str, Any]
    worker: str
    device: str
    parent: str | None
    relation: str
    parent_step: int | None
    sweep: str | None
    sweep_values: dict[str, Any]
    created: str
    started: str | None
    ended: str | None
    seconds: float | None


class RunsOut(BaseModel):
    """One page of runs; pass ``next`` as ``after`` to get the following one."""

    runs: list[RunOut]
    next: str | None
    total: int


class RunChanges(BaseModel):
    """What can be changed after a launch; what is left out stays as it is. ``priority`` only while the run waits."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "the good one", "tags": ["a"]}]})

    name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""
    notes: Annotated[str, StringConstraints(max_length=20_000)] = ""
    tags: Annotated[list[Tag], Field(max_length=20)] = []
    priority: Annotated[int, Field(ge=-1000, le=1000, strict=True)] = 0


class CurveOut(BaseModel):
    """Points of one metric; ``value`` is null where it was NaN or infinite; ``time`` in seconds since 1970, UTC."""

    step: list[int]
    value: list[float | None]
    time: list[float]


class LogLineOut(BaseModel):
    id: int
    time: float
    level: str
    text: str
    attempt: int


class LogsOut(BaseModel):
    lines: list[LogLineOut]


def run_status(record: RunRecord) -> dict[str, Any]:
    """The status of a run as the live stream tells it."""
    return {
        "status": record.status,
        "reason": record.reason,
        "attempt": record.attempt,
        "started": iso(record.started_at),
        "ended": iso(record.ended_at),
        "seconds": seconds_of(record),
    }


def seconds_of(record: RunRecord) -> float | None:
    """How long a run has trained, waits between attempts included; None before it has started."""
    seconds = record.duration(time.time())
    return None if seconds is None else round(seconds, 3)


def as_json(record: RunRecord, summary: dict[str, Summary]) -> RunOut:
    """A run as the API answers it."""
    return RunOut.model_validate(described(record, summary))


def described(record: RunRecord, summary: dict[str, Summary]) -> dict[str, Any]:
    """What a RunOut holds, with the configuration as a model."""
    row = record.row
    return {
        "id": row["id"],
        "number": row["number"],
        "url": f"/runs/{row['id']}",
        "title": record.title,
        "status": row["status"],
        "reason": row["reason"],
        "attempt": row["attempt"],
        "params": row["params"],
        "spec": None if record.logged else record.config,
        "origin": row["origin"],
        "parameters": record.config.options if record.logged else {},
        "notes": row["notes"],
        "asked": record.asked_spec,
        "tags": record.tags,
        "progress": record.progress,
        "summary": {
            name: {
                "last": figures.last,
                "last_step": figures.last_step,
                "best": figures.best,
                "best_step": figures.best_step,
                "min": figures.min,
                "max": figures.max,
                "points": figures.points,
                "not_finite": figures.not_finite,
            }
            for name, figures in summary.items()
        },
        "environment": record.environment,
        "worker": row["worker"],
        "device": row["device"],
        "parent": row["parent"],
        "relation": row["relation"],
        "parent_step": row["parent_step"],
        "sweep": row["sweep"],
        "sweep_values": from_json(row["sweep_values"]),
        "created": iso(row["created_at"]),
        "started": iso(row["started_at"]),
        "ended": iso(row["ended_at"]),
        "seconds": seconds_of(record),
    }


@api.post("/runs", status_code=201)
async def post_run(
    spec: RunSpec,
    parts: PartsDep,
    catalog: CatalogDep,
    response: Response,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> RunOut:
    """Launch a run. The same Idempotency-Key gives back the run that it launched before."""
    await parts.inspector.check(resolve(spec, catalog))
    run_id = await run_in_threadpool(launch, parts, catalog, spec, idempotency_key or None)
    response.headers["location"] = f"/api/v1/runs/{run_id}"
    return as_json(*await run_in_threadpool(find_run, parts, run_id))


@api.get("/runs", response_model=RunsOut)
def get_runs(
    parts: PartsDep,
    status: Annotated[list[str], Query()] = [],
    family: Annotated[list[str], Query()] = [],
    size: Annotated[list[str], Query()] = [],
    dataset: Annotated[list[str], Query()] = [],
    tag: Annotated[list[str], Query()] = [],
    number: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Query(max_length=500)] = [],
    q: Annotated[str, Query(max_length=200)] = "",
    sort: Annotated[str, Query(max_length=100)] = "-number",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """Runs that match all filters; a filter given several times matches any of its values, ``tag`` all of them."""
    where = RunFilter(status, family, size, dataset, tag, q, number)
    with reading(parts.engine) as connection:
        page = list_runs(connection, where, sort, limit, after, time.time())
    # A model for each of hundreds of summaries would take as long as all the rest.
    runs = [described(row.run, row.summary) for row in page.rows]
    body = to_json({"runs": runs, "next": page.next, "total": page.total}, inf_nan_mode="null")
    return Response(body, media_type="application/json")


@api.get("/runs/{run_id}")
def get_run(run_id: str, parts: PartsDep) -> RunOut:
    """One run."""
    return as_json(*find_run(parts, run_id))


@api.patch("/runs/{run_id}")
def patch_run(run_id: str, changes: RunChanges, parts: PartsDep) -> RunOut:
    """Change name, notes, tags or priority of a run."""
    edit_run(parts, run_id, changes.model_dump(exclude_unset=True))
    return as_json(*find_run(parts, run_id))


@api.get("/runs/{run_id}/metrics")
def get_metrics(
    run_id: str,
    parts: PartsDep,
    names: Annotated[str, Query(max_length=2000, description="Metrics by comma; all when left out.")] = "",
    points: Annotated[int, Query(ge=0, le=1_000_000, description="0: every point.")] = 1000,
    first: Annotated[int, Query(ge=0, lt=2**32, description="The first step that is wanted.")] = 0,
    last: Annotated[int | None, Query(ge=0, lt=2**32, description="The last one; to the end when left out.")] = None,
) -> dict[str, CurveOut]:
    """Curves; reduced to the lowest and highest point of every stretch, so that no spike vanishes.

    Between ``first`` and ``last`` fewer points share a stretch: whoever looks nearer sees more of them.
    """
    find_run(parts, run_id)
    wanted = [name.strip() for name in names.split(",") if name.strip()] or None
    with reading(parts.engine) as connection:
        within = None if first == 0 and last is None else (first, 2**32 if last is None else last)
        curves = read_curves(connection, run_id, wanted, points, within)
        known = read_summaries(connection, [run_id])[run_id] if wanted else {}
    missing = [name for name in wanted or [] if name not in known]
    if missing:
        exist = ", ".join(known) or "none yet"
        sentence = f"no metric '{missing[0][:60]}' in this run; metrics: {exist}"
        raise Invalid(sentence, [FieldError("names", sentence)])
    return {name: CurveOut(**curve_as_json(curve)) for name, curve in curves.items()}


@api.get("/runs/{run_id}/logs")
def get_logs(run_id: str, parts: PartsDep, tail: Annotated[int, Query(ge=1, le=10_000)] = 200) -> LogsOut:
    """The last lines of a run's log, oldest first."""
    find_run(parts, run_id)
    with reading(parts.engine) as connection:
        return LogsOut(lines=[LogLineOut(**line) for line in read_lines(connection, run_id, tail=tail)])


@api.get("/runs/{run_id}/events", response_class=StreamingResponse)
async def get_events(
    run_id: str,
    parts: PartsDep,
    after: Annotated[str, Query(max_length=60, description="The id of the last event that was heard.")] = "0",
    last_event_id: Annotated[str | None, Header(max_length=60)] = None,
) -> StreamingResponse:
    """Server-sent events: status, progress, metrics, log, reset (read the curves anew), end; ids resume exactly."""
    try:
        cursor = Cursor.parse(after if last_event_id is None else last_event_id)
    except ValueError as error:
        raise Invalid(
            "after must be the id of an event of this stream, or 0", [FieldError("after", str(error))]
        ) from error
    await run_in_threadpool(find_run, parts, run_id)
    return event_stream(parts.hub.watch(run_id, cursor))


@api.get("/events", response_class=StreamingResponse)
async def get_all_events(parts: PartsDep) -> StreamingResponse:
    """Server-sent events: "changed" whenever any run or worker did."""
    return event_stream(parts.hub.watch_all())


def event_stream(frames: AsyncIterator[bytes]) -> StreamingResponse:
    """A stream of server-sent events that nothing on its way may keep or gather."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(frames, media_type="text/event-stream", headers=headers)


@api.post("/runs/{run_id}/cancel")
def post_cancel(run_id: str, parts: PartsDep) -> RunOut:
    """Stop a run: a waiting one at once, a training one at its next batch, with a checkpoint."""
    cancel(parts, run_id)
    return as_json(*find_run(parts, run_id))


@api.delete("/runs/{run_id}", status_code=204)
def delete_run(run_id: str, parts: PartsDep) -> None:
    """Put an ended run into the trash, from where it can be restored for some days."""
    delete(parts, run_id)


@api.post("/runs/{run_id}/restore")
def post_restore(run_id: str, parts: PartsDep) -> RunOut:
    """Take a run out of the trash."""
    restore(parts, run_id)
    return as_json(*find_run(parts, run_id))
