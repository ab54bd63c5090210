"""/api/v1/runs.csv and its like: the run table and the curves of a run as files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from app.actions.runs import find_run
from app.contract.errors import NotFound, RunyardError
from app.formats import curves as curves_of
from app.formats.table import (
    ParquetUnavailable,
    Table,
    as_csv,
    as_json,
    iterate_rows,
    parquet_writer,
    read_table,
    write_parquet,
)
from app.store.database import reading
from app.store.search.query import RunFilter
from app.web.dependencies import Parts, PartsDep

api = APIRouter(tags=["runs"])

TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
    "tfevents": "application/octet-stream",
}
PIECE_BYTES = 2**18


class NotInstalled(RunyardError):
    """A library that this needs is not there."""

    status = 501
    title = "Not installed"


def _file(pieces: Iterator[bytes], name: str, written: str) -> StreamingResponse:
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return StreamingResponse(pieces, media_type=TYPES[written], headers=headers)


@api.get("/runs.{written}", response_class=StreamingResponse)
def export_runs(
    parts: PartsDep,
    written: Literal["csv", "json", "parquet"],
    status: Annotated[list[str], Query()] = [],
    family: Annotated[list[str], Query()] = [],
    size: Annotated[list[str], Query()] = [],
    dataset: Annotated[list[str], Query()] = [],
    tag: Annotated[list[str], Query()] = [],
    number: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Query(max_length=500)] = [],
    q: Annotated[str, Query(max_length=1000)] = "",
    sort: Annotated[str, Query(max_length=200)] = "-number",
) -> StreamingResponse:
    """Every run that matches, as a file: facts, settings, and of each metric the figure that stands for the run."""
    if written == "parquet":
        try:
            parquet_writer()
        except ParquetUnavailable as error:
            raise NotInstalled(str(error)) from error
    with reading(parts.engine) as connection:
        table = read_table(connection, RunFilter(status, family, size, dataset, tag, q, number), sort)
    slices = iterate_rows(parts.engine, table)
    match written:
        case "csv":
            pieces = as_csv(table.columns, slices)
        case "json":
            pieces = as_json(slices)
        case "parquet":
            pieces = _parquet(parts, table)
    return _file(pieces, f"runs.{written}", written)


def _parquet(parts: Parts, table: Table) -> Iterator[bytes]:
    # Its end says where everything is, so that it is written before it is sent; on the disk, not in memory.
    with tempfile.TemporaryFile() as file:
        write_parquet(file, table, iterate_rows(parts.engine, table))
        file.seek(0)
        while piece := file.read(PIECE_BYTES):
            yield piece


@api.get("/runs/{run_id}/curves.{written}", response_class=StreamingResponse)
def export_curves(
    parts: PartsDep,
    run_id: str,
    written: Literal["csv", "json", "tfevents"],
    names: Annotated[str, Query(max_length=2000, description="Metrics by comma; all when left out.")] = "",
) -> StreamingResponse:
    """Every point of a run's curves, as a file; tfevents is the event file of TensorBoard."""
    run, summary = find_run(parts, run_id)
    wanted = [name.strip() for name in names.split(",") if name.strip()] or list(summary)
    missing = next((name for name in wanted if name not in summary), None)
    if missing is not None:
        raise NotFound(f"no metric '{missing[:60]}' in this run; metrics: {', '.join(summary) or 'none yet'}")
    found = curves_of.iterate_curves(parts.engine, run.id, wanted)
    match written:
        case "csv":
            pieces = curves_of.as_csv(found)
        case "json":
            pieces = curves_of.as_json(found)
        case "tfevents":
            began = run.started_at or run.created_at
            return _file(curves_of.as_events(found, began), events_name(run.number, began), written)
    return _file(pieces, f"run-{run.number}.{written}", written)


def events_name(number: int, began: float) -> str:
    """What an event file is to be called, so that TensorBoard finds it in a folder."""
    return f"events.out.tfevents.{began:.0f}.runyard-{number}"
