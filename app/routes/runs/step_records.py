"""/api/v1/runs/{id}/histograms and /texts: what a script or an event file recorded by step, besides metrics."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from app.actions import step_records as acts
from app.actions.runs import find_run
from app.contract.timestamps import iso
from app.store.database import reading
from app.store.step_record import Kind, RecordSeries, list_series
from app.web.dependencies import Parts, PartsDep

api = APIRouter(tags=["runs"])

Name = Annotated[str, Path(max_length=250)]


class SeriesOut(BaseModel):
    """The histograms or texts of one name; ``last_step``: the largest."""

    name: str
    count: int
    first_step: int
    last_step: int
    url: str


class HistogramNamesOut(BaseModel):
    """The names of a run's histograms."""

    histograms: list[SeriesOut]


class TextNamesOut(BaseModel):
    """The names of a run's texts."""

    texts: list[SeriesOut]


class HistogramOut(BaseModel):
    """A histogram: ``counts[i]`` values are between ``edges[i]`` and ``edges[i + 1]``. ``time``: ISO 8601, UTC.

    ``number``: its place among all of its name in the order of their steps, from 0.
    """

    number: int
    step: int
    time: str
    edges: list[float]
    counts: list[float]


class HistogramsOut(BaseModel):
    """Histograms of one name in the order of their steps; ``total``: how many there are."""

    name: str
    total: int
    histograms: list[HistogramOut]


class TextOut(BaseModel):
    """A text as it was logged, such as Markdown. ``time``: ISO 8601, UTC.

    ``number``: its place among all of its name in the order of their steps, from 0.
    """

    number: int
    step: int
    time: str
    text: str


class TextsOut(BaseModel):
    """Texts of one name in the order of their steps; ``total``: how many there are."""

    name: str
    total: int
    texts: list[TextOut]


def _series(parts: Parts, run_id: str, kind: Kind) -> list[SeriesOut]:
    find_run(parts, run_id)
    with reading(parts.engine) as connection:
        found: list[RecordSeries] = list_series(connection, run_id, kind)
    return [
        SeriesOut(
            name=each.name,
            count=each.count,
            first_step=each.first_step,
            last_step=each.last_step,
            url=f"/api/v1/runs/{run_id}/{kind}s/{quote(each.name)}",
        )
        for each in found
    ]


@api.get("/runs/{run_id}/histograms")
def get_histogram_names(run_id: str, parts: PartsDep) -> HistogramNamesOut:
    """List the names of a run's histograms."""
    return HistogramNamesOut(histograms=_series(parts, run_id, "histogram"))


@api.get("/runs/{run_id}/histograms/{name:path}")
def get_histograms(
    run_id: str,
    name: Name,
    parts: PartsDep,
    most: Annotated[
        int, Query(ge=0, le=100_000, description="How many at most, evenly apart; the first and the last; 0: all.")
    ] = 100,
) -> HistogramsOut:
    """Get the histograms of one name in the order of their steps."""
    find_run(parts, run_id)
    with reading(parts.engine) as connection:
        places = acts.places_of(connection, run_id, "histogram", name)
        found = acts.read_histograms(connection, run_id, name, places, acts.evenly(places, most))
    return HistogramsOut(
        name=name,
        total=len(places),
        histograms=[
            HistogramOut(
                number=each.number,
                step=each.step,
                time=iso(each.time) or "",
                edges=list(each.histogram.edges),
                counts=list(each.histogram.counts),
            )
            for each in found
        ],
    )


@api.get("/runs/{run_id}/texts")
def get_text_names(run_id: str, parts: PartsDep) -> TextNamesOut:
    """List the names of a run's texts."""
    return TextNamesOut(texts=_series(parts, run_id, "text"))


@api.get("/runs/{run_id}/texts/{name:path}")
def get_texts(
    run_id: str,
    name: Name,
    parts: PartsDep,
    first: Annotated[int, Query(ge=0, lt=2**31, description="Number of the first one, from 0.")] = 0,
    most: Annotated[int, Query(ge=1, le=acts.MOST_TEXTS)] = acts.MOST_TEXTS,
) -> TextsOut:
    """Get the texts of one name in the order of their steps, at most 100 at once."""
    find_run(parts, run_id)
    with reading(parts.engine) as connection:
        places = acts.places_of(connection, run_id, "text", name)
        chosen = range(len(places))[first : first + most]
        found = acts.read_texts(connection, run_id, name, places, chosen)
    texts = [TextOut(number=each.number, step=each.step, time=iso(each.time) or "", text=each.text) for each in found]
    return TextsOut(name=name, total=len(places), texts=texts)
