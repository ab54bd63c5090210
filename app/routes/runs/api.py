"""/api/v1/runs: REST API of runs, their metrics and logs, and the server-sent event streams."""

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
from app.contract.steps import LARGEST_STEP, SMALLEST_STEP
from app.contract.timestamps import iso
from app.routes.runs.launch_route import LaunchRoute
from app.services.live import Cursor, curve_as_json
from app.store.database import reading
from app.store.log import read_lines
from app.store.metric import Summary, read_curves, read_summaries
from app.store.removal import removals_of
from app.store.run import RunRecord
from app.store.search.query import RunFilter, list_runs
from app.web.dependencies import CatalogDep, PartsDep

api = APIRouter(tags=["runs"])


class SummaryOut(BaseModel):
    """Summary of a metric. NaN and infinite values are counted in ``not_finite`` and never become best, min or max."""

    last: float | None
    last_step: int
    best: float | None
    best_step: int
    min: float | None
    max: float | None
    points: int
    not_finite: int


class CommandOut(BaseModel):
    """The command that a run executes, with secrets replaced by "…". ``variables``: names of environment variables.

    ``exit_status`` is negative for the signal that killed it, null until it has exited. ``program``: the program that
    was launched, "" for a command; ``values``: those of its fields, as text.
    """

    argv: list[str]
    folder: str
    variables: list[str]
    restarts: int
    exit_status: int | None
    program: str = ""
    values: dict[str, str] = {}


class RunOut(BaseModel):
    """A run. ``spec`` is the complete configuration; ``asked`` contains only the fields given at launch.
    Times are ISO 8601, UTC.

    A run that a script trains has an ``origin``, no ``spec``, and the ``parameters`` that its script logged. With the
    origin "command", it has the ``command`` that it executes.

    ``relation`` to its ``parent``: clone, retry, resume, extend, fork or verify. ``parent_step``: the step of the
    parent at which this run starts. ``sweep_values``: the values that its sweep set. ``created_by``: blank if nobody
    had to sign in. ``removed``: when retention removed its checkpoints, best_checkpoints, predictions or logs.
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
    command: CommandOut | None = None
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
    created_by: str = ""
    started: str | None
    ended: str | None
    seconds: float | None
    removed: dict[str, str] = {}


class RunsOut(BaseModel):
    """One page of runs. Pass ``next`` as ``after`` to get the next page."""

    runs: list[RunOut]
    next: str | None
    total: int


class RunChanges(BaseModel):
    """Fields that can be edited after launch (``priority`` only while queued); omitted fields are unchanged."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "the good one", "tags": ["a"]}]})

    name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""
    notes: Annotated[str, StringConstraints(max_length=20_000)] = ""
    tags: Annotated[list[Tag], Field(max_length=20)] = []
    priority: Annotated[int, Field(ge=-1000, le=1000, strict=True)] = 0


class CurveOut(BaseModel):
    """Points of one metric. ``value`` is null for NaN and infinity; ``time`` is in seconds since 1970, UTC."""

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
    """Return the status of a run as the event stream sends it."""
    return {
        "status": record.status,
        "reason": record.reason,
        "attempt": record.attempt,
        "started": iso(record.started_at),
        "ended": iso(record.ended_at),
        "seconds": elapsed_seconds(record),
    }


def elapsed_seconds(record: RunRecord) -> float | None:
    """Return how long a run has trained in seconds, including pauses between attempts; None if it has not started."""
    seconds = record.duration(time.time())
    return None if seconds is None else round(seconds, 3)


def as_json(record: RunRecord, summary: dict[str, Summary]) -> RunOut:
    """Return a run as the API model."""
    return RunOut.model_validate(run_fields(record, summary))


def run_fields(record: RunRecord, summary: dict[str, Summary]) -> dict[str, Any]:
    """Return the fields of a RunOut as a dict, with the configuration as a model."""
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
        "command": _command_fields(record),
        "parameters": record.config.options if record.logged else {},
        "notes": row["notes"],
        "asked": record.requested_spec,
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
        "created_by": row["created_by"],
        "created": iso(row["created_at"]),
        "started": iso(row["started_at"]),
        "ended": iso(row["ended_at"]),
        "seconds": elapsed_seconds(record),
        "removed": removals_of(record),
    }


def _command_fields(record: RunRecord) -> dict[str, Any] | None:
    if not record.executed:
        return None
    config: Any = record.config
    shown = {name: getattr(config, name) for name in ("argv", "folder", "variables", "restarts")}
    shown |= {"program": config.program, "values": config.program_values}
    return shown | {"exit_status": record.progress.get("exit_status")}


async def post_run(
    spec: RunSpec,
    parts: PartsDep,
    catalog: CatalogDep,
    response: Response,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> RunOut:
    """Launch a run. Repeating an Idempotency-Key returns the run launched with it before."""
    await parts.inspector.check(resolve(spec, catalog))
    run_id = await run_in_threadpool(launch, parts, catalog, spec, idempotency_key or None)
    response.headers["location"] = f"/api/v1/runs/{run_id}"
    return as_json(*await run_in_threadpool(find_run, parts, run_id))


api.add_api_route("/runs", post_run, methods=["POST"], status_code=201, route_class_override=LaunchRoute)


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
    """List runs that match all filters. A repeated filter matches any of its values, a repeated ``tag`` all of them."""
    where = RunFilter(status, family, size, dataset, tag, q, number)
    with reading(parts.engine) as connection:
        page = list_runs(connection, where, sort, limit, after, time.time())
    # Building a model for each of hundreds of summaries would take as long as everything else.
    runs = [run_fields(row.run, row.summary) for row in page.rows]
    body = to_json({"runs": runs, "next": page.next, "total": page.total}, inf_nan_mode="null")
    return Response(body, media_type="application/json")


@api.get("/runs/{run_id}")
def get_run(run_id: str, parts: PartsDep) -> RunOut:
    """Get a run."""
    return as_json(*find_run(parts, run_id))


@api.patch("/runs/{run_id}")
def patch_run(run_id: str, changes: RunChanges, parts: PartsDep) -> RunOut:
    """Edit the name, notes, tags or priority of a run."""
    edit_run(parts, run_id, changes.model_dump(exclude_unset=True))
    return as_json(*find_run(parts, run_id))


@api.get("/runs/{run_id}/metrics")
def get_metrics(
    run_id: str,
    parts: PartsDep,
    names: Annotated[str, Query(max_length=2000, description="Comma-separated metric names (default: all).")] = "",
    points: Annotated[
        int, Query(ge=0, le=1_000_000, description="Maximum number of points per curve; 0: all points.")
    ] = 1000,
    first: Annotated[
        int | None, Query(ge=SMALLEST_STEP, le=LARGEST_STEP, description="First step (default: start of the curve).")
    ] = None,
    last: Annotated[
        int | None, Query(ge=SMALLEST_STEP, le=LARGEST_STEP, description="Last step (default: end of the curve).")
    ] = None,
) -> dict[str, CurveOut]:
    """Get metric curves, downsampled to the minimum and maximum of each interval so that no spike is lost.

    Narrow the range with ``first`` and ``last`` to get a higher resolution.
    """
    find_run(parts, run_id)
    requested = [name.strip() for name in names.split(",") if name.strip()] or None
    with reading(parts.engine) as connection:
        ends = (SMALLEST_STEP if first is None else first, LARGEST_STEP if last is None else last)
        within = None if first is None and last is None else ends
        curves = read_curves(connection, run_id, requested, points, within)
        known = read_summaries(connection, [run_id])[run_id] if requested else {}
    missing = [name for name in requested or [] if name not in known]
    if missing:
        available = ", ".join(known) or "none yet"
        sentence = f"no metric '{missing[0][:60]}' in this run; metrics: {available}"
        raise Invalid(sentence, [FieldError("names", sentence)])
    return {name: CurveOut(**curve_as_json(curve)) for name, curve in curves.items()}


@api.get("/runs/{run_id}/logs")
def get_logs(run_id: str, parts: PartsDep, tail: Annotated[int, Query(ge=1, le=10_000)] = 200) -> LogsOut:
    """Get the last log lines of a run, oldest first."""
    find_run(parts, run_id)
    with reading(parts.engine) as connection:
        return LogsOut(lines=[LogLineOut(**line) for line in read_lines(connection, run_id, tail=tail)])


@api.get("/runs/{run_id}/events", response_class=StreamingResponse)
async def get_events(
    run_id: str,
    parts: PartsDep,
    after: Annotated[str, Query(max_length=60, description="ID of the last event received.")] = "0",
    last_event_id: Annotated[str | None, Header(max_length=60)] = None,
) -> StreamingResponse:
    """Stream server-sent events of a run: status, progress, metrics, log, reset (reload the curves) and end.

    Pass the last event ID to resume without gaps.
    """
    try:
        cursor = Cursor.parse(after if last_event_id is None else last_event_id)
    except ValueError as error:
        raise Invalid("after must be an event ID of this stream, or 0", [FieldError("after", str(error))]) from error
    await run_in_threadpool(find_run, parts, run_id)
    return event_stream(parts.hub.watch(run_id, cursor))


@api.get("/events", response_class=StreamingResponse)
async def get_all_events(parts: PartsDep) -> StreamingResponse:
    """Stream server-sent events: "changed" whenever any run or worker changes."""
    return event_stream(parts.hub.watch_all())


def event_stream(frames: AsyncIterator[bytes]) -> StreamingResponse:
    """Return a server-sent event response that proxies must not cache or buffer."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(frames, media_type="text/event-stream", headers=headers)


@api.post("/runs/{run_id}/cancel")
def post_cancel(run_id: str, parts: PartsDep) -> RunOut:
    """Stop a run: immediately if queued, else before the next step, after saving a checkpoint."""
    cancel(parts, run_id)
    return as_json(*find_run(parts, run_id))


@api.delete("/runs/{run_id}", status_code=204)
def delete_run(run_id: str, parts: PartsDep) -> None:
    """Move an ended run to the trash; it can be restored for some days."""
    delete(parts, run_id)


@api.post("/runs/{run_id}/restore")
def post_restore(run_id: str, parts: PartsDep) -> RunOut:
    """Restore a run from the trash."""
    restore(parts, run_id)
    return as_json(*find_run(parts, run_id))
