"""/runs/{id}: one run, its figures, curves, log and configuration."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from sqlalchemy import Connection, text

from app.charts import Chart, charts_of_run
from app.deps import Parts, PartsDep
from app.drawing import Points, draw, read_controls
from app.errors import NotFound
from app.facts import Facts, changed_settings, facts_with_places, settings_of, steps_per_epoch
from app.live import curve_as_json
from app.routes.runs.again import around
from app.store.database import reading
from app.store.log import read_lines
from app.store.metric import read_curves, read_summaries
from app.store.query import runs_by_id
from app.store.run import RunRecord
from app.store.worker import list_workers

pages = APIRouter()

LONGEST_EMBEDDED = 5000


def _find_facts(connection: Connection, parts: Parts, run_id: str) -> Facts:
    rows = runs_by_id(connection, [run_id])
    if not rows:
        raise NotFound(f"no run '{run_id[:40]}'")
    workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
    return facts_with_places(connection, rows, workers)[0]


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
            name: curve_as_json(held.curve) | {"per_epoch": held.steps_per_epoch, "started": held.started} | _ends(held)
            for name, held in points.items()
        },
    }


def _ends(held: Points) -> dict[str, list[float | None]]:
    if held.band is None:
        return {}
    ends = {"low": held.band.low, "high": held.band.high}
    return {name: [each if each - each == 0 else None for each in end.tolist()] for name, end in ends.items()}


@pages.get("/runs/{run_id}")
def run_page(
    run_id: str, request: Request, parts: PartsDep, x: str = "", smoothing: str = "", log: str = ""
) -> HTMLResponse:
    """One run, complete without a script: figures, curves, log, configuration."""
    set_by_viewer = read_controls(x, smoothing, log)
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
        **around(parts, shown.run),
    )


def _side(shown: Facts) -> dict[str, Any]:
    config = shown.run.config
    return {"settings": settings_of(config), "changed": changed_settings(config)}


@pages.get("/runs/{run_id}/head")
def run_head(run_id: str, request: Request, parts: PartsDep) -> HTMLResponse:
    """What changes on a run's page beside its curves and its log."""
    with reading(parts.engine) as connection:
        shown = _find_facts(connection, parts, run_id)
    values = _side(shown) | around(parts, shown.run, whole=False)
    return parts.templates.fragment(request, "_run_update.html", facts=shown, **values)


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
