"""/compare: several runs over one another."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import Connection

from app.contract.datasets import DATASETS
from app.deps import PartsDep
from app.drawing import Compared, Points, charts_of_comparison, draw, read_controls
from app.facts import Facts, facts, metric_name, settings_of, steps_per_epoch
from app.rendering import count, figure, metric_value, setting, short, span
from app.routes.runs.page import points_as_json
from app.store.database import reading
from app.store.metric import read_curves
from app.store.query import RunFilter, RunRow, list_runs, runs_by_id

pages = APIRouter()

MOST_RUNS = 32
CURVE_POINTS = 2000
PICKED_ROWS = 30
STANDARD = ("val/acc", "val/loss", "train/loss", "train/acc")


@dataclass(frozen=True)
class Cell:
    text: str
    best: bool


@dataclass(frozen=True)
class Line:
    """One figure of every run, the best ones marked where one is better than another."""

    title: str
    cells: list[Cell]


@dataclass(frozen=True)
class Difference:
    """A setting in which the runs differ."""

    name: str
    values: list[str]


def chosen_ids(runs: list[str]) -> list[str]:
    """The runs that an address names, once each: ?runs=a,b and ?runs=a&runs=b mean the same."""
    return list(dict.fromkeys(part.strip() for value in runs for part in value.split(",") if part.strip()))


@pages.get("/compare")
def compare_page(
    request: Request,
    parts: PartsDep,
    runs: Annotated[list[str], Query(max_length=200)] = [],
    x: str = "",
    smoothing: str = "",
    log: str = "",
) -> Response:
    """Curves over one another, figures side by side, and what differs; without runs, a list to choose from."""
    wanted = chosen_ids(runs)
    if len(runs) > 1 or "back" in request.query_params:
        # What a form of checkboxes asks for, as an address that can be shared.
        return RedirectResponse(f"/compare?runs={quote(','.join(wanted), safe=',')}", 303)
    set_by_viewer = read_controls(x, smoothing, log, "epoch", 0.8)
    with reading(parts.engine) as connection:
        rows = runs_by_id(connection, wanted[:MOST_RUNS])
        found = {row.run.id for row in rows}
        values = _compared(rows) | {
            "missing": [run_id for run_id in wanted[:MOST_RUNS] if run_id not in found],
            "left_out": max(0, len(wanted) - MOST_RUNS),
            "most": MOST_RUNS,
            "controls": set_by_viewer,
            "address": "/compare?runs=" + ",".join(row.run.id for row in rows),
            "live": any(row.run.live for row in rows),
            "live_ids": [row.run.id for row in rows if row.run.live],
        }
        if not rows:
            recent = list_runs(connection, RunFilter(), "-number", PICKED_ROWS, None, time.time())
            pickable = [facts(row) for row in recent.rows]
            return parts.templates.page(request, "compare_pick.html", pickable=pickable, **values)
        points = _read_points(connection, rows)
    charts = charts_of_comparison([_compared_run(row) for row in rows])
    # A head that only one of the runs has compares with nothing.
    charts = [chart for chart in charts if len(chart.series) > 1 or chart.title in STANDARD or len(rows) == 1]
    return parts.templates.page(
        request,
        "compare.html",
        boxes=[(chart, draw(chart, points, set_by_viewer)) for chart in charts],
        data=points_as_json(charts, points, 0, True),
        **values,
    )


@pages.get("/compare/figures")
def compare_figures(
    request: Request, parts: PartsDep, runs: Annotated[list[str], Query(max_length=200)] = []
) -> HTMLResponse:
    """The table of figures, while one of the runs lives."""
    with reading(parts.engine) as connection:
        rows = runs_by_id(connection, chosen_ids(runs)[:MOST_RUNS])
    address = "/compare?runs=" + ",".join(row.run.id for row in rows)
    live = any(row.run.live for row in rows)
    return parts.templates.fragment(request, "_compare_update.html", address=address, live=live, **_compared(rows))


def _compared_run(row: RunRow) -> Compared:
    """A run's curves; what stands for a run with several heads lies over what stands for a run with one."""
    curves: dict[str, str] = {}
    for title in STANDARD:
        stage, _, last = title.partition("/")
        name = metric_name(row.summary, row.run.config, stage, last)
        if name is not None:
            curves[title] = name
    shown = set(curves.values())
    curves |= {name: name for name in row.summary if name.startswith("val/") and name not in shown}
    return Compared(row.run.id, row.run.title, row.run.number, curves)


def _read_points(connection: Connection, rows: list[RunRow]) -> dict[str, Points]:
    points = {}
    for row in rows:
        names = list(_compared_run(row).curves.values())
        for name, curve in read_curves(connection, row.run.id, names, CURVE_POINTS).items():
            points[f"{row.run.id}:{name}"] = Points(curve, steps_per_epoch(row.run), row.run.started_at)
    return points


def _compared(rows: list[RunRow]) -> dict[str, Any]:
    shown = [facts(row) for row in rows]
    differences, equal = _differences(shown)
    return {
        "runs": shown,
        "lines": _lines(shown),
        "differences": differences,
        "equal": equal,
        "verdict": verdict(shown),
    }


def _lines(shown: list[Facts]) -> list[Line]:
    def accuracy(value: Any) -> str:
        return metric_value("acc", value)

    rows: list[tuple[str, Callable[[Facts], Any], Callable[[Any], str], int]] = [
        ("test/acc", lambda each: each.test_acc, accuracy, 1),
        ("best val/acc", lambda each: each.val_acc, accuracy, 1),
        ("best val/loss", lambda each: each.best_val_loss, figure, -1),
        ("parameters", lambda each: each.run.params, count, -1),
        ("duration", lambda each: each.seconds, span, -1),
        ("images a second", lambda each: each.samples_per_second, short, 1),
        ("epochs made", lambda each: each.epoch or None, count, 0),
    ]
    return [
        Line(title, _cells([value(each) for each in shown], written, better)) for title, value, written, better in rows
    ]


def _cells(values: list[Any], written: Callable[[Any], str], better: int) -> list[Cell]:
    there = [value for value in values if value is not None]
    decides = better and len(set(there)) > 1
    best = (max(there) if better > 0 else min(there)) if decides else None
    return [Cell(written(value), decides != 0 and value is not None and value == best) for value in values]


def _differences(shown: list[Facts]) -> tuple[list[Difference], int]:
    settings = [settings_of(each.run.config) for each in shown]
    names = list(dict.fromkeys(name for each in settings for name in each))
    differing = [name for name in names if len({repr(each.get(name)) for each in settings}) > 1]
    found = [Difference(name.replace("_", " "), [setting(each.get(name)) for each in settings]) for name in differing]
    return found, len(names) - len(differing)


@dataclass(frozen=True)
class Verdict:
    """A sentence about the two best runs, and what stands behind it."""

    sentence: str
    behind: str


def verdict(shown: list[Facts]) -> Verdict | None:
    """How far the best run is ahead of the next one, if both were tested on the same images."""
    tested = sorted((each for each in shown if each.test_acc is not None), key=lambda each: -(each.test_acc or 0))
    if len(tested) < 2:
        return None
    first, second = tested[0], tested[1]
    if first.run.config.dataset != second.run.config.dataset or first.run.config.targets != second.run.config.targets:
        return None
    high, low = first.test_acc or 0.0, second.test_acc or 0.0
    images = DATASETS[first.run.config.dataset].test if first.run.config.dataset in DATASETS else 0
    chance = 196 * math.sqrt((high * (1 - high) + low * (1 - low)) / images) if images else 0.0
    points = 100 * (high - low)
    names = (f"#{first.number} {first.run.title}", f"#{second.number} {second.run.title}")
    if points == 0:
        sentence = f"{names[0]} and {names[1]} are equally good on the test images."
    elif points <= chance:
        sentence = f"{names[0]} and {names[1]} cannot be told apart by test/acc: {points:.2f} points between them."
    else:
        sentence = f"{names[0]} is ahead of {names[1]} by {points:.2f} points of test/acc."
    behind = f"One run each; {images:,} test images alone leave ± {chance:.2f} points (95 %)."
    if first.run.params and second.run.params and first.run.params != second.run.params:
        behind += f" It has {first.run.params / second.run.params:.2g} times the parameters"
        behind += (
            f" and took {first.seconds / second.seconds:.2g} times as long."
            if first.seconds and second.seconds
            else "."
        )
    return Verdict(sentence, behind)
