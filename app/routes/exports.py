"""/api/v1/runs.csv and similar: export the run table and the curves of a run as files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import Field

from app.actions.runs import find_run
from app.contract.errors import NotFound, RunyardError
from app.formats import curves as curve_formats
from app.formats.event_values import iterate_values
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
CHUNK_BYTES = 2**18


class NotInstalled(RunyardError):
    """A required optional library is not installed."""

    status = 501
    title = "Not installed"


def _file(chunks: Iterator[bytes], name: str, file_format: str) -> StreamingResponse:
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return StreamingResponse(chunks, media_type=TYPES[file_format], headers=headers)


@api.get("/runs.{format}", response_class=StreamingResponse)
def export_runs(
    parts: PartsDep,
    file_format: Annotated[Literal["csv", "json", "parquet"], Path(alias="format")],
    status: Annotated[list[str], Query()] = [],
    family: Annotated[list[str], Query()] = [],
    size: Annotated[list[str], Query()] = [],
    dataset: Annotated[list[str], Query()] = [],
    tag: Annotated[list[str], Query()] = [],
    number: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Query(max_length=500)] = [],
    q: Annotated[str, Query(max_length=1000)] = "",
    sort: Annotated[str, Query(max_length=200)] = "-number",
) -> StreamingResponse:
    """Export matching runs as a file: run fields, settings, and the main statistic of each metric."""
    if file_format == "parquet":
        try:
            parquet_writer()
        except ParquetUnavailable as error:
            raise NotInstalled(str(error)) from error
    with reading(parts.engine) as connection:
        table = read_table(connection, RunFilter(status, family, size, dataset, tag, q, number), sort)
    rows = iterate_rows(parts.engine, table)
    match file_format:
        case "csv":
            chunks = as_csv(table.columns, rows)
        case "json":
            chunks = as_json(rows)
        case "parquet":
            chunks = _parquet(parts, table)
    return _file(chunks, f"runs.{file_format}", file_format)


def _parquet(parts: Parts, table: Table) -> Iterator[bytes]:
    # A Parquet file ends with its index, so it is written completely before it is sent; on disk, not in memory.
    with tempfile.TemporaryFile() as file:
        write_parquet(file, table, iterate_rows(parts.engine, table))
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


@api.get("/runs/{run_id}/curves.{format}", response_class=StreamingResponse)
def export_curves(
    parts: PartsDep,
    run_id: str,
    file_format: Annotated[Literal["csv", "json", "tfevents"], Path(alias="format")],
    names: Annotated[str, Query(max_length=2000, description="Comma-separated metric names (default: all).")] = "",
) -> StreamingResponse:
    """Export all points of a run's curves as a file; tfevents is a TensorBoard event file.

    Without names, an event file also has the images by step, histograms and texts that a script or an import logged.
    """
    run, summary = find_run(parts, run_id)
    requested = [name.strip() for name in names.split(",") if name.strip()] or list(summary)
    missing = next((name for name in requested if name not in summary), None)
    if missing is not None:
        raise NotFound(f"no metric '{missing[:60]}' in this run; metrics: {', '.join(summary) or 'none yet'}")
    curves = curve_formats.iterate_curves(parts.engine, run.id, requested)
    match file_format:
        case "csv":
            chunks = curve_formats.as_csv(curves)
        case "json":
            chunks = curve_formats.as_json(curves)
        case "tfevents":
            started_at = run.started_at or run.created_at
            others = iterate_values(parts.settings, parts.engine, run.id) if run.logged and not names else iter(())
            values = chain(curve_formats.scalars_of(curves), others)
            return _file(
                curve_formats.as_events(values, started_at), event_file_name(run.number, started_at), file_format
            )
    return _file(chunks, f"run-{run.number}.{file_format}", file_format)


def event_file_name(number: int, started_at: float) -> str:
    """Return an event file name that TensorBoard recognizes in a folder."""
    return f"events.out.tfevents.{started_at:.0f}.runyard-{number}"
