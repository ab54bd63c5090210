"""What a run has besides curves, as values of an event file: images by step, histograms and texts."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from sqlalchemy import Engine

from app.contract.errors import NotFound
from app.contract.histogram import unpack_histogram
from app.contract.run_files import stepped_image, suffix_of
from app.contract.settings import Settings
from app.formats.summary_values import SIGNATURES, HistogramValue, ImageValue, TextValue, Value
from app.services.run_files import logged_file, open_file
from app.store.database import reading
from app.store.run_file import list_files
from app.store.step_record import Kind, list_places, list_series, read_contents

SLICE: Final = 100
_KINDS: Final[tuple[Kind, ...]] = ("histogram", "text")


def iterate_values(settings: Settings, engine: Engine, run: str) -> Iterator[Value]:
    """Load the images, histograms and texts of a logged run a few at a time; images that are gone are left out."""
    yield from _images(settings, engine, run)
    for kind in _KINDS:
        with reading(engine) as connection:
            names = [each.name for each in list_series(connection, run, kind)]
        for name in names:
            yield from _records(engine, run, kind, name)


def _images(settings: Settings, engine: Engine, run: str) -> Iterator[Value]:
    with reading(engine) as connection:
        files = list_files(connection, run, "images")
    stepped = [(found, file) for file in files if (found := stepped_image(file.path)) and not found.compressed]
    for found, file in sorted(stepped, key=lambda each: (each[0].key, each[0].step, each[0].timestamp)):
        suffix = suffix_of(file.path).removeprefix(".")
        if suffix not in SIGNATURES.values():
            continue
        try:
            content = b"".join(open_file(settings, logged_file(run, file)))
        except NotFound:
            continue
        yield ImageValue(found.key, found.step, content, suffix, found.timestamp / 1000)


def _records(engine: Engine, run: str, kind: Kind, name: str) -> Iterator[Value]:
    with reading(engine) as connection:
        places = list_places(connection, run, kind, name)
    for start in range(0, len(places), SLICE):
        part = places[start : start + SLICE]
        with reading(engine) as connection:
            contents = read_contents(connection, run, kind, name, [place.number for place in part])
        for place in part:
            content = contents[place.number]
            if kind == "histogram":
                yield HistogramValue(name, place.step, unpack_histogram(content), place.time)
            else:
                yield TextValue(name, place.step, zlib.decompress(content).decode(), place.time)
