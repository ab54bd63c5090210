"""/runs/{id}: the page of a run with its metrics, curves, log and configuration."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from sqlalchemy import Connection, text

from app.analysis.curves import Points
from app.charts.chart_specs import Chart, charts_of_run, expected_names, with_overlays
from app.charts.overlays import BEST, EARLIER, Overlays, pickable, read_forecast, read_overlays
from app.charts.payload import points_as_json
from app.charts.points import SMOOTHED_AT_ONCE, read_points
from app.charts.svg import draw, read_controls
from app.contract.datasets import DATASETS
from app.contract.errors import NotFound
from app.contract.steps import LARGEST_STEP, SMALLEST_STEP
from app.routes.runs.exports import export_context
from app.routes.runs.live_changes import control_context
from app.routes.runs.rerun import rerun_context
from app.store.alias import list_aliases
from app.store.bulk import restorable
from app.store.database import reading
from app.store.disk_use import disk_use
from app.store.log import read_lines
from app.store.search.query import runs_by_id
from app.store.sweep import load_sweep
from app.store.turn import QueueRules
from app.store.worker import list_workers
from app.web.dependencies import Parts, PartsDep
from app.web.numbers import Count, Timestamp
from app.web.run_summary import RunSummary, changed_settings, settings_of, summaries_with_positions

pages = APIRouter()

LOG_LINES = 400
MANY_CHARTS = 4
# Settings that are always shown; others that equal the recipe's defaults are folded away.
ESSENTIAL = ("family", "size", "dataset", "targets", "recipe", "epochs", "batch_size", "optimizer", "lr", "seed")

With = Annotated[list[str], Query(alias="with", max_length=40)]


def _load_summary(connection: Connection, parts: Parts, run_id: str) -> RunSummary:
    rows = runs_by_id(connection, [run_id])
    if not rows:
        raise NotFound(f"no run '{run_id[:40]}'")
    workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
    return summaries_with_positions(connection, rows, workers, QueueRules.of(parts.settings))[0]


def _sweep_number(connection: Connection, summary: RunSummary) -> int | None:
    sweep = load_sweep(connection, summary.run.sweep) if summary.run.sweep else None
    return sweep.number if sweep else None


def _newest_commit(connection: Connection) -> int:
    return int(connection.execute(text("SELECT value FROM commit_counter")).scalar_one())


@dataclass(frozen=True)
class Curves:
    """The charts of a run page with their points and overlays, and the commit at which they were read."""

    commit: int
    charts: list[Chart]
    points: dict[str, Points]
    overlays: Overlays

    def as_json(self) -> dict[str, Any]:
        """Return the data that `run.js` draws."""
        return points_as_json(self.charts, self.points, self.commit) | {
            "baseline": self.overlays.baseline,
            "beside_live": self.overlays.live,
        }


def _curves(
    connection: Connection,
    summary: RunSummary,
    points: int | None,
    smoothing: float,
    at_once: int | None,
    requested: list[str],
    baseline: str,
) -> Curves:
    run = summary.run
    points_by_name = read_points(connection, run, points, smoothing, at_once=at_once)
    expected = expected_names(run.config, run.device or "") if run.live and not run.logged else []
    overlays = read_overlays(connection, summary, requested, baseline, smoothing, at_once)
    charts = with_overlays(charts_of_run([*expected, *points_by_name], run.number), overlays.others, overlays.baseline)
    if run.logged:
        charts = [chart for chart in charts if chart.series]
    return Curves(_newest_commit(connection), charts, points_by_name | overlays.points, overlays)


@pages.get("/runs/{run_id}")
def run_page(
    run_id: str,
    request: Request,
    parts: PartsDep,
    x: str = "",
    smoothing: str = "",
    log: str = "",
    requested: With = [],
    baseline: str = "",
    undo: Timestamp = 0.0,
    back_again: Count = 0,
    kept: Count = 0,
) -> Response:
    """Render the page of a run, complete without JavaScript."""
    controls = read_controls(x, smoothing, log)
    # One transaction, so that the event stream continues exactly where the page ends.
    with reading(parts.engine) as connection:
        summary = _load_summary(connection, parts, run_id)
        curves = _curves(connection, summary, None, controls.smoothing, SMOOTHED_AT_ONCE, requested, baseline)
        lines = read_lines(connection, run_id, tail=LOG_LINES)
        pickable_runs = pickable(connection, summary)
        undoable = len(restorable(connection, undo)) if undo else 0
        forecast_values = _forecast_context(connection, summary)
        sweep_number = _sweep_number(connection, summary)
        names = _model_names(connection, run_id)
        disk = disk_use(connection, run_id)
    control = control_context(parts, run_id)
    boxes = [(chart, draw(chart, curves.points, controls, control["events"])) for chart in curves.charts]
    return parts.templates.page(
        request,
        "run.html",
        summary=summary,
        controls=controls,
        groups=[(group, list(members)) for group, members in groupby(boxes, lambda box: box[0].group)],
        many=len(boxes) > MANY_CHARTS,
        data=curves.as_json(),
        commit=curves.commit,
        lines=lines,
        overlays=curves.overlays,
        pickable=pickable_runs,
        undo=undo,
        undoable=undoable,
        back_again=back_again,
        kept=kept,
        sweep_number=sweep_number,
        disk=disk,
        tokens={
            BEST: "best successful run on " + summary.run.config.dataset,
            EARLIER: "mean of earlier runs with this configuration",
        },
        **names,
        **forecast_values,
        **_configuration_context(summary),
        **rerun_context(parts, summary.run),
        **export_context(parts, run_id),
        **control,
    )


def _model_names(connection: Connection, run_id: str) -> dict[str, Any]:
    """Model names that point to this run, and those that point elsewhere."""
    found = list_aliases(connection)
    return {
        "aliases": [alias.name for alias in found if alias.run == run_id],
        "other_aliases": [alias.name for alias in found if alias.run != run_id],
    }


def _forecast_context(connection: Connection, summary: RunSummary) -> dict[str, Any]:
    forecast, comparable = (
        read_forecast(connection, summary) if summary.run.live and not summary.run.logged else (None, 0)
    )
    return {"forecast": forecast, "comparable": comparable}


def _configuration_context(summary: RunSummary) -> dict[str, Any]:
    config = summary.run.config
    settings = {
        name: value
        for name, value in settings_of(config).items()
        if value not in (None, [], {}, "") and not (name == "auxiliary" and not value)
    }
    changed = changed_settings(config)
    logged = summary.run.logged
    first = {name: settings[name] for name in settings if logged or name in changed or name in ESSENTIAL}
    return {
        "first": first,
        "rest": {name: settings[name] for name in settings if name not in first},
        "changed": changed,
        "dataset_url": "" if logged else _dataset_url(config.dataset),
    }


def _dataset_url(key: str) -> str:
    """The page of a dataset, or of the version of an own one; empty for one that was deleted."""
    found = DATASETS.get(key)
    if found is None:
        return ""
    return f"/datasets/{found.name}" + (f"?version={found.version}" if found.version else "")


@pages.get("/runs/{run_id}/head")
def run_head(run_id: str, request: Request, parts: PartsDep) -> HTMLResponse:
    """Render the parts of a run page that change, except curves and log."""
    with reading(parts.engine) as connection:
        summary = _load_summary(connection, parts, run_id)
        sweep_number = _sweep_number(connection, summary)
        disk = disk_use(connection, run_id)
    values = (
        {"sweep_number": sweep_number, "disk": disk}
        | _configuration_context(summary)
        | rerun_context(parts, summary.run, with_environment=False)
    )
    return parts.templates.fragment(request, "_run_update.html", summary=summary, **values)


@pages.get("/runs/{run_id}/forecast")
def run_forecast(run_id: str, request: Request, parts: PartsDep) -> HTMLResponse:
    """Render the forecast of a run, refreshed after each epoch."""
    with reading(parts.engine) as connection:
        summary = _load_summary(connection, parts, run_id)
        forecast_values = _forecast_context(connection, summary)
    return parts.templates.fragment(request, "_run_forecast.html", summary=summary, **forecast_values)


@pages.get("/runs/{run_id}/model-names")
def run_model_names(run_id: str, request: Request, parts: PartsDep) -> HTMLResponse:
    """Render the model names of a run, which can point to it once it has a checkpoint."""
    with reading(parts.engine) as connection:
        run = _load_summary(connection, parts, run_id).run
        names = _model_names(connection, run_id)
    return parts.templates.fragment(request, "_run_aliases.html", run=run, **names)


@pages.get("/runs/{run_id}/points")
def run_points(
    run_id: str,
    parts: PartsDep,
    points: Annotated[int | None, Query(ge=0, le=1_000_000)] = None,
    smoothing: Annotated[float, Query(ge=0, lt=1)] = 0.0,
    requested: With = [],
    baseline: str = "",
) -> JSONResponse:
    """Return the charts and points of a run page, with the commit at which they were read."""
    with reading(parts.engine) as connection:
        summary = _load_summary(connection, parts, run_id)
        curves = _curves(connection, summary, points, smoothing, None, requested, baseline)
    return JSONResponse(curves.as_json())


@pages.get("/runs/{run_id}/points/part")
def run_points_of_a_part(
    run_id: str,
    parts: PartsDep,
    first: Annotated[int, Query(ge=SMALLEST_STEP, le=LARGEST_STEP)],
    last: Annotated[int, Query(ge=SMALLEST_STEP, le=LARGEST_STEP)],
    names: Annotated[str, Query(max_length=6000)] = "",
    points: Annotated[int, Query(ge=2, le=20_000)] = 2000,
    smoothing: Annotated[float, Query(ge=0, lt=1)] = 0.0,
) -> JSONResponse:
    """Return the named curves (comma-separated) at a higher resolution between two steps."""
    with reading(parts.engine) as connection:
        record = _load_summary(connection, parts, run_id).run
        points_by_name = read_points(connection, record, points, smoothing, split_names(names), (first, last))
    return JSONResponse({"first": first, "last": last, "points": points_as_json([], points_by_name, 0)["points"]})


def split_names(names: str) -> list[str] | None:
    """Split comma-separated curve names; None (all curves) if there are none."""
    return [name for part in names.split(",") if (name := part.strip())] or None
