"""/api/v1/runs/{id}/predictions: what a run predicted, as JSON and CSV."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from app.analysis.calibration import calibration
from app.analysis.class_scores import class_scores
from app.analysis.confusion import accuracy, confusion_matrix, top_confusions
from app.formats.csv_cells import CsvChunks
from app.routes.predictions.picture_query import PictureQueryDep, Pictures, open_pictures
from app.routes.predictions.pictures import describe_pictures, sheet_address
from app.routes.predictions.view import View, ViewDep
from app.web.dependencies import PartsDep

api = APIRouter(tags=["models"])

MOST_PICTURES = 200
CONFUSIONS = 20
CSV_ROWS = 2000


class ClassOut(BaseModel):
    """Scores of a class, 0 to 1; a score whose denominator is zero is 0. ``support``: images of the class."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


class ConfusionOut(BaseModel):
    """``count`` of the ``of`` images of the class with number ``true`` were predicted to be of class ``predicted``."""

    true: int
    predicted: int
    count: int
    of: int


class PredictionsOut(BaseModel):
    """What one head predicted for a split. ``heads``: class names by head; ``parts``: splits with predictions.

    ``epochs``: those whose predictions are kept for this split; ``epoch``: of the checkpoint, or the one asked for.
    While the run trains, there are the epochs so far of the validation images, and the newest one is the default.

    ``calibration_error``: expected calibration error with 15 bins. ``matrix``: images by true class (row) and predicted
    class (column).
    """

    run: str
    dataset: str
    heads: dict[str, list[str]]
    parts: list[str]
    head: str
    part: str
    epoch: int
    epochs: list[int]
    images: int
    accuracy: float | None
    calibration_error: float | None
    matrix: list[list[int]]
    classes: list[ClassOut]
    confusions: list[ConfusionOut]


class PictureHistoryOut(BaseModel):
    """By epoch: ``right`` has "1" where the prediction was right, ``predicted`` the class number, ``confidence`` its
    probability. ``state``: always, learned, forgotten or never right; ``forgotten``: how often it was right and then
    wrong.
    """

    right: str
    predicted: list[int]
    confidence: list[float]
    state: str
    forgotten: int


class PictureOut(BaseModel):
    """An image by its index in the split. ``top``: the most probable classes. ``others``: predictions of other runs.

    ``file``: the path of the image in the source of an imported dataset; "" for a built-in one.
    """

    index: int
    true: int
    predicted: int
    confidence: float
    true_probability: float | None
    top: list[tuple[int, float]]
    others: list[int]
    history: PictureHistoryOut | None
    file: str


class PicturesOut(BaseModel):
    """Images in the requested order. ``total``: how many there are; ``sheet``: a PNG of these, ten in a row."""

    total: int
    offset: int
    sheet: str
    pictures: list[PictureOut]


def summary_of(view: View) -> PredictionsOut:
    """Return a view as the API model."""
    answers, names, header = view.answers, view.names, view.predictions.header
    matrix = confusion_matrix(answers.labels, answers.predicted, len(names))
    scores = class_scores(matrix)
    share = accuracy(matrix)
    return PredictionsOut(
        run=view.run.id,
        dataset=header.dataset,
        heads={head: list(labels) for head, labels in header.targets.items()},
        parts=view.parts,
        head=view.head,
        part=view.part,
        epoch=view.epoch if view.epoch is not None else header.epoch,
        epochs=view.epochs,
        images=len(answers.labels),
        accuracy=None if math.isnan(share) else share,
        calibration_error=calibration(answers.confidence, answers.right).error,
        matrix=matrix.tolist(),
        classes=[
            ClassOut(label=label, precision=precision, recall=recall, f1=f1, support=support)
            for label, precision, recall, f1, support in zip(
                names,
                scores.precision.tolist(),
                scores.recall.tolist(),
                scores.f1.tolist(),
                scores.support.tolist(),
                strict=True,
            )
        ],
        confusions=[ConfusionOut(**asdict(each)) for each in top_confusions(matrix, CONFUSIONS)],
    )


@api.get("/runs/{run_id}/predictions")
def get_predictions(view: ViewDep) -> PredictionsOut:
    """Get the accuracy, calibration error, confusion matrix and scores by class of what a run predicted."""
    return summary_of(view)


@api.get("/runs/{run_id}/predictions/pictures")
def get_pictures(
    run_id: str,
    parts: PartsDep,
    query: PictureQueryDep,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_PICTURES)] = 100,
) -> PicturesOut:
    """List images with what was predicted for them: the most wrong first, or of a class, or that no run gets right."""
    pictures = open_pictures(parts, run_id, query)
    return PicturesOut.model_validate(
        {
            "total": len(pictures.indices),
            "offset": offset,
            "sheet": sheet_address(pictures, offset, limit),
            "pictures": [asdict(each) for each in describe_pictures(pictures, offset, limit)],
        }
    )


@api.get("/runs/{run_id}/predictions.csv", response_class=StreamingResponse)
def export_predictions(run_id: str, parts: PartsDep, query: PictureQueryDep) -> StreamingResponse:
    """Export the same images as CSV, one line each: index in the split, true and predicted class, confidence.

    For an imported dataset, the last column is the path of the image in its source.
    """
    pictures = open_pictures(parts, run_id, query)
    view = pictures.view
    after = "" if view.epoch is None else f"-epoch-{view.epoch}"
    name = f"predictions-{view.run.number}-{view.part}{after}.csv"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return StreamingResponse(_lines(pictures), media_type="text/csv; charset=utf-8", headers=headers)


def _lines(pictures: Pictures) -> Iterator[bytes]:
    names, view, answers = pictures.view.names, pictures.view, pictures.answers
    columns = ["split", "index", "true", "predicted", "confidence", "true_probability"]
    columns += [f"run {other.run.number}" for other in pictures.others]
    lines = CsvChunks()
    lines.row([*columns, "file"] if pictures.files else columns)
    yield lines.drain()
    best = view.epoch is None
    for first in range(0, len(pictures.indices), CSV_ROWS):
        for index in pictures.indices[first : first + CSV_ROWS].tolist():
            row = [view.part, index, names[answers.labels[index]], names[answers.predicted[index]]]
            row += [f"{float(answers.confidence[index]):.4g}", f"{float(view.kept.true[index]):.4g}" if best else ""]
            row += [names[other.answers.predicted[index]] for other in pictures.others]
            lines.row([*row, pictures.file(index)] if pictures.files else row)
        yield lines.drain()
