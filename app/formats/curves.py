"""Export of a run's curves, every point, as CSV, JSON or a TensorBoard event file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from pydantic_core import to_json
from sqlalchemy import Engine

from app.formats.csv_cells import CsvChunks, cell
from app.formats.summary_values import Scalar, Value
from app.formats.tfevents import write_events
from app.store.curve import Curve
from app.store.database import reading
from app.store.metric import read_curves

SLICE = 10_000


def iterate_curves(engine: Engine, run: str, names: list[str]) -> Iterator[tuple[str, Curve]]:
    """Load the curves of these metrics one after the other, so that only one is in memory."""
    for name in names:
        with reading(engine) as connection:
            curves = read_curves(connection, run, [name], 0)
        if name in curves:
            yield name, curves[name]


def as_csv(curves: Iterator[tuple[str, Curve]]) -> Iterator[bytes]:
    """Write one row per point; values that are not finite are blank."""
    lines = CsvChunks()
    lines.row(("metric", "step", "value", "time"))
    for name, curve in curves:
        metric = cell(name)
        for start in range(0, len(curve.steps), SLICE):
            part = slice(start, start + SLICE)
            points = zip(*(column[part].tolist() for column in (curve.steps, curve.values, curve.times)), strict=True)
            lines.numbers((metric, step, value if math.isfinite(value) else "", time) for step, value, time in points)
            yield lines.drain()
    yield lines.drain()


def as_json(curves: Iterator[tuple[str, Curve]]) -> Iterator[bytes]:
    """Write a JSON object by metric; values that are not finite are null."""
    separator = b"{"
    for name, curve in curves:
        lists = {"step": curve.steps.tolist(), "value": curve.values.tolist(), "time": curve.times.tolist()}
        yield separator + to_json(name) + b": " + to_json(lists, inf_nan_mode="null")
        separator = b",\n"
    yield b"}\n" if separator != b"{" else b"{}\n"


def scalars_of(curves: Iterator[tuple[str, Curve]]) -> Iterator[Value]:
    """The points of curves as values of an event file."""
    return (
        Scalar(name, step, value, time)
        for name, curve in curves
        for step, value, time in zip(
            *(column.tolist() for column in (curve.steps, curve.values, curve.times)), strict=True
        )
    )


def as_events(values: Iterable[Value], started: float) -> Iterator[bytes]:
    """Write a TensorBoard event file; its scalars have 32 bits."""
    chunk = bytearray()
    for record in write_events(values, started):
        chunk += record
        if len(chunk) > 2**18:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)
