"""/runs/{id}: one run, its figures, curves, log and configuration."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from sqlalchemy import Connection, text

from app.analysis.curves import Points
from app.charts.catalog import Chart, charts_of_run, expected_names, with_overlays
from app.charts.drawing import draw, read_controls
from app.charts.overlays import BEST, EARLIER, Overlays, pickable, read_forecast, read_overlays
from app.charts.payload import points_as_json
from app.charts.points import SMOOTHED_AT_ONCE, read_points
from app.contract.errors import NotFound
from app.routes.runs.live_changes import control_of
from app.routes.runs.rerun import around
from app.store.bulk import restorable
from app.store.database import reading
from app.store.log import read_lines
from app.store.search.query import RunFilter, list_runs, runs_by_id
from app.store.worker import list_workers
from app.web.dependencies import Parts, PartsDep
from app.web.numbers import Count, Timestamp
from app.web.run_summary import RunSummary, changed_settings, settings_of, summaries_with_positions

pages = APIRouter()

LOG_LINES = 400
MANY_CHARTS = 4
# What a run is known by; all else that is as its recipe says is folded away.
ESSENTIAL = ("family", "size", "dataset", "targets", "recipe", "epochs", "batch_size", "optimizer", "lr", "seed")

With = Annotated[list[str], Query(alias="with", max_length=40)]


def _find_summarize_run(connection: Connection, parts: Parts, run_id: str) -> RunSummary:
    rows = runs_by_id(connection, [run_id])
    if not rows:
        raise NotFound(f"no run '{run_id[:40]}'")
    workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
    return summaries_with_positions(connection, rows, workers)[0]


def _id_of(parts: Parts, number: str) -> str | None:
    """The run of a number, as people call it."""
    with reading(parts.engine) as connection:
        rows = list_runs(connection, RunFilter(number=[int(number)]), "-number", 1, None, time.time()).rows
    return rows[0].run.id if rows else None


def _newest_commit(connection: Connection) -> int:
    return int(connection.execute(text("SELECT value FROM commit_counter")).scalar_one())


@dataclass(frozen=True)
class Curves:
    """The charts of a run's page with their points, what else is laid over them, and the commit of all that."""

    commit: int
    charts: list[Chart]
    points: dict[str, Points]
    beside: Overlays

    def as_json(self) -> dict[str, Any]:
        """What `run.js` draws from."""
        return points_as_json(self.charts, self.points, self.commit) | {
            "baseline": self.beside.baseline,
            "beside_live": self.beside.live,
        }


def _curves(
    connection: Connection,
    shown: RunSummary,
    points: int | None,
    smoothing: float,
    at_once: int | None,
    said: list[str],
    baseline: str,
) -> Curves:
    run = shown.run
    found = read_points(connection, run, points, smoothing, at_once=at_once)
    expected = expected_names(run.config, run.device or "") if run.live and not run.logged else []
    beside = read_overlays(connection, shown, said, baseline, smoothing, at_once)
    charts = with_overlays(charts_of_run([*expected, *found], run.number), beside.others, beside.baseline)
    if run.logged:
        charts = [chart for chart in charts if chart.series]
    return Curves(_newest_commit(connection), charts, found | beside.points, beside)


@pages.get("/runs/{run_id}")
def run_page(
    run_id: str,
    request: Request,
    parts: PartsDep,
    x: str = "",
    smoothing: str = "",
    log: str = "",
    said: With = [],
    baseline: str = "",
    undo: Timestamp = 0.0,
    back_again: Count = 0,
) -> Response:
    """One run, complete without a script: figures, curves, log, configuration; its number leads to it as well."""
    set_by_viewer = read_controls(x, smoothing, log)
    if run_id.isdecimal() and len(run_id) < 19 and (found := _id_of(parts, run_id)):
        return RedirectResponse(f"/runs/{found}", 303)
    # One transaction, so that the stream goes on exactly where the page ends.
    with reading(parts.engine) as connection:
        shown = _find_summarize_run(connection, parts, run_id)
        curves = _curves(connection, shown, None, set_by_viewer.smoothing, SMOOTHED_AT_ONCE, said, baseline)
        lines = read_lines(connection, run_id, tail=LOG_LINES)
        others = pickable(connection, shown)
        undoable = len(restorable(connection, undo)) if undo else 0
        foretold = _foretold(connection, shown)
    control = control_of(parts, run_id)
    boxes = [(chart, draw(chart, curves.points, set_by_viewer, control["events"])) for chart in curves.charts]
    return parts.templates.page(
        request,
        "run.html",
        facts=shown,
        controls=set_by_viewer,
        groups=[(group, list(some)) for group, some in groupby(boxes, lambda box: box[0].group)],
        many=len(boxes) > MANY_CHARTS,
        data=curves.as_json(),
        commit=curves.commit,
        lines=lines,
        beside=curves.beside,
        pickable=others,
        undo=undo,
        undoable=undoable,
        back_again=back_again,
        tokens={
            BEST: "the best so far on " + shown.run.config.dataset,
            EARLIER: "mean of earlier runs of this configuration",
        },
        **foretold,
        **_side(shown),
        **around(parts, shown.run),
        **control,
    )


def _foretold(connection: Connection, shown: RunSummary) -> dict[str, Any]:
    forecast, comparable = read_forecast(connection, shown) if shown.run.live and not shown.run.logged else (None, 0)
    return {"forecast": forecast, "comparable": comparable}


def _side(shown: RunSummary) -> dict[str, Any]:
    config = shown.run.config
    settings = {
        name: value
        for name, value in settings_of(config).items()
        if value not in (None, [], {}, "") and not (name == "auxiliary" and not value)
    }
    changed = changed_settings(config)
    logged = shown.run.logged
    first = {name: settings[name] for name in settings if logged or name in changed or name in ESSENTIAL}
    return {
        "first": first,
        "rest": {name: settings[name] for name in settings if name not in first},
        "changed": changed,
    }


@pages.get("/runs/{run_id}/head")
def run_head(run_id: str, request: Request, parts: PartsDep) -> HTMLResponse:
    """What changes on a run's page beside its curves and its log."""
    with reading(parts.engine) as connection:
        shown = _find_summarize_run(connection, parts, run_id)
    values = _side(shown) | around(parts, shown.run, whole=False)
    return parts.templates.fragment(request, "_run_update.html", facts=shown, **values)


@pages.get("/runs/{run_id}/forecast")
def run_forecast(run_id: str, request: Request, parts: PartsDep) -> HTMLResponse:
    """How a run will probably end, told anew after each epoch."""
    with reading(parts.engine) as connection:
        shown = _find_summarize_run(connection, parts, run_id)
        foretold = _foretold(connection, shown)
    return parts.templates.fragment(request, "_run_forecast.html", facts=shown, **foretold)


@pages.get("/runs/{run_id}/points")
def run_points(
    run_id: str,
    parts: PartsDep,
    points: Annotated[int | None, Query(ge=0, le=1_000_000)] = None,
    smoothing: Annotated[float, Query(ge=0, lt=1)] = 0.0,
    said: With = [],
    baseline: str = "",
) -> JSONResponse:
    """The charts and points of a run's page, with the commit they were read at."""
    with reading(parts.engine) as connection:
        shown = _find_summarize_run(connection, parts, run_id)
        found = _curves(connection, shown, points, smoothing, None, said, baseline)
    return JSONResponse(found.as_json())


@pages.get("/runs/{run_id}/points/part")
def run_points_of_a_part(
    run_id: str,
    parts: PartsDep,
    first: Annotated[int, Query(ge=0, lt=2**32)],
    last: Annotated[int, Query(ge=0, lt=2**32)],
    names: Annotated[str, Query(max_length=6000)] = "",
    points: Annotated[int, Query(ge=2, le=20_000)] = 2000,
    smoothing: Annotated[float, Query(ge=0, lt=1)] = 0.0,
) -> JSONResponse:
    """Finer points of the curves with these names, by comma, from the first to the last of these steps."""
    with reading(parts.engine) as connection:
        record = _find_summarize_run(connection, parts, run_id).run
        found = read_points(connection, record, points, smoothing, words_of_names(names), (first, last))
    return JSONResponse({"first": first, "last": last, "points": points_as_json([], found, 0)["points"]})


def words_of_names(names: str) -> list[str] | None:
    """Names of curves, all of them where none is said."""
    return [name for part in names.split(",") if (name := part.strip())] or None
