"""/: active runs, queue, workers and recent runs; /now: the part of the page that refreshes on changes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection

from app.charts.svg import spark
from app.routes.queue import queue_rows
from app.store.bulk import restorable
from app.store.database import reading
from app.store.metric import Curve, read_curves
from app.store.search.query import RunFilter, RunRow, active_runs, count_runs, ended_runs
from app.store.turn import QueueRules
from app.store.worker import WorkerRecord, list_workers
from app.web.dependencies import Parts, PartsDep
from app.web.numbers import Count, Timestamp
from app.web.run_summary import RunSummary, metric_name, summarize_run

pages = APIRouter()

QUEUE_ROWS = 10
FINISHED_ROWS = 8
SPARK_POINTS = 120


@dataclass(frozen=True)
class Card:
    """A run on the board: its summary and one representative curve."""

    summary: RunSummary
    curve_name: str
    spark: str


def card(connection: Connection, row: RunRow) -> Card:
    """Return a run with a sparkline of its validation accuracy, or of its training loss before the first validation."""
    for stage, last in (("val", "acc"), ("train", "loss")):
        name = metric_name(row.summary, row.run.config, stage, last)
        if name is not None:
            curves: dict[str, Curve] = read_curves(connection, row.run.id, [name], SPARK_POINTS)
            drawn = spark(curves.get(name), SPARK_POINTS)
            if drawn:
                return Card(summarize_run(row), name, drawn)
    return Card(summarize_run(row), "", "")


def board(parts: Parts) -> dict[str, Any]:
    """Return the template values of the page."""
    now = time.time()
    with reading(parts.engine) as connection:
        workers: list[WorkerRecord] = list_workers(connection, now, parts.settings.lease_seconds)
        waiting, page = queue_rows(connection, workers, QUEUE_ROWS, QueueRules.of(parts.settings))
        active = active_runs(connection)
        return {
            "active": [card(connection, row) for row in active],
            "waiting": waiting,
            "queued": page.total,
            "paused": page.paused_at is not None,
            "workers": workers,
            "finished": [card(connection, row) for row in ended_runs(connection, FINISHED_ROWS)],
            "everything": count_runs(connection, RunFilter()),
            "titles": {row.run.id: row.run.title for row in active},
        }


@pages.get("/")
def now_page(
    request: Request,
    parts: PartsDep,
    undo: Timestamp = 0.0,
    back_again: Count = 0,
) -> HTMLResponse:
    """Show the board."""
    with reading(parts.engine) as connection:
        undoable = len(restorable(connection, undo)) if undo else 0
    values: dict[str, Any] = {"undo": undo, "undoable": undoable, "back_again": back_again} | board(parts)
    return parts.templates.page(request, "now.html", **values)


@pages.get("/now")
def now_board(request: Request, parts: PartsDep) -> HTMLResponse:
    """Return the board without the page around it."""
    return parts.templates.fragment(request, "_board.html", **board(parts))


@pages.get("/now/yard")
def now_yard(request: Request, parts: PartsDep) -> HTMLResponse:
    """Return the header's status chips, and what the page says about disks."""
    return parts.templates.page(request, "_yard.html")
