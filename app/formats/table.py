"""The run table as a file: a row a run, in slices, so that a hundred thousand runs take no more memory than a few."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, Engine, text

from app.contract.spec import RunConfig
from app.contract.timestamps import iso
from app.store.database import reading
from app.store.metric import Summary
from app.store.search.pagination import sort_all
from app.store.search.query import RunFilter, RunRow, conditions, distinct_values, runs_by_id
from app.store.search.sorting import read_order

FACTS = (
    *("number", "id", "title", "origin", "status", "reason", "created", "started", "ended", "seconds"),
    *("params", "device", "tags", "notes"),
)
SETTINGS = tuple(name for name in RunConfig.model_fields if name not in ("name", "notes", "tags", "device"))
SLICE = 500
EVERY = 2**62
Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Which runs, in their order, and the columns that they have together. ``parameters``: of logged runs."""

    runs: list[str]
    metrics: list[str]
    parameters: list[str]

    @property
    def columns(self) -> list[str]:
        """The heads of all columns."""
        return [*FACTS, *SETTINGS, *(f"param.{name}" for name in self.parameters), *self.metrics]


def read_table(connection: Connection, where: RunFilter, sort: str) -> Table:
    """The ids of all runs that match, and what columns they need. Raises QueryError."""
    now = time.time()
    matching, values = conditions(where, now)
    places, _ = sort_all(connection, read_order(sort, now), matching, values, EVERY, None)
    runs = [place.run for place in places]
    there = f"IN (SELECT run.id FROM run WHERE {matching})"
    if where.narrows:
        found = connection.execute(text(f"SELECT DISTINCT name FROM metric_series WHERE run {there}"), values)
        metrics = sorted(str(name) for name in found.scalars())
    else:
        metrics = distinct_values(connection, "metric")
    said = connection.execute(
        text(
            "SELECT DISTINCT p.key FROM logged_run l JOIN run r ON r.id = l.run, json_each(r.config, '$.options') p"
            f" WHERE l.run {there} ORDER BY p.key"
        ),
        values,
    )
    return Table(runs, metrics, [str(name) for name in said.scalars()])


def iterate_rows(engine: Engine, table: Table) -> Iterator[list[Row]]:
    """The runs of a table as rows, slice by slice, each in a transaction of its own."""
    for start in range(0, len(table.runs), SLICE):
        with reading(engine) as connection:
            found = runs_by_id(connection, table.runs[start : start + SLICE])
        yield [export_row(each) for each in found]


def export_row(row: RunRow) -> Row:
    """What is said of a run: facts, settings or its own parameters, and one figure of each metric."""
    run, config = row.run, row.run.config
    found: Row = {
        "number": run.number,
        "id": run.id,
        "title": run.title,
        "origin": run.origin,
        "status": run.status,
        "reason": run.reason,
        "created": iso(run.created_at),
        "started": iso(run.started_at),
        "ended": iso(run.ended_at),
        "seconds": run.trained_seconds,
        "params": run.params,
        "device": run.device,
        "tags": run.tags,
        "notes": run.notes,
    }
    if run.logged:
        found |= {"family": config.family, "dataset": config.dataset or None}
        found |= {f"param.{name}": value for name, value in config.options.items()}
    else:
        found |= config.model_dump(include=set(SETTINGS))
    return found | {name: figure_of(name, summary) for name, summary in row.summary.items()}


def figure_of(name: str, summary: Summary) -> float | None:
    """The value that stands for a run: the last one of the test set's metrics, the best one of all others."""
    return summary.last if name.startswith("test/") else summary.best


# Formats -------------------------------------------------------------------------------------------------------------


def as_csv(columns: Sequence[str], slices: Iterator[list[Row]]) -> Iterator[bytes]:
    """Comma-separated lines with a head."""
    buffer = io.StringIO()
    lines = csv.writer(buffer, lineterminator="\n")
    lines.writerow([cell(column) for column in columns])
    for rows in slices:
        lines.writerows([cell(row.get(column)) for column in columns] for row in rows)
        yield _emptied(buffer)
    yield _emptied(buffer)


def _emptied(buffer: io.StringIO) -> bytes:
    written = buffer.getvalue().encode()
    buffer.seek(0)
    buffer.truncate()
    return written


def cell(value: Any) -> Any:
    """A value in a cell. One that a spreadsheet would take for a formula is led by an apostrophe."""
    if isinstance(value, list):
        value = " ".join(map(str, value))
    elif isinstance(value, dict):
        return json.dumps(value) if value else ""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def as_json(slices: Iterator[list[Row]]) -> Iterator[bytes]:
    """A JSON object with a list of runs; what is not finite is null."""
    yield b'{"runs": ['
    first = True
    for rows in slices:
        for row in rows:
            yield (b"\n" if first else b",\n") + to_json(row, inf_nan_mode="null")
            first = False
    yield b"\n]}\n"


class ParquetUnavailable(RuntimeError):
    """There is nothing here to write Parquet with."""


def parquet_writer() -> Any:
    """The library that writes Parquet. Raises ParquetUnavailable with a sentence where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ParquetUnavailable(
            "Parquet needs pyarrow, which is not installed where Runyard runs: pip install pyarrow; CSV and JSON do not"
        ) from error
    return pyarrow


_NUMBERS = ("number", "params", "seed", "epochs", "batch_size", "crop_padding", "plateau_patience", "early_stopping")
_FLOATS = (
    *("seconds", "lr", "weight_decay", "momentum", "lr_min", "warmup", "plateau_factor", "label_smoothing"),
    *("clip_norm", "rotation"),
)
_YES_OR_NO = ("auxiliary", "flip", "deterministic", "find_batch")


def write_parquet(file: Any, table: Table, slices: Iterator[list[Row]]) -> None:
    """A Parquet file; numbers are numbers, times are text in UTC, lists and options JSON. Raises ParquetUnavailable."""
    arrow = parquet_writer()
    kinds = {name: arrow.int64() for name in (*_NUMBERS, "priority", "keep_checkpoints")}
    kinds |= {name: arrow.float64() for name in (*_FLOATS, *table.metrics)}
    kinds |= {name: arrow.bool_() for name in _YES_OR_NO}
    schema = arrow.schema([(column, kinds.get(column, arrow.string())) for column in table.columns])
    words: Callable[[Any], Any] = lambda value: json.dumps(value) if isinstance(value, list | dict) else value  # noqa: E731
    with arrow.parquet.ParquetWriter(file, schema) as writer:
        for rows in slices:
            columns = [[words(row.get(column)) for row in rows] for column in table.columns]
            arrays = [arrow.array(values, each.type) for values, each in zip(columns, schema, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
