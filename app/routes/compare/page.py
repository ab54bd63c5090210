"""/compare: curves over one another, figures side by side, what differs; runs of the same variant as one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from sqlalchemy import Connection

from app.analysis.curves import Points
from app.analysis.groups import Group, fields_of_grouping, grouped, mean_curve, varying_within, with_distinct_names
from app.charts.catalog import Chart, Compared, charts_of_comparison
from app.charts.drawing import Controls, draw, read_controls
from app.charts.payload import points_as_json
from app.charts.points import SMOOTHED_AT_ONCE, is_noisy, is_share, read_points
from app.routes.compare.baseline import deltas_of_groups, deltas_of_runs, place_of
from app.routes.compare.divergence import splits_of, splits_of_groups
from app.routes.compare.figures import FIGURES, decisive, differences, group_rows, lines, standings_of
from app.routes.compare.flops import FlopsDep
from app.routes.compare.parallel import parallel
from app.routes.compare.scatter import COSTS, scatter
from app.routes.compare.verdict import verdict, verdict_of_groups
from app.store.database import reading
from app.store.search.query import RunFilter, RunRow, list_runs, runs_by_id
from app.web.dependencies import PartsDep
from app.web.run_selection import MOST_RUNS, Asked, AskedDep, named
from app.web.run_summary import RunSummary, metric_name, summarize_run

pages = APIRouter()

CURVE_POINTS = 2000
FEWEST_POINTS = 600
ALL_POINTS = 120_000
"""So many points of all curves together a page carries, but of each curve FEWEST_POINTS."""
PICKED_ROWS = 30
STANDARD = ("val/acc", "val/loss", "train/loss", "train/acc")


@dataclass(frozen=True)
class Comparison:
    """The runs of a page, and their groups where they are shown as groups."""

    rows: list[RunRow]
    shown: list[RunSummary]
    by: str
    groups: list[Group] | None
    wrong: str
    baseline: str = ""
    settings: str = ""

    @property
    def place(self) -> int | None:
        """Where the baseline stands among the runs or groups."""
        return place_of(self.baseline, self.shown, self.groups)

    @property
    def address(self) -> str:
        """The page's own address."""
        return self.address_with()

    def address_with(self, **changes: str) -> str:
        """The same with some of it changed: by, baseline, settings."""
        known = {"by": self.by, "baseline": self.baseline if self.place is not None else "", "settings": self.settings}
        said = [f"&{name}={quote(value, safe=',')}" for name, value in (known | changes).items() if value]
        return f"/compare?runs={','.join(row.run.id for row in self.rows)}{''.join(said)}"

    def controls(self, asked: Asked) -> Controls:
        """How its charts are shown; over epochs, unless the viewer says otherwise or nobody knows how long they are."""
        default = "step" if any(row.run.logged for row in self.rows) else "epoch"
        # The mean of several runs has no place by the clock.
        x = default if asked.x == "clock" and self.groups is not None else asked.x
        return read_controls(x, asked.smoothing, asked.log, default, 0.8)

    @property
    def live(self) -> bool:
        """Whether a run can still change."""
        return any(row.run.live for row in self.rows)


def read_comparison(connection: Connection, asked: Asked) -> Comparison:
    """The runs asked for that there are, by groups where ``by`` says so or finds several seeds of something."""
    by = asked.by
    rows = runs_by_id(connection, asked.ids[:MOST_RUNS])
    shown = with_distinct_names([summarize_run(row) for row in rows])
    wrong = ""
    try:
        fields = fields_of_grouping(by, shown)
    except ValueError as error:
        fields, wrong = None, str(error)
    groups = grouped(shown, fields) if fields is not None and rows else None
    return Comparison(rows, shown, by, groups, wrong, asked.baseline, "all" if asked.settings == "all" else "")


@pages.get("/compare")
def compare_page(request: Request, parts: PartsDep, asked: AskedDep, flops: FlopsDep) -> Response:
    """Curves over one another, figures side by side, and what differs; without runs, a list to choose from."""
    wanted = asked.ids
    if len(asked.runs) > 1 or "back" in request.query_params:
        # What a form of checkboxes asks for, as an address that can be shared.
        return RedirectResponse(f"/compare?runs={quote(','.join(wanted), safe=',')}", 303)
    with reading(parts.engine) as connection:
        found = read_comparison(connection, asked)
        set_by_viewer = found.controls(asked)
        there = {row.run.id for row in found.rows}
        values = figures_of(found, asked.cost, flops) | {
            "missing": [run_id for run_id in wanted[:MOST_RUNS] if run_id not in there],
            "left_out": max(0, len(wanted) - MOST_RUNS),
            "most": MOST_RUNS,
            "controls": set_by_viewer,
            "live_ids": [row.run.id for row in found.rows if row.run.live],
        }
        if not found.rows:
            recent = list_runs(connection, RunFilter(), "-number", PICKED_ROWS, None, time.time())
            # Those that were chosen before stand first.
            chosen = {row.run.id: row for row in runs_by_id(connection, named(asked.picked)[:MOST_RUNS])}
            pickable = [summarize_run(row) for row in ({**chosen} | {row.run.id: row for row in recent.rows}).values()]
            values |= {"pickable": pickable, "picked": set(chosen)}
            return parts.templates.page(request, "compare_pick.html", **values)
        charts, points = curves_of(connection, found, set_by_viewer.smoothing, SMOOTHED_AT_ONCE)
    values["split_data"] = [asdict(split) for split in values["splits"]]
    return parts.templates.page(
        request,
        "compare.html",
        boxes=[(chart, draw(chart, points, set_by_viewer)) for chart in charts],
        data=points_as_json(charts, points, 0),
        **values,
    )


@pages.get("/compare/figures")
def compare_figures(request: Request, parts: PartsDep, asked: AskedDep, flops: FlopsDep) -> HTMLResponse:
    """The tables of figures, while one of the runs lives."""
    with reading(parts.engine) as connection:
        found = read_comparison(connection, asked)
    return parts.templates.fragment(request, "_compare_update.html", **figures_of(found, asked.cost, flops))


@pages.get("/compare/points")
def compare_points(parts: PartsDep, asked: AskedDep) -> JSONResponse:
    """The charts and points of the page."""
    with reading(parts.engine) as connection:
        found = read_comparison(connection, asked)
        weight = found.controls(asked).smoothing
        charts, points = curves_of(connection, found, weight) if found.rows else ([], {})
    return JSONResponse(points_as_json(charts, points, 0))


def figures_of(found: Comparison, cost: str, flops: Mapping[str, int]) -> dict[str, Any]:
    """What the tables of the page show; ``flops`` of the runs where the cost is that."""
    shown = found.shown
    place = found.place
    differing, equal = differences(shown, bool(found.settings))
    values: dict[str, Any] = {
        "runs": shown,
        "lines": lines(shown),
        "deltas": None if place is None or found.groups is not None else deltas_of_runs(shown, place),
        "splits": splits_of(shown) if found.groups is None else splits_of_groups(found.groups),
        "comparison": found,
        "place": place,
        "differences": differing,
        "equal": equal,
        "address": found.address,
        "live": found.live,
        "by": found.by,
        "wrong": found.wrong,
        "groups": None,
        "verdict": verdict(shown),
    }
    if found.groups is not None:
        standing = standings_of(found.groups)
        by = decisive(standing)
        values |= {
            "groups": group_rows(found.groups, standing),
            "group_deltas": None if place is None else deltas_of_groups(found.groups, place),
            "headings": [each.name for each in FIGURES],
            "decisive": by,
            "verdict": verdict_of_groups(standing[by], by),
        }
        values["differences"], values["equal"] = differences(
            [group.runs[0] for group in found.groups], bool(found.settings), varying_within(found.groups)
        )
    figure = values.get("decisive") or (
        "test/acc" if sum(each.test_acc is not None for each in shown) > 1 else "val/acc"
    )
    values["scatter"] = scatter(shown, found.groups, figure.removeprefix("best "), cost, flops)
    values["parallel"] = parallel(shown, found.groups)
    values |= {"costs": list(COSTS), "cost": cost if cost in COSTS else ""}
    return values


# Curves --------------------------------------------------------------------------------------------------------------


def curves_of(
    connection: Connection, found: Comparison, smoothing: float, at_once: int | None = None
) -> tuple[list[Chart], dict[str, Points]]:
    """The charts of the page and their points; ``at_once``: so many points of noisy curves are smoothed, more not."""
    if found.groups is not None:
        compared, points = _means(connection, found, smoothing)
    else:
        compared = [
            Compared(row.run.id, each.name, each.number, _curves(row), f"/runs/{row.run.id}")
            for row, each in zip(found.rows, found.shown, strict=True)
        ]
        count = sum(len(each.curves) for each in compared)
        most = max(FEWEST_POINTS, min(CURVE_POINTS, ALL_POINTS // max(1, count)))
        points = _points_of(connection, found.rows, most, smoothing, at_once and at_once // len(found.rows))
    charts = charts_of_comparison(compared)
    # A head that only one of the runs has compares with nothing.
    return [chart for chart in charts if len(chart.series) > 1 or chart.title in STANDARD or len(compared) == 1], points


def _curves(row: RunRow) -> dict[str, str]:
    """A run's curves by title; what stands for a run with several heads lies over what stands for a run with one."""
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


def _points_of(
    connection: Connection, rows: Sequence[RunRow], most: int, smoothing: float = 0.0, at_once: int | None = None
) -> dict[str, Points]:
    points: dict[str, Points] = {}
    for row in rows:
        names = list(_curves(row).values())
        held = read_points(connection, row.run, most, smoothing, names, at_once=at_once)
        points |= {f"{row.run.id}:{name}": each for name, each in held.items()}
    return points


def _means(connection: Connection, found: Comparison, smoothing: float) -> tuple[list[Compared], dict[str, Points]]:
    """Every group's curves as means; of all points, since the extremes of a stretch say nothing of its mean."""
    each = _points_of(connection, found.rows, 0)
    curves = {row.run.id: _curves(row) for row in found.rows}
    compared, points = [], {}
    for group in found.groups or []:
        ids = [facts.run.id for facts in group.samples]
        titles = list(dict.fromkeys(title for run_id in ids for title in curves[run_id]))
        known = {}
        for title in titles:
            held = [
                each[key]
                for run_id in ids
                if (name := curves[run_id].get(title)) and (key := f"{run_id}:{name}") in each
            ]
            mean = mean_curve(held, smoothing if is_noisy(title) else None, is_share(title)) if held else None
            if mean is not None:
                known[title] = title
                points[f"{group.key}:{title}"] = mean
        label = group.title if len(ids) == 1 else f"{group.title} (mean of {len(ids)})"
        compared.append(Compared(group.key, label, group.number, known))
    return compared, points
