"""Histograms and texts of a run, by name and step: what is kept of them, and how many are read at once."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from app.contract.errors import NotFound
from app.contract.histogram import Histogram, pack_histogram, unpack_histogram
from app.store.step_record import (
    Kind,
    NewRecord,
    RecordPlace,
    add_records,
    check_room,
    list_places,
    list_series,
    read_contents,
)

MOST_TEXTS: Final = 100
"""Texts that are read at once."""


@dataclass(frozen=True)
class RecordsPart:
    """Consecutive histograms or texts of one name; ``offset`` is the number of earlier ones; times in seconds since
    1970.
    """

    offset: int
    steps: Sequence[int] = field(default_factory=list)
    times: Sequence[float] = field(default_factory=list)
    contents: Sequence[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class HistogramAt:
    """A histogram at a step; ``time`` in seconds since 1970. ``number``: its place among all of its name, from 0."""

    number: int
    step: int
    time: float
    histogram: Histogram


@dataclass(frozen=True)
class TextAt:
    """A text at a step; ``time`` in seconds since 1970. ``number``: its place among all of its name, from 0."""

    number: int
    step: int
    time: float
    text: str


def packed_histograms(
    offset: int, steps: Sequence[int], times: Sequence[float], histograms: Sequence[Histogram]
) -> RecordsPart:
    """A part of histograms, ready to be kept."""
    return RecordsPart(offset, steps, times, [pack_histogram(each) for each in histograms])


def packed_texts(offset: int, steps: Sequence[int], times: Sequence[float], texts: Sequence[str]) -> RecordsPart:
    """A part of texts, ready to be kept."""
    return RecordsPart(offset, steps, times, [zlib.compress(each.encode()) for each in texts])


def keep_records(connection: Connection, run: str, kind: Kind, parts: Mapping[str, RecordsPart]) -> int:
    """Add records, all of them new, after those of their names; returns how many. Raises Invalid for too many."""
    contents = [content for part in parts.values() for content in part.contents]
    if contents:
        check_room(connection, run, len(contents), sum(map(len, contents)))
    for name, part in parts.items():
        rows = zip(part.steps, part.times, part.contents, strict=True)
        add_records(connection, run, kind, name, [NewRecord(*row) for row in rows])
    return len(contents)


# Reading -------------------------------------------------------------------------------------------------------------


def places_of(connection: Connection, run: str, kind: Kind, name: str) -> list[RecordPlace]:
    """All records of a name in the order of their steps. Raises NotFound."""
    places = list_places(connection, run, kind, name)
    if not places:
        names = ", ".join(each.name for each in list_series(connection, run, kind)[:20]) or "none yet"
        raise NotFound(f"this run has no {kind} '{name[:100]}'; {kind}s: {names}")
    return places


def evenly(places: Sequence[RecordPlace], most: int) -> list[int]:
    """Indexes of at most ``most`` places, evenly apart, with the first and the last; 0: all."""
    count = len(places)
    if not most or count <= most:
        return list(range(count))
    if most == 1:
        return [count - 1]
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def read_histograms(
    connection: Connection, run: str, name: str, places: Sequence[RecordPlace], chosen: Sequence[int]
) -> list[HistogramAt]:
    """The histograms at these indexes of ``places``, which `places_of` returned."""
    contents = read_contents(connection, run, "histogram", name, [places[i].number for i in chosen])
    return [
        HistogramAt(i, places[i].step, places[i].time, unpack_histogram(contents[places[i].number])) for i in chosen
    ]


def read_texts(
    connection: Connection, run: str, name: str, places: Sequence[RecordPlace], chosen: Sequence[int]
) -> list[TextAt]:
    """The texts at these indexes of ``places``, which `places_of` returned."""
    contents = read_contents(connection, run, "text", name, [places[i].number for i in chosen])
    return [
        TextAt(i, places[i].step, places[i].time, zlib.decompress(contents[places[i].number]).decode()) for i in chosen
    ]
