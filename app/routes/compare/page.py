"""/compare: the page that overlays curves and compares metrics and settings of runs, or of groups over seeds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from sqlalchemy import Connection

from app.analysis.curves import Points
from app.analysis.groups import (
    group_runs,
    grouping_fields,
    mean_curve,
    settings_varying_within,
    short_titles,
    with_distinct_names,
)
from app.charts.chart_specs import Chart, Compared, charts_of_comparison
from app.charts.payload import points_as_json
from app.charts.points import SMOOTHED_AT_ONCE, is_noisy, read_points
from app.charts.svg import draw
from app.contract.metric_names import is_share
from app.routes.compare.baseline import deltas_of_groups, deltas_of_runs
from app.routes.compare.comparison import Comparison
from app.routes.compare.divergence import group_splits, run_splits
from app.routes.compare.figures import (
    deciding_metric,
    differences,
    group_rows,
    lines,
    metrics_of_groups,
    standings_by_metric,
)
from app.routes.compare.flops import FlopsDep
from app.routes.compare.pair import never_right, pair_of, wants_two
from app.routes.compare.parallel import SweptMetric, parallel
from app.routes.compare.scatter import COSTS, scatter
from app.routes.compare.verdict import group_verdict, run_verdict
from app.store.database import reading
from app.store.run import resolve_run
from app.store.search.query import RunFilter, RunRow, list_runs, runs_by_id
from app.store.sweep import direction_of, load_sweep, read_runs
from app.web.dependencies import Parts, PartsDep
from app.web.run_selection import MOST_RUNS, ComparisonQuery, ComparisonQueryDep, split_ids
from app.web.run_summary import metric_name, summarize_run

pages = APIRouter()

CURVE_POINTS = 2000
FEWEST_POINTS = 600
ALL_POINTS = 120_000
"""The most points of all curves together on a page, with at least FEWEST_POINTS of each curve."""
PICKED_ROWS = 30
STANDARD = ("val/acc", "val/loss", "train/loss", "train/acc")


def read_comparison(connection: Connection, query: ComparisonQuery) -> Comparison:
    """Load the requested runs that exist, grouped if ``by`` says so or if a configuration has several seeds."""
    by = query.by
    rows = runs_by_id(connection, query.ids[:MOST_RUNS])
    summaries = with_distinct_names([summarize_run(row) for row in rows])
    problem = ""
    try:
        fields = grouping_fields(by, summaries)
    except ValueError as error:
        fields, problem = None, str(error)
    groups = group_runs(summaries, fields) if fields is not None and rows else None
    settings = "all" if query.settings == "all" else ""
    swept = _swept_metric(connection, rows)
    return Comparison(rows, summaries, by, groups, problem, query.baseline, settings, swept)


def _swept_metric(connection: Connection, rows: list[RunRow]) -> SweptMetric | None:
    """Return the metric of the sweep that all these runs belong to, if they execute a command."""
    sweeps = {row.run.sweep for row in rows if row.run.executed}
    sweep = load_sweep(connection, next(iter(sweeps)) or "") if len(sweeps) == 1 else None
    if sweep is None or not all(row.run.sweep == sweep.id for row in rows):
        return None
    metric = sweep.spec.metric
    runs = read_runs(connection, sweep.id, metric, direction_of(metric, sweep.spec.direction))
    return SweptMetric(metric, {run.id: run.value for run in runs if run.value is not None})


@pages.get("/compare")
def compare_page(request: Request, parts: PartsDep, query: ComparisonQueryDep, flops: FlopsDep) -> Response:
    """Render the comparison; without runs, a list to choose from."""
    requested = query.ids
    if len(query.runs) > 1 or "back" in request.query_params:
        # A form with checkboxes was submitted: redirect to an address that can be shared.
        return RedirectResponse(f"/compare?runs={quote(','.join(requested), safe=',')}", 303)
    with reading(parts.engine) as connection:
        ids = [resolve_run(connection, run) for run in requested]
        if ids != requested:
            return RedirectResponse(f"/compare?{request.url.include_query_params(runs=','.join(ids)).query}", 303)
        comparison = read_comparison(connection, query)
        controls = comparison.controls(query)
        existing = {row.run.id for row in comparison.rows}
        values = table_values(comparison, query.cost, flops) | {
            "missing": [run_id for run_id in requested[:MOST_RUNS] if run_id not in existing],
            "left_out": max(0, len(requested) - MOST_RUNS),
            "most": MOST_RUNS,
            "controls": controls,
            "live_ids": [row.run.id for row in comparison.rows if row.run.live],
        }
        if not comparison.rows:
            recent = list_runs(connection, RunFilter(), "-number", PICKED_ROWS, None, time.time())
            # Previously selected runs come first.
            selected = {row.run.id: row for row in runs_by_id(connection, split_ids(query.picked)[:MOST_RUNS])}
            pickable = [
                summarize_run(row) for row in ({**selected} | {row.run.id: row for row in recent.rows}).values()
            ]
            values |= {"pickable": pickable, "picked": set(selected)}
            return parts.templates.page(request, "compare_select.html", **values)
        charts, points = read_charts(connection, comparison, controls.smoothing, SMOOTHED_AT_ONCE)
    values |= _image_values(parts, comparison)
    values["split_data"] = [asdict(split) for split in values["splits"]]
    return parts.templates.page(
        request,
        "compare.html",
        boxes=[(chart, draw(chart, points, controls)) for chart in charts],
        data=points_as_json(charts, points, 0),
        **values,
    )


@pages.get("/compare/figures")
def compare_figures(request: Request, parts: PartsDep, query: ComparisonQueryDep, flops: FlopsDep) -> HTMLResponse:
    """Render the tables again while a run is live."""
    with reading(parts.engine) as connection:
        comparison = read_comparison(connection, query)
    values = table_values(comparison, query.cost, flops) | _image_values(parts, comparison)
    return parts.templates.fragment(request, "_compare_update.html", **values)


def _image_values(parts: Parts, comparison: Comparison) -> dict[str, Any]:
    return {
        "pair": pair_of(parts, comparison),
        "never": never_right(parts, comparison),
        "wants_two": wants_two(comparison),
    }


@pages.get("/compare/points")
def compare_points(parts: PartsDep, query: ComparisonQueryDep) -> JSONResponse:
    """Return the charts and points of the comparison."""
    with reading(parts.engine) as connection:
        comparison = read_comparison(connection, query)
        smoothing = comparison.controls(query).smoothing
        charts, points = read_charts(connection, comparison, smoothing) if comparison.rows else ([], {})
    return JSONResponse(points_as_json(charts, points, 0))


def table_values(comparison: Comparison, cost: str, flops: Mapping[str, int]) -> dict[str, Any]:
    """Return the template values of the tables; ``flops`` by run ID if that is the chosen cost."""
    summaries = comparison.summaries
    baseline_position = comparison.baseline_position
    differing, equal = differences(summaries, bool(comparison.settings))
    values: dict[str, Any] = {
        "runs": summaries,
        "lines": lines(summaries),
        "deltas": None
        if baseline_position is None or comparison.groups is not None
        else deltas_of_runs(summaries, baseline_position),
        "splits": run_splits(summaries) if comparison.groups is None else group_splits(comparison.groups),
        "comparison": comparison,
        "place": baseline_position,
        "differences": differing,
        "equal": equal,
        "address": comparison.address,
        "live": comparison.live,
        "by": comparison.by,
        "problem": comparison.problem,
        "groups": None,
        "verdict": run_verdict(summaries),
    }
    if comparison.groups is not None:
        standing = standings_by_metric(comparison.groups)
        by = deciding_metric(standing)
        values |= {
            "groups": group_rows(comparison.groups, standing),
            "group_deltas": None
            if baseline_position is None
            else deltas_of_groups(comparison.groups, baseline_position),
            "headings": [metric.title for metric in metrics_of_groups(comparison.groups)],
            "decisive": by.removeprefix("best "),
            "verdict": group_verdict(standing[by], by),
        }
        values["differences"], values["equal"] = differences(
            [group.runs[0] for group in comparison.groups],
            bool(comparison.settings),
            settings_varying_within(comparison.groups),
        )
    figure = values.get("decisive") or (
        "test/acc" if sum(summary.test_acc is not None for summary in summaries) > 1 else "val/acc"
    )
    values["scatter"] = scatter(summaries, comparison.groups, figure.removeprefix("best "), cost, flops)
    values["parallel"] = parallel(summaries, comparison.groups, comparison.swept)
    values |= {"costs": list(COSTS), "cost": cost if cost in COSTS else ""}
    return values


# Curves --------------------------------------------------------------------------------------------------------------


def read_charts(
    connection: Connection, comparison: Comparison, smoothing: float, at_once: int | None = None
) -> tuple[list[Chart], dict[str, Points]]:
    """Return the charts and their points; noisy curves are smoothed only up to ``at_once`` points in total."""
    if comparison.groups is not None:
        compared, points = _mean_curves(connection, comparison, smoothing)
    else:
        titles = short_titles([summary.name for summary in comparison.summaries])
        compared = [
            Compared(row.run.id, title, row.run.number, _curves(row), f"/runs/{row.run.id}")
            for row, title in zip(comparison.rows, titles, strict=True)
        ]
        count = sum(len(each.curves) for each in compared)
        most = max(FEWEST_POINTS, min(CURVE_POINTS, ALL_POINTS // max(1, count)))
        points = _read_points(connection, comparison.rows, most, smoothing, at_once and at_once // len(comparison.rows))
    charts = charts_of_comparison(compared)
    # A metric that only one of the runs has cannot be compared.
    return [chart for chart in charts if len(chart.series) > 1 or chart.title in STANDARD or len(compared) == 1], points


def _curves(row: RunRow) -> dict[str, str]:
    """Return metric names by chart title; the main metric of a multi-head run overlays that of a single-head run."""
    curves: dict[str, str] = {}
    for title in STANDARD:
        stage, _, last = title.partition("/")
        name = metric_name(row.summary, row.run.config, stage, last)
        if name is not None:
            curves[title] = name
    shown = set(curves.values())
    return curves | {
        name: name for name in row.summary if (row.run.logged or name.startswith("val/")) and name not in shown
    }


def _read_points(
    connection: Connection, rows: Sequence[RunRow], most: int, smoothing: float = 0.0, at_once: int | None = None
) -> dict[str, Points]:
    points: dict[str, Points] = {}
    for row in rows:
        names = list(_curves(row).values())
        curves = read_points(connection, row.run, most, smoothing, names, at_once=at_once)
        points |= {f"{row.run.id}:{name}": curve for name, curve in curves.items()}
    return points


def _mean_curves(
    connection: Connection, comparison: Comparison, smoothing: float
) -> tuple[list[Compared], dict[str, Points]]:
    """Return the mean curves of every group, from all points, because downsampled extremes do not give a mean."""
    points_by_curve = _read_points(connection, comparison.rows, 0)
    curves = {row.run.id: _curves(row) for row in comparison.rows}
    compared, points = [], {}
    groups = comparison.groups or []
    for group, title in zip(groups, short_titles([group.title for group in groups]), strict=True):
        ids = [summary.run.id for summary in group.samples]
        charts = list(dict.fromkeys(chart for run_id in ids for chart in curves[run_id]))
        own_charts = {}
        for chart in charts:
            members = [
                points_by_curve[key]
                for run_id in ids
                if (name := curves[run_id].get(chart)) and (key := f"{run_id}:{name}") in points_by_curve
            ]
            mean = mean_curve(members, smoothing if is_noisy(chart) else None, is_share(chart)) if members else None
            if mean is not None:
                own_charts[chart] = chart
                points[f"{group.key}:{chart}"] = mean
        label = title if len(ids) == 1 else f"{title} (mean of {len(ids)})"
        compared.append(Compared(group.key, label, group.number, own_charts))
    return compared, points
