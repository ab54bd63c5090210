"""/runs/{id}/predictions: confusion matrix, scores by class and calibration of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import Field

from app.actions.runs import find_run
from app.analysis.calibration import Coverage, calibration, coverage
from app.analysis.class_scores import ClassScores, class_scores
from app.analysis.confusion import ORDERS, Counts, Order, accuracy, class_order, confusion_matrix, top_confusions
from app.contract.datasets import DATASETS
from app.contract.predictions import Predictions
from app.routes.predictions.view import View, ViewQuery, shown, view_of, why_not_predicted
from app.store.model_job import JobRecord
from app.store.run import RunRecord
from app.web.dependencies import Parts, PartsDep
from app.web.rendering import wants_fragment

pages = APIRouter()

TABLE_CLASSES = 20
"""With more classes, the matrix is drawn as a picture instead of a table."""
MAX_ROWS = 200
CONFUSIONS = 12
SHADES = 10
THRESHOLD = 0.9

By = Literal["class", "precision", "recall", "f1", "support"]
COLUMNS: tuple[By, ...] = ("class", "precision", "recall", "f1", "support")


class PageQuery(ViewQuery):
    """order: of the classes in the matrix. show: numbers of images, or shares of the true class. by: column that sorts
    the classes; "-f1" in descending order. threshold: for accuracy against coverage.
    """

    order: Order = "class"
    show: Literal["counts", "shares"] = "counts"
    by: str = Field("recall", max_length=20)
    threshold: float = Field(THRESHOLD, ge=0, le=1)


PageQueryDep = Annotated[PageQuery, Query()]


@dataclass(frozen=True)
class Cell:
    """A cell of the matrix. ``shade``: 0 to SHADES, the share of the true class."""

    true: int
    predicted: int
    count: int
    share: float
    shade: int


@dataclass(frozen=True)
class ClassRow:
    """Scores of one class."""

    number: int
    name: str
    precision: float
    recall: float
    f1: float
    support: int


def _cells(matrix: Counts, order: list[int]) -> list[tuple[int, list[Cell]]]:
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    # A single mistake among thousands is seen too.
    shades = np.where(matrix > 0, np.clip(np.ceil(np.sqrt(shares) * SHADES), 1, SHADES), 0).astype(int)
    return [
        (row, [Cell(row, col, int(matrix[row, col]), float(shares[row, col]), int(shades[row, col])) for col in order])
        for row in order
    ]


def _class_rows(scores: ClassScores, names: tuple[str, ...], by: str) -> list[ClassRow]:
    columns = (scores.precision, scores.recall, scores.f1, scores.support)
    rows = [
        ClassRow(number, name, *values)
        for number, (name, *values) in enumerate(zip(names, *(column.tolist() for column in columns), strict=True))
    ]
    column = by.removeprefix("-")
    if column in COLUMNS[1:]:
        rows.sort(key=lambda row: getattr(row, column), reverse=by.startswith("-"))
    elif by == "-class":
        rows.reverse()
    return rows


def _matrix_data(matrix: Counts, order: list[int], view: View, query: PageQuery) -> dict[str, Any]:
    found = np.flatnonzero(matrix)
    return {
        "classes": len(matrix),
        "names": view.names,
        "order": order,
        "show": query.show,
        "cells": found.tolist(),
        "counts": matrix.ravel()[found].tolist(),
        "sums": matrix.sum(1).tolist(),
        "pictures": view.address("/pictures"),
    }


def coverage_sentence(found: Coverage, threshold: float) -> str:
    """Say how accurate a network is if it answers only where it is sure enough."""
    place = round(threshold * (len(found.thresholds) - 1))
    share, hits = float(found.coverage[place]), float(found.accuracy[place])
    if math.isnan(hits):
        return f"No image has a confidence of {threshold:.3g} or more."
    return f"Answer only from {threshold:.3g} on: {100 * hits:.1f}% right on {100 * share:.1f}% of the images."


def page_values(view: View, query: PageQuery) -> dict[str, Any]:
    """Return the template values of a view."""
    answers, names = view.answers, view.names
    matrix = confusion_matrix(answers.labels, answers.predicted, len(names))
    order = class_order(matrix, query.order).tolist()
    scores = class_scores(matrix)
    rows = _class_rows(scores, names, query.by)
    right = answers.right
    covered = coverage(answers.confidence, right)
    small = len(names) <= TABLE_CLASSES
    settings = {"order": query.order, "show": query.show, "by": query.by, "threshold": query.threshold}
    changed = {name: value for name, value in settings.items() if value != PageQuery.model_fields[name].default}
    kept = {
        "thresholds": covered.thresholds.round(4).tolist(),
        "coverage": covered.coverage.round(5).tolist(),
        "accuracy": covered.accuracy.round(5).tolist(),
    }
    return {
        "view": view,
        "query": query,
        "accuracy": accuracy(matrix),
        "wrong": int(len(right) - right.sum()),
        "total": len(right),
        "orders": ORDERS,
        "cells": _cells(matrix, order) if small else [],
        "matrix_data": None if small else _matrix_data(matrix, order, view, query),
        "confusions": top_confusions(matrix, CONFUSIONS),
        "rows": rows[:MAX_ROWS],
        "hidden": max(0, len(rows) - MAX_ROWS),
        "undefined": scores.undefined,
        "columns": COLUMNS,
        "calibration": calibration(answers.confidence, right),
        "coverage_data": kept,
        "coverage_points": _points(covered),
        "coverage_floor": _floor(covered),
        "coverage_sentence": coverage_sentence(covered, query.threshold),
        "address": lambda **changes: view.address(**(changed | changes)),
        "settings": settings,
    }


def _floor(found: Coverage) -> float:
    """The accuracy at which the axis of the coverage chart begins, in tenths below the lowest one."""
    known = found.accuracy[~np.isnan(found.accuracy)]
    return min(0.9, math.floor(float(known.min()) * 10) / 10) if len(known) else 0.0


def _points(found: Coverage) -> str:
    """The points of accuracy (y) against coverage (x) for a polyline in a square of 1000."""
    floor = _floor(found)
    shown = ~np.isnan(found.accuracy)
    pairs = zip(found.coverage[shown], found.accuracy[shown], strict=True)
    points = [f"{1000 * x:.0f},{1000 * (1 - (y - floor) / (1 - floor)):.0f}" for x, y in pairs]
    return " ".join(dict.fromkeys(points))


@pages.get("/runs/{run_id}/predictions")
def predictions_page(request: Request, run_id: str, parts: PartsDep, query: PageQueryDep) -> HTMLResponse:
    """Render the predictions of a run; without any, why there are none and what to do."""
    run, _ = find_run(parts, run_id)
    found = shown(parts.predictions.load(run_id))
    if found is None:
        return parts.templates.page(request, "predictions_none.html", **_job_values(parts, run, found))
    values = page_values(view_of(run, found, query), query) | _job_values(parts, run, found)
    if wants_fragment(request):
        return parts.templates.fragment(request, "_predictions_view.html", **values)
    dataset = DATASETS.get(found.header.dataset)
    return parts.templates.page(request, "predictions.html", header=found.header, dataset=dataset, **values)


def _job_values(parts: Parts, run: RunRecord, found: Predictions | None) -> dict[str, Any]:
    jobs = parts.jobs.of_run(run.id, "evaluate")
    job: JobRecord | None = jobs[0] if jobs else None
    possible = not run.logged and not run.live and bool(run.best_checkpoint or run.checkpoint)
    heading = "No predictions" if found is None else "Not evaluated"
    return {
        "run": run,
        "job": job,
        "possible": possible,
        "heading": heading,
        "reason": why_not_predicted(run, found),
    }


@pages.get("/runs/{run_id}/predictions/progress")
def progress(request: Request, run_id: str, parts: PartsDep) -> HTMLResponse:
    """Render what the page waits for: the first epoch or an evaluation; then the browser loads the page again."""
    run, _ = find_run(parts, run_id)
    found = shown(parts.predictions.load(run_id))
    values = _job_values(parts, run, found)
    answer = parts.templates.fragment(request, "_predictions_progress.html", **values)
    job = values["job"]
    if found is not None and (job is None or not job.live):
        answer.headers["HX-Refresh"] = "true"
    return answer


@pages.post("/runs/{run_id}/predictions/evaluate")
def evaluate(run_id: str, parts: PartsDep) -> RedirectResponse:
    """Start to predict the validation and test images."""
    parts.jobs.start(run_id, "evaluate")
    return RedirectResponse(f"/runs/{run_id}/predictions", 303)
