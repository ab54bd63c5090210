"""/runs: launch, list, watch, stop and delete runs."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import APIRouter, Depends, Form, Header, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, StreamingResponse
from pydantic import BaseModel
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from starlette.concurrency import run_in_threadpool

from app import notices
from app.contract.catalogue import Catalogue
from app.contract.datasets import DATASETS
from app.contract.spec import FieldError, RunConfig, RunSpec, resolve
from app.deps import CatalogueDep, Parts, PartsDep
from app.drawing import AXES, Chart, Controls, Points, charts_of_run, draw, spark
from app.errors import Conflict, Invalid, NotFound
from app.facts import Facts, changed_settings, facts_with_place, metric_name, settings_of, steps_per_epoch
from app.live import Cursor, curve_as_json
from app.rendering import iso, local_path, wants_fragment
from app.store import run as run_store
from app.store.database import next_commit, reading, writing
from app.store.log import read_lines
from app.store.metric import Summary, read_curves, read_summaries
from app.store.query import RunFilter, RunRow, count_by_status, list_runs, runs_by_id
from app.store.run import RunRecord
from app.store.worker import WorkerRecord, list_workers

api = APIRouter(tags=["runs"])
pages = APIRouter()


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
    """A run. ``spec`` has every blank filled; ``asked`` is what its launcher said. Times in ISO 8601, UTC."""

    id: str
    number: int
    url: str
    title: str
    status: str
    reason: str
    attempt: int
    params: int | None
    spec: RunConfig
    asked: dict[str, Any]
    tags: list[str]
    progress: dict[str, Any]
    summary: dict[str, SummaryOut]
    environment: dict[str, Any]
    worker: str
    device: str
    created: str
    started: str | None
    ended: str | None
    seconds: float | None


class RunsOut(BaseModel):
    """One page of runs; pass ``next`` as ``after`` to get the following one."""

    runs: list[RunOut]
    next: str | None
    total: int


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
    if record.started_at is None:
        return None
    return round(float((record.ended_at or time.time()) - record.started_at), 3)


def as_json(record: RunRecord, summary: dict[str, Summary]) -> RunOut:
    """A run as the API answers it."""
    return RunOut(
        id=record.id,
        number=record.number,
        url=f"/runs/{record.id}",
        title=record.title,
        status=record.status,
        reason=record.reason,
        attempt=record.attempt,
        params=record.params,
        spec=record.config,
        asked=record.asked_spec,
        tags=record.tags,
        progress=record.progress,
        summary={
            name: SummaryOut(
                last=figures.last,
                last_step=figures.last_step,
                best=figures.best,
                best_step=figures.best_step,
                min=figures.min,
                max=figures.max,
                points=figures.points,
                not_finite=figures.not_finite,
            )
            for name, figures in summary.items()
        },
        environment=record.environment,
        worker=record.worker,
        device=record.device,
        created=iso(record.created_at) or "",
        started=iso(record.started_at),
        ended=iso(record.ended_at),
        seconds=seconds_of(record),
    )


def find_run(parts: Parts, run_id: str) -> tuple[RunRecord, dict[str, Summary]]:
    """A run and its summaries. Raises NotFound."""
    with reading(parts.engine) as connection:
        record = run_store.load_run(connection, run_id)
        if record is None:
            raise NotFound(f"no run '{run_id[:40]}'")
        return record, read_summaries(connection, [run_id])[run_id]


# What routes and pages do --------------------------------------------------------------------------------------------


def launch(parts: Parts, catalogue: Catalogue, spec: RunSpec, idempotency_key: str | None = None) -> str:
    """Queue a run and wake a worker; returns its id. Raises SpecError."""
    config = resolve(spec, catalogue)
    size = catalogue.families[config.family].size(config.size)
    plain = size is not None and not config.options and len(config.targets) == 1 and not config.auxiliary
    default_target = plain and config.targets == [first_target(config.dataset)]
    params = size.params[config.dataset] if size is not None and default_target else None
    asked = spec.model_dump(exclude_unset=True)
    try:
        with writing(parts.engine) as connection:
            run_id = run_store.insert_run(connection, config, asked, params, time.time(), idempotency_key)
            record = run_store.load_run(connection, run_id, deleted=True)
    except IntegrityError as error:
        raise Conflict("another run was launched with this key at the same moment; ask again") from error
    if record is not None and record.status == "queued":
        notices.wake_workers(parts.redis, parts.celery, 1)
        notices.announce(parts.redis, record.status_commit, run_id, "status")
    return run_id


def first_target(dataset: str) -> str:
    """The target that a dataset is trained on when none is named."""
    return DATASETS[dataset].targets[0].name


def cancel(parts: Parts, run_id: str) -> str:
    """Stop a run; returns the status it has now. Raises NotFound."""
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        grace = parts.settings.cancel_seconds + parts.settings.lease_seconds
        status = run_store.request_cancel(connection, run_id, commit, time.time(), grace)
    if status is None:
        raise NotFound(f"no run '{run_id[:40]}'")
    if status == "cancelling":
        notices.nudge_cancel(parts.redis, run_id)
    notices.announce(parts.redis, commit, run_id, "status")
    return status


def delete(parts: Parts, run_id: str) -> None:
    """Put a run into the trash. Raises NotFound, or Conflict while it has not ended."""
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        done = run_store.delete_run(connection, run_id, commit, time.time())
        record = run_store.load_run(connection, run_id)
    if not done:
        if record is None:
            raise NotFound(f"no run '{run_id[:40]}'")
        raise Conflict(f"this run is {record.status}; stop it before you delete it")
    notices.announce(parts.redis, commit, run_id, "status")


def restore(parts: Parts, run_id: str) -> None:
    """Take a run out of the trash. Raises NotFound."""
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        done = run_store.restore_run(connection, run_id, commit)
    if not done:
        raise NotFound(f"no deleted run '{run_id[:40]}'")
    notices.announce(parts.redis, commit, run_id, "status")


# API -----------------------------------------------------------------------------------------------------------------


@api.post("/runs", status_code=201)
def post_run(
    spec: RunSpec,
    parts: PartsDep,
    catalogue: CatalogueDep,
    response: Response,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> RunOut:
    """Launch a run. The same Idempotency-Key gives back the run that it launched before."""
    run_id = launch(parts, catalogue, spec, idempotency_key)
    response.headers["location"] = f"/api/v1/runs/{run_id}"
    return as_json(*find_run(parts, run_id))


@api.get("/runs")
def get_runs(
    parts: PartsDep,
    status: Annotated[list[str], Query()] = [],
    family: Annotated[list[str], Query()] = [],
    size: Annotated[list[str], Query()] = [],
    dataset: Annotated[list[str], Query()] = [],
    tag: Annotated[list[str], Query()] = [],
    q: Annotated[str, Query(max_length=200)] = "",
    sort: Annotated[str, Query(max_length=100)] = "-number",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    after: Annotated[str | None, Query(max_length=500)] = None,
) -> RunsOut:
    """Runs that match all filters; a filter given several times matches any of its values, ``tag`` all of them."""
    where = RunFilter(status, family, size, dataset, tag, q)
    with reading(parts.engine) as connection:
        page = list_runs(connection, where, sort, limit, after, time.time())
    return RunsOut(runs=[as_json(row.run, row.summary) for row in page.rows], next=page.next, total=page.total)


@api.get("/runs/{run_id}")
def get_run(run_id: str, parts: PartsDep) -> RunOut:
    """One run."""
    return as_json(*find_run(parts, run_id))


@api.get("/runs/{run_id}/metrics")
def get_metrics(
    run_id: str,
    parts: PartsDep,
    names: Annotated[str, Query(max_length=2000, description="Metrics by comma; all when left out.")] = "",
    points: Annotated[int, Query(ge=0, le=1_000_000, description="0: every point.")] = 1000,
) -> dict[str, CurveOut]:
    """Curves; reduced to the lowest and highest point of every stretch, so that no spike vanishes."""
    find_run(parts, run_id)
    wanted = [name.strip() for name in names.split(",") if name.strip()] or None
    with reading(parts.engine) as connection:
        curves = read_curves(connection, run_id, wanted, points)
    missing = [name for name in wanted or [] if name not in curves]
    if missing:
        with reading(parts.engine) as connection:
            exist = ", ".join(read_summaries(connection, [run_id])[run_id]) or "none yet"
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


# Pages ---------------------------------------------------------------------------------------------------------------

PAGE_ROWS = 50
TRASH_IDS = 200
LONGEST_EMBEDDED = 5000


@dataclass(frozen=True)
class Listing:
    """What the run table shows, as its address says it."""

    q: str
    status: list[str]
    family: list[str]
    size: list[str]
    dataset: list[str]
    tag: list[str]
    sort: str
    after: str | None

    def address(self, **changes: Any) -> str:
        """The address of this table with some of it changed; a page deeper in only survives a change of nothing."""
        said = {**self.__dict__, **changes}
        if changes and "after" not in changes:
            said["after"] = None
        said["sort"] = None if said["sort"] == "-number" else said["sort"]
        query = urlencode([(name, value) for name, value in said.items() if value], doseq=True)
        return f"/runs?{query}" if query else "/runs"

    @property
    def filtered(self) -> bool:
        """Whether anything is left out."""
        return bool(self.q or self.status or self.family or self.size or self.dataset or self.tag)


@dataclass(frozen=True)
class Column:
    """A column of the run table, and the sort that a click on its head asks for."""

    key: str
    title: str
    css: str = ""
    first: str = ""

    def toggled(self, sort: str) -> str:
        """The sort after a click: the other way round where it is already sorted by this column."""
        if sort.lstrip("-") != self.key:
            return self.first + self.key
        return self.key if sort.startswith("-") else f"-{self.key}"

    def order(self, sort: str) -> str:
        """For ``aria-sort``."""
        if sort.lstrip("-") != self.key:
            return "none"
        return "descending" if sort.startswith("-") else "ascending"


COLUMNS = [
    Column("number", "run", first="-"),
    Column("status", "status"),
    Column("family", "family", "wide-only"),
    Column("size", "size", "wide-only"),
    Column("dataset", "dataset", "wide-only"),
    Column("params", "parameters", "n wide-only"),
    Column("val/acc", "best val/acc", "n", "-"),
    Column("test/acc", "test/acc", "n", "-"),
    Column("duration", "duration", "n", "-"),
    Column("started", "started", "n", "-"),
]


def listing(
    q: Annotated[str, Query(max_length=200)] = "",
    status: Annotated[list[str], Query()] = [],
    family: Annotated[list[str], Query()] = [],
    size: Annotated[list[str], Query()] = [],
    dataset: Annotated[list[str], Query()] = [],
    tag: Annotated[list[str], Query()] = [],
    sort: Annotated[str, Query(max_length=100)] = "-number",
    after: Annotated[str | None, Query(max_length=500)] = None,
) -> Listing:
    """The table that an address asks for; empty fields of the filter's form do not filter."""
    return Listing(
        q=q.strip(),
        status=_said(status),
        family=_said(family),
        size=_said(size),
        dataset=_said(dataset),
        tag=_said(tag),
        sort=sort or "-number",
        after=after or None,
    )


def _said(values: list[str]) -> list[str]:
    return [value for value in values if value]


ListingDep = Annotated[Listing, Depends(listing)]


def controls(
    x: str = "", smoothing: str = "", log: str = "", default_x: str = "step", default_smoothing: float = 0.6
) -> Controls:
    """What the address says about the charts; what makes no sense is as if it were not there."""
    try:
        weight = min(0.99, max(0.0, float(smoothing)))
    except ValueError:
        weight = default_smoothing
    weight = weight if math.isfinite(weight) else default_smoothing
    return Controls(x if x in AXES else default_x, weight, log == "1")


@pages.get("/runs")
def runs_page(
    request: Request,
    parts: PartsDep,
    shown: ListingDep,
    deleted: Annotated[str, Query(max_length=4000)] = "",
    restored: Annotated[int, Query(ge=0)] = 0,
    stopped: Annotated[int, Query(ge=0)] = 0,
    kept: Annotated[int, Query(ge=0)] = 0,
) -> HTMLResponse:
    """The run table; htmx gets only the table."""
    where = RunFilter(shown.status, shown.family, shown.size, shown.dataset, shown.tag, shown.q)
    with reading(parts.engine) as connection:
        page = list_runs(connection, where, shown.sort, PAGE_ROWS, shown.after, time.time())
        workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
        rows = [_table_row(connection, row, workers) for row in page.rows]
        everything = sum(count_by_status(connection).values())
        choices = _choices(connection)
    values: dict[str, Any] = {
        "shown": shown,
        "columns": COLUMNS,
        "rows": rows,
        "next": page.next,
        "total": page.total,
        "everything": everything,
        "refresh": _refresh_address(shown, [row.facts for row in rows], page.total),
        "fresh": 0,
    }
    if wants_fragment(request):
        table = parts.templates.fragment(request, "_runs.html", **values)
        table.headers["HX-Push-Url"] = shown.address()
        return table
    values |= {"choices": choices, "statuses": run_store.STATES, "deleted": _ids(deleted.split(","))}
    values |= {"restored": restored, "stopped": stopped, "kept": kept}
    return parts.templates.page(request, "runs.html", **values)


@pages.get("/runs/rows")
def runs_rows(
    request: Request,
    parts: PartsDep,
    shown: ListingDep,
    ids: Annotated[str, Query(max_length=4000)] = "",
    seen: Annotated[int, Query(ge=0)] = 0,
) -> HTMLResponse:
    """The rows of the runs that lived when they were last shown, to be put in the place of the old ones."""
    where = RunFilter(shown.status, shown.family, shown.size, shown.dataset, shown.tag, shown.q)
    with reading(parts.engine) as connection:
        workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
        found = runs_by_id(connection, _ids(ids.split(",")))
        rows = [_table_row(connection, row, workers) for row in found]
        total = list_runs(connection, where, shown.sort, 1, None, time.time()).total
    return parts.templates.fragment(
        request,
        "_runs_rows.html",
        rows=rows,
        shown=shown,
        fresh=max(0, total - seen),
        refresh=_refresh_address(shown, [row.facts for row in rows], seen),
    )


@dataclass(frozen=True)
class TableRow:
    facts: Facts
    spark: str


def _table_row(connection: Connection, row: RunRow, workers: list[WorkerRecord]) -> TableRow:
    name = metric_name(row.summary, row.run.config, "val", "acc")
    curves = read_curves(connection, row.run.id, [name], 60) if name else {}
    return TableRow(facts_with_place(connection, row, workers), spark(curves.get(name or "")))


def _choices(connection: Connection) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for column in ("family", "size", "dataset"):
        query = f"SELECT DISTINCT {column} FROM run WHERE deleted_at IS NULL ORDER BY {column}"
        found[column] = [str(value) for value in connection.execute(text(query)).scalars()]
    return found


def _refresh_address(shown: Listing, rows: list[Facts], seen: int) -> str:
    live = ",".join(row.run.id for row in rows if row.run.live)
    query = urlencode({"ids": live, "seen": seen})
    address = shown.address().replace("/runs", "/runs/rows", 1)
    return f"{address}{'&' if '?' in address else '?'}{query}"


def _ids(values: list[str]) -> list[str]:
    return list(dict.fromkeys(value.strip() for value in values if value.strip()))[:TRASH_IDS]


def _back(path: str, **said: Any) -> RedirectResponse:
    address = urlsplit(local_path(path, "/runs"))
    query = [(name, value) for name, value in parse_qsl(address.query) if name not in NOTICES]
    query += [(name, str(value)) for name, value in said.items() if value]
    return RedirectResponse(f"{address.path}?{urlencode(query)}" if query else address.path, 303)


NOTICES = ("deleted", "restored", "stopped", "kept")
RunsForm = Annotated[list[str], Form(max_length=TRASH_IDS)]
BackForm = Annotated[str, Form(max_length=4000)]


@pages.post("/runs/stop")
def stop_runs(parts: PartsDep, runs: RunsForm = [], back: BackForm = "/runs") -> RedirectResponse:
    """Stop the chosen runs; those that have ended stay as they are."""
    stopped = 0
    for run_id in _ids(runs):
        record, _ = find_run(parts, run_id)
        if record.live:
            cancel(parts, run_id)
            stopped += 1
    return _back(back, stopped=stopped)


@pages.post("/runs/delete")
def delete_runs(parts: PartsDep, runs: RunsForm = [], back: BackForm = "/runs") -> RedirectResponse:
    """Put the chosen runs into the trash; those that have not ended are kept."""
    deleted, kept = [], 0
    for run_id in _ids(runs):
        try:
            delete(parts, run_id)
            deleted.append(run_id)
        except Conflict:
            kept += 1
    return _back(back, deleted=",".join(deleted), kept=kept)


@pages.post("/runs/restore")
def restore_runs(parts: PartsDep, runs: RunsForm = [], back: BackForm = "/runs") -> RedirectResponse:
    """Undo a deletion."""
    restored = 0
    for run_id in _ids(runs):
        restore(parts, run_id)
        restored += 1
    return _back(back, restored=restored)


@pages.post("/runs/{run_id}/cancel")
def stop_run(run_id: str, parts: PartsDep, back: BackForm = "") -> RedirectResponse:
    """Stop one run."""
    cancel(parts, run_id)
    return RedirectResponse(local_path(back, f"/runs/{run_id}"), 303)


@pages.post("/runs/{run_id}/delete")
def delete_one(run_id: str, parts: PartsDep) -> RedirectResponse:
    """Put one run into the trash."""
    delete(parts, run_id)
    return _back("/runs", deleted=run_id)


# One run -------------------------------------------------------------------------------------------------------------


def _find_facts(connection: Connection, parts: Parts, run_id: str) -> Facts:
    rows = runs_by_id(connection, [run_id])
    if not rows:
        raise NotFound(f"no run '{run_id[:40]}'")
    workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
    return facts_with_place(connection, rows[0], workers)


def _newest_commit(connection: Connection) -> int:
    return int(connection.execute(text("SELECT value FROM commit_counter")).scalar_one())


def _read_points(connection: Connection, record: RunRecord, points: int) -> tuple[dict[str, Points], bool]:
    """The curves of a run, and whether they are whole."""
    curves = read_curves(connection, record.id, None, points)
    totals = read_summaries(connection, [record.id])[record.id]
    per_epoch = steps_per_epoch(record)
    whole = all(name in totals and len(curve.steps) >= totals[name].points for name, curve in curves.items())
    return {name: Points(curve, per_epoch, record.started_at) for name, curve in curves.items()}, whole


def points_as_json(charts: list[Chart], points: dict[str, Points], commit: int, whole: bool) -> dict[str, Any]:
    """What `charts.js` draws from."""
    return {
        "commit": commit,
        "whole": whole,
        "charts": [asdict(chart) for chart in charts],
        "points": {
            name: curve_as_json(held.curve) | {"per_epoch": held.steps_per_epoch, "started": held.started}
            for name, held in points.items()
        },
    }


@pages.get("/runs/{run_id}")
def run_page(
    run_id: str, request: Request, parts: PartsDep, x: str = "", smoothing: str = "", log: str = ""
) -> HTMLResponse:
    """One run, complete without a script: figures, curves, log, configuration."""
    set_by_viewer = controls(x, smoothing, log)
    # One transaction, so that the stream goes on exactly where the page ends.
    with reading(parts.engine) as connection:
        commit = _newest_commit(connection)
        shown = _find_facts(connection, parts, run_id)
        points, whole = _read_points(connection, shown.run, LONGEST_EMBEDDED)
        lines = read_lines(connection, run_id, tail=400)
    charts = charts_of_run(points, shown.number)
    return parts.templates.page(
        request,
        "run.html",
        facts=shown,
        controls=set_by_viewer,
        boxes=[(chart, draw(chart, points, set_by_viewer)) for chart in charts],
        data=points_as_json(charts, points, commit, whole),
        commit=commit,
        lines=lines,
        **_side(shown),
    )


def _side(shown: Facts) -> dict[str, Any]:
    config = shown.run.config
    return {"settings": settings_of(config), "changed": changed_settings(config)}


@pages.get("/runs/{run_id}/head")
def run_head(run_id: str, request: Request, parts: PartsDep) -> HTMLResponse:
    """What changes on a run's page beside its curves and its log."""
    with reading(parts.engine) as connection:
        shown = _find_facts(connection, parts, run_id)
    return parts.templates.fragment(request, "_run_update.html", facts=shown, **_side(shown))


@pages.get("/runs/{run_id}/points")
def run_points(
    run_id: str, parts: PartsDep, points: Annotated[int, Query(ge=0, le=1_000_000)] = LONGEST_EMBEDDED
) -> JSONResponse:
    """The charts and points of a run's page, with the commit they were read at."""
    with reading(parts.engine) as connection:
        commit = _newest_commit(connection)
        record = _find_facts(connection, parts, run_id).run
        found, whole = _read_points(connection, record, points)
    return JSONResponse(points_as_json(charts_of_run(found, record.number), found, commit, whole))
