"""Export of the run table in slices, so that 100,000 runs need no more memory than a few."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, Engine, text

from app.contract.spec import RunConfig
from app.contract.timestamps import iso
from app.formats.csv_cells import CsvChunks
from app.store.database import reading
from app.store.metric import Summary
from app.store.search.pagination import sort_all
from app.store.search.query import RunFilter, RunRow, conditions, distinct_values, runs_by_id
from app.store.search.sorting import read_order

INFO_COLUMNS = (
    *("number", "id", "title", "origin", "status", "reason", "created", "started", "ended", "seconds"),
    *("params", "device", "tags", "notes"),
)
SETTINGS = tuple(name for name in RunConfig.model_fields if name not in ("name", "notes", "tags", "device"))
SLICE = 500
NO_LIMIT = 2**62
Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """The runs to export, in order, and their columns; ``parameters``: of runs that were trained elsewhere."""

    runs: list[str]
    metrics: list[str]
    parameters: list[str]

    @property
    def columns(self) -> list[str]:
        """Return the names of all columns."""
        return [*INFO_COLUMNS, *SETTINGS, *(f"param.{name}" for name in self.parameters), *self.metrics]


def read_table(connection: Connection, where: RunFilter, sort: str) -> Table:
    """Find all matching runs and their columns. Raises QueryError."""
    now = time.time()
    matching, values = conditions(connection, where, now)
    places, _ = sort_all(connection, read_order(sort, now), matching, values, NO_LIMIT, None, counting=False)
    runs = [place.run for place in places]
    in_matching = f"IN (SELECT run.id FROM run WHERE {matching})"
    if where.narrows:
        names = connection.execute(text(f"SELECT DISTINCT name FROM metric_series WHERE run {in_matching}"), values)
        metrics = sorted(str(name) for name in names.scalars())
    else:
        metrics = distinct_values(connection, "metric")
    parameters = connection.execute(
        text(
            "SELECT DISTINCT p.key FROM logged_run l JOIN run r ON r.id = l.run, json_each(r.config, '$.options') p"
            f" WHERE l.run {in_matching} ORDER BY p.key"
        ),
        values,
    )
    return Table(runs, metrics, [str(name) for name in parameters.scalars()])


def iterate_rows(engine: Engine, table: Table) -> Iterator[list[Row]]:
    """Load the rows of a table in slices, each in a separate transaction."""
    for start in range(0, len(table.runs), SLICE):
        with reading(engine) as connection:
            runs = runs_by_id(connection, table.runs[start : start + SLICE])
        yield [export_row(run) for run in runs]


def export_row(row: RunRow) -> Row:
    """Create the row of a run: general columns, settings or logged parameters, one value per metric."""
    run, config = row.run, row.run.config
    exported: Row = {
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
        exported |= {"family": config.family, "dataset": config.dataset or None}
        exported |= {f"param.{name}": value for name, value in config.options.items()}
    else:
        exported |= config.model_dump(include=set(SETTINGS))
    return exported | {name: headline_value(name, summary) for name, summary in row.summary.items()}


def headline_value(name: str, summary: Summary) -> float | None:
    """Return a metric's headline value: the last value of test metrics, else the best value."""
    return summary.last if name.startswith("test/") else summary.best


# Formats -------------------------------------------------------------------------------------------------------------


def as_csv(columns: Sequence[str], slices: Iterator[list[Row]]) -> Iterator[bytes]:
    """Write CSV with a header."""
    lines = CsvChunks()
    lines.row(columns)
    for rows in slices:
        lines.rows([row.get(column) for column in columns] for row in rows)
        yield lines.drain()
    yield lines.drain()


def as_json(slices: Iterator[list[Row]]) -> Iterator[bytes]:
    """Write a JSON object with a list of runs; values that are not finite are null."""
    yield b'{"runs": ['
    first = True
    for rows in slices:
        for row in rows:
            yield (b"\n" if first else b",\n") + to_json(row, inf_nan_mode="null")
            first = False
    yield b"\n]}\n"


class ParquetUnavailable(RuntimeError):
    """The library for Parquet is not installed."""


def parquet_writer() -> Any:
    """Import the library that writes Parquet. Raises ParquetUnavailable."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ParquetUnavailable(
            "Parquet export requires pyarrow, which is not installed on the server;"
            ' install it with pip install "runyard[parquet]", or export CSV or JSON'
        ) from error
    return pyarrow


_INTEGER_COLUMNS = (
    "number",
    "params",
    "seed",
    "epochs",
    "batch_size",
    "crop_padding",
    "plateau_patience",
    "early_stopping",
)
_FLOAT_COLUMNS = (
    *("seconds", "lr", "weight_decay", "momentum", "lr_min", "warmup", "plateau_factor", "label_smoothing"),
    *("clip_norm", "random_crop_scale", "rotation", "color_jitter", "erasing", "mixup", "cutmix", "ema_decay"),
)
_BOOLEAN_COLUMNS = (
    *("auxiliary", "balanced_sampling", "flip", "mirror", "deterministic", "find_batch"),
    *("keep_predictions", "robustness"),
)


def write_parquet(file: Any, table: Table, slices: Iterator[list[Row]]) -> None:
    """Write Parquet; times are text in UTC, lists and options are JSON. Raises ParquetUnavailable."""
    arrow = parquet_writer()
    kinds = {name: arrow.int64() for name in (*_INTEGER_COLUMNS, "priority", "keep_checkpoints")}
    kinds |= {name: arrow.float64() for name in (*_FLOAT_COLUMNS, *table.metrics)}
    kinds |= {name: arrow.bool_() for name in _BOOLEAN_COLUMNS}
    schema = arrow.schema([(column, kinds.get(column, arrow.string())) for column in table.columns])
    with arrow.parquet.ParquetWriter(file, schema) as writer:
        for rows in slices:
            columns = [[_parquet_value(row.get(column)) for row in rows] for column in table.columns]
            arrays = [arrow.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def _parquet_value(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value
