"""/sweeps: the list of sweeps; /sweeps/{id}: one sweep's progress, best run, parameter importance and runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from app.actions.sweeps import extend_by, restore_stopped, stop_sweep
from app.analysis.importance import METHOD
from app.contract.command import template_line
from app.contract.errors import Conflict, to_field_errors
from app.contract.spec import FieldError, SpecError
from app.contract.sweep import SweepSpec
from app.contract.sweep_label import describe_values
from app.routes.launch.multiple_values import read_values
from app.routes.sweeps.charts import best_so_far, scatters
from app.routes.sweeps.status import SweepStatus, read_status, swept_command
from app.store import sweep as store
from app.store.bulk import restorable
from app.store.database import reading
from app.store.sweep import Counts, SweepRecord, SweepRun
from app.web.dependencies import CatalogDep, Parts, PartsDep
from app.web.formatting import upper_first
from app.web.numbers import Count, Timestamp
from app.web.redirects import go_back

pages = APIRouter()

LISTED = 30
ROWS = 100
MOST_BARS = 12
# The order of the states in the progress bar.
BAR = ("succeeded", "pruned", "failed", "cancelled", "finishing", "running", "starting", "cancelling", "lost", "queued")


@dataclass(frozen=True)
class Part:
    """A segment of the progress bar: runs in one state; ``at`` and ``wide`` in percent."""

    state: str
    count: int
    at: str
    wide: str


@dataclass(frozen=True)
class Bar:
    """A sweep's progress: segments by state, and the number of runs ``to_come``."""

    parts: list[Part]
    planned: int
    ended: int
    to_come: int


def bar_of(record: SweepRecord, counts: Counts) -> Bar:
    """Return a sweep's progress bar."""
    numbers = dict(counts.states)
    numbers["cancelled"] = numbers.get("cancelled", 0) - counts.pruned
    numbers["pruned"] = counts.pruned
    running = record.status == "running"
    whole = max(record.planned if running else 0, counts.made, 1)
    parts, at = [], 0.0
    for state in BAR:
        count = numbers.get(state, 0)
        if count:
            wide = 100 * count / whole
            parts.append(Part(state, count, f"{at:.3f}%", f"{wide:.3f}%"))
            at += wide
    return Bar(
        parts, whole if counts.made or running else 0, counts.ended, max(0, whole - counts.made) if running else 0
    )


def _board(status: SweepStatus, everything: bool) -> dict[str, Any]:
    best, spec = status.best, status.spec
    rows = status.ranked if everything else status.ranked[:ROWS]
    return {
        "sweep": status,
        "record": status.record,
        "spec": spec,
        "fields": status.fields,
        "bar": bar_of(status.record, status.counts),
        "best": best,
        "rows": rows,
        "hidden": len(status.ranked) - len(rows),
        "everything": everything,
        "scatters": scatters(status.fields, spec, status.runs, best, status.importances),
        "best_so_far": best_so_far(spec, status.direction, status.runs, best),
        "importances": list(status.importances.items())[:MOST_BARS],
        "importance_method": METHOD,
        "configurations": status.configurations[:ROWS] if status.several_seeds else [],
        "said": describe_values,
        "field_name": field_name,
        "command": swept_command(status.record),
        "template_line": template_line,
    }


def field_name(name: str) -> str:
    """Return a swept field's display name."""
    return name.removeprefix("option.").replace("_", " ")


def _read(parts: Parts, sweep: str, everything: bool) -> dict[str, Any]:
    with reading(parts.engine) as connection:
        return _board(read_status(connection, parts, sweep), everything)


@pages.get("/sweeps")
def sweeps_page(request: Request, parts: PartsDep, after: Count | None = None) -> HTMLResponse:
    """Show the list of sweeps, newest first."""
    return parts.templates.page(request, "sweeps.html", **_listed(parts, after))


@pages.get("/sweeps/list")
def sweeps_list(request: Request, parts: PartsDep, after: Count | None = None) -> HTMLResponse:
    """Return the list without the page around it."""
    return parts.templates.fragment(request, "_sweeps.html", **_listed(parts, after))


@dataclass(frozen=True)
class Row:
    """A sweep in the list."""

    record: SweepRecord
    spec: SweepSpec
    bar: Bar
    best: SweepRun | None


def _listed(parts: Parts, after: int | None) -> dict[str, Any]:
    with reading(parts.engine) as connection:
        records = store.list_sweeps(connection, LISTED + 1, after)
        counts = store.count_runs(connection, [record.id for record in records])
        rows = []
        for record in records[:LISTED]:
            spec = record.spec
            direction = store.direction_of(spec.metric, spec.direction)
            best = store.best_run(connection, record.id, spec.metric, direction)
            rows.append(Row(record, spec, bar_of(record, counts[record.id]), best))
    return {"rows": rows, "after": after, "next": rows[-1].record.number if len(records) > LISTED else None}


@pages.get("/sweeps/{sweep_id}")
def sweep_page(
    sweep_id: str,
    request: Request,
    parts: PartsDep,
    rows: str = "",
    undo: Timestamp = 0.0,
    stopped: Count = 0,
    back_again: Count = 0,
) -> HTMLResponse:
    """Show a sweep."""
    with reading(parts.engine) as connection:
        undoable = len(restorable(connection, undo)) if undo else 0
    notices: dict[str, Any] = {"undo": undo, "undoable": undoable, "stopped": stopped, "back_again": back_again}
    values = _read(parts, sweep_id, rows == "all")
    return parts.templates.page(request, "sweep.html", wrong={}, more={}, **notices, **values)


@pages.get("/sweeps/{sweep_id}/board")
def sweep_board(sweep_id: str, request: Request, parts: PartsDep, rows: str = "") -> HTMLResponse:
    """Return the part of a sweep's page that changes while it runs."""
    return parts.templates.fragment(request, "_sweep.html", **_read(parts, sweep_id, rows == "all"))


@pages.post("/sweeps/{sweep_id}/stop")
def stop(sweep_id: str, parts: PartsDep) -> RedirectResponse:
    """Stop all runs of a sweep; those that had not started can be restored."""
    done = stop_sweep(parts, sweep_id)
    undo = repr(done.at) if done.cancelled else ""
    return go_back(f"/sweeps/{sweep_id}", "/sweeps", undo=undo, stopped=len(done.stopping))


@pages.post("/sweeps/{sweep_id}/restore")
def restore(sweep_id: str, parts: PartsDep, undo: Annotated[Timestamp, Form()]) -> RedirectResponse:
    """Undo the stop of a sweep."""
    with reading(parts.engine) as connection:
        runs = restorable(connection, undo)
    if runs:
        restore_stopped(parts, sweep_id, runs)
    return go_back(f"/sweeps/{sweep_id}", "/sweeps", back_again=len(runs))


@pages.post("/sweeps/{sweep_id}/extend")
async def extend(sweep_id: str, request: Request, parts: PartsDep, catalog: CatalogDep) -> Response:
    """Extend a sweep, or show the page again with the errors."""
    async with request.form(max_files=0, max_fields=60) as posted:
        more = {name: value.strip() for name, value in posted.items() if isinstance(value, str) and value.strip()}
    try:
        await extend_by(parts, catalog, sweep_id, _more(more))
    except (SpecError, Conflict) as error:
        if isinstance(error, SpecError):
            status, wrong = 422, {problem.field: f"{upper_first(problem.message)}." for problem in error.errors}
        else:
            status, wrong = error.status, {"": error.sentence}
        values = await run_in_threadpool(_read, parts, sweep_id, False)
        nothing = {"undo": None, "undoable": 0, "stopped": 0, "back_again": 0}
        return await run_in_threadpool(
            lambda: parts.templates.page(request, "sweep.html", status, wrong=wrong, more=more, **nothing, **values)
        )
    return RedirectResponse(f"/sweeps/{sweep_id}", 303)


def _more(given: dict[str, str]) -> SweepSpec:
    """Return what the extend form adds. Raises SpecError."""
    counts: dict[str, Any] = {}
    for name in ("seeds", "draws"):
        if name in given:
            if not re.fullmatch(r"[0-9]{1,9}", given[name]) or not 0 < int(given[name]) <= 1000:
                raise SpecError([FieldError(name, f"{name} must be a whole number from 1 to 1,000")])
            counts[name] = int(given[name])
    grid = {
        name.removeprefix("grid."): read_values(name[5:], words) for name, words in given.items() if name[:5] == "grid."
    }
    try:
        return SweepSpec(**counts, **({"grid": grid} if grid else {}))
    except ValidationError as error:
        raise SpecError(to_field_errors(error.errors())) from error
