"""The curves of a run as a file: every point, as lines, as JSON, or as TensorBoard's event file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator

from pydantic_core import to_json
from sqlalchemy import Engine

from app.formats.tfevents import Scalar, write_events
from app.store.curve import Curve
from app.store.database import reading
from app.store.metric import read_curves

SLICE = 10_000


def iterate_curves(engine: Engine, run: str, names: list[str]) -> Iterator[tuple[str, Curve]]:
    """The curves of these metrics with every point, one after the other, so that one at a time is held."""
    for name in names:
        with reading(engine) as connection:
            found = read_curves(connection, run, [name], 0)
        if name in found:
            yield name, found[name]


def as_csv(curves: Iterator[tuple[str, Curve]]) -> Iterator[bytes]:
    """A line a point; what is not finite is blank."""
    buffer = io.StringIO()
    lines = csv.writer(buffer, lineterminator="\n")
    lines.writerow(("metric", "step", "value", "time"))
    for name, curve in curves:
        for start in range(0, len(curve.steps), SLICE):
            here = slice(start, start + SLICE)
            points = zip(*(part[here].tolist() for part in (curve.steps, curve.values, curve.times)), strict=True)
            lines.writerows((name, step, value if math.isfinite(value) else "", time) for step, value, time in points)
            yield _emptied(buffer)
    yield _emptied(buffer)


def _emptied(buffer: io.StringIO) -> bytes:
    written = buffer.getvalue().encode()
    buffer.seek(0)
    buffer.truncate()
    return written


def as_json(curves: Iterator[tuple[str, Curve]]) -> Iterator[bytes]:
    """An object of metrics; what is not finite is null."""
    mark = b"{"
    for name, curve in curves:
        lists = {"step": curve.steps.tolist(), "value": curve.values.tolist(), "time": curve.times.tolist()}
        yield mark + to_json(name) + b": " + to_json(lists, inf_nan_mode="null")
        mark = b",\n"
    yield b"}\n" if mark != b"{" else b"{}\n"


def as_events(curves: Iterator[tuple[str, Curve]], began: float) -> Iterator[bytes]:
    """An event file that TensorBoard reads; its values have 32 bits."""
    scalars = (
        Scalar(name, step, value, time)
        for name, curve in curves
        for step, value, time in zip(*(part.tolist() for part in (curve.steps, curve.values, curve.times)), strict=True)
    )
    piece = bytearray()
    for written in write_events(scalars, began):
        piece += written
        if len(piece) > 2**18:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)
