"""/api/v1/import: import of runs that were recorded elsewhere."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.actions.run_imports import CurvePart, ImportedRun, import_run
from app.actions.step_records import RecordsPart, packed_histograms, packed_texts
from app.actions.tracking import Points
from app.contract.histogram import checked_histogram
from app.contract.steps import LARGEST_STEP, SMALLEST_STEP
from app.formats.summary_values import MAX_TEXT
from app.web.audit import note_begun
from app.web.dependencies import PartsDep

api = APIRouter(tags=["runs"])

MOST_POINTS = 50_000
MOST_RECORDS = 5_000
LATEST = 4_102_444_800.0
UnixTime = Annotated[float, Field(ge=0, le=LATEST, allow_inf_nan=False)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=250)]
FileKey = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_.:-]{0,120}$")]
RunKey = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_.:-]{8,120}$")]


class PieceIn(BaseModel):
    """Consecutive points of one metric; ``offset``: number of earlier points. NaN and infinities are sent as text."""

    model_config = ConfigDict(extra="forbid")

    offset: int = Field(0, ge=0, lt=2**53)
    step: list[Annotated[int, Field(ge=SMALLEST_STEP, le=LARGEST_STEP)]] = Field(max_length=MOST_POINTS)
    value: list[float] = Field(max_length=MOST_POINTS)
    time: list[UnixTime] = Field(max_length=MOST_POINTS)

    @model_validator(mode="after")
    def _equally_long(self) -> PieceIn:
        if not len(self.step) == len(self.value) == len(self.time):
            raise ValueError("step, value and time must have the same length")
        return self


class RecordsIn(BaseModel):
    """Consecutive histograms or texts of one name; ``offset``: number of earlier ones."""

    model_config = ConfigDict(extra="forbid")

    offset: int = Field(0, ge=0, lt=2**53)
    step: list[Annotated[int, Field(ge=SMALLEST_STEP, le=LARGEST_STEP)]] = Field(max_length=MOST_RECORDS)
    time: list[UnixTime] = Field(max_length=MOST_RECORDS)


class HistogramsIn(RecordsIn):
    """Consecutive histograms of one name. Of each, ``counts[i]`` values are between ``edges[i]`` and ``edges[i + 1]``.

    Of more than 512 buckets, neighbors are merged; empty buckets at the ends are left out.
    """

    edges: list[list[float]] = Field(max_length=MOST_RECORDS)
    counts: list[list[float]] = Field(max_length=MOST_RECORDS)

    @model_validator(mode="after")
    def _equally_long(self) -> HistogramsIn:
        if not len(self.step) == len(self.time) == len(self.edges) == len(self.counts):
            raise ValueError("step, time, edges and counts must have the same length")
        return self

    def part(self) -> RecordsPart:
        """These histograms, ready to be kept. Raises Invalid."""
        histograms = [checked_histogram(*each) for each in zip(self.edges, self.counts, strict=True)]
        return packed_histograms(self.offset, self.step, self.time, histograms)


class TextsIn(RecordsIn):
    """Consecutive texts of one name, such as Markdown; they are shown as they are."""

    text: list[Annotated[str, StringConstraints(max_length=MAX_TEXT)]] = Field(max_length=MOST_RECORDS)

    @model_validator(mode="after")
    def _equally_long(self) -> TextsIn:
        if not len(self.step) == len(self.time) == len(self.text):
            raise ValueError("step, time and text must have the same length")
        return self

    def part(self) -> RecordsPart:
        """These texts, ready to be kept."""
        return packed_texts(self.offset, self.step, self.time, self.text)


class ImportIn(BaseModel):
    """A run that was recorded elsewhere, or a part of it. ``key`` identifies the run across imports.

    ``file``: identifies the file that curves, histograms and texts are from, whose offsets count what is in this file;
    ``files``: all files of the run, by which it is found too. ``live``: more will come, so the run goes on; without it,
    the run ends. ``not_kept``: number of values in its files that are not imported, by what they are.
    ``damaged``: number of places in its files where damaged records were skipped. ``left_out``: number of points that
    were skipped because their step, name or time is invalid.
    """

    model_config = ConfigDict(extra="forbid")

    key: RunKey
    experiment: Name
    name: Name
    started: UnixTime
    ended: UnixTime
    outcome: Literal["", "succeeded", "failed", "cancelled"] = ""
    parameters: dict[Key, Annotated[str, StringConstraints(max_length=6000)]] = Field(
        default_factory=dict, max_length=2000
    )
    file: FileKey = ""
    files: list[FileKey] = Field(default_factory=list, max_length=10_000)
    live: bool = False
    curves: dict[Key, PieceIn] = Field(default_factory=dict, max_length=2000)
    histograms: dict[Key, HistogramsIn] = Field(default_factory=dict, max_length=2000)
    texts: dict[Key, TextsIn] = Field(default_factory=dict, max_length=2000)
    not_kept: dict[Annotated[str, StringConstraints(max_length=80)], Annotated[int, Field(ge=0, lt=2**53)]] = Field(
        default_factory=dict, max_length=50
    )
    damaged: int = Field(0, ge=0, lt=2**53)
    left_out: int = Field(0, ge=0, lt=2**53)


class ImportOut(BaseModel):
    """The run, its status, and what is new: ``added`` points, histograms and texts."""

    id: str
    url: str
    status: Literal["running", "succeeded", "failed", "cancelled"]
    added: int
    histograms: int
    texts: int


@api.post("/import")
def post_import(request: Request, requested: ImportIn, parts: PartsDep) -> ImportOut:
    """Import a run that was recorded elsewhere. A repeated import adds only what is new."""
    same = ("key", "experiment", "name", "started", "outcome", "file", "live", "parameters", "damaged", "left_out")
    imported = ImportedRun(
        **{name: getattr(requested, name) for name in same},
        files=[each for each in requested.files if each],
        ended=max(requested.started, requested.ended),
        curves={
            name: CurvePart(part.offset, Points(part.step, part.value, part.time))
            for name, part in requested.curves.items()
        },
        histograms={name: part.part() for name, part in requested.histograms.items()},
        texts={name: part.part() for name, part in requested.texts.items()},
        not_kept=requested.not_kept,
    )
    done = import_run(parts, imported)
    if done.begins:
        note_begun(request, done.run)
    return ImportOut.model_validate(
        {
            "id": done.run,
            "url": f"/runs/{done.run}",
            "status": done.status,
            "added": done.points,
            "histograms": done.histograms,
            "texts": done.texts,
        }
    )
