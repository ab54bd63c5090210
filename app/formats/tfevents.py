"""Reader and writer for TensorBoard event files: scalars, images, histograms, texts, hyperparameters and the outcome.

Each record is an ``Event`` in protobuf's encoding; only the fields below are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from app.formats.event_encoding import (
    BrokenFile,
    Reading,
    bytes_of,
    double_of,
    encode,
    encode_varint,
    fields_of,
    read_records,
    record,
    signed_of,
)
from app.formats.summary_values import EventMetadata, Scalar, Value, encode_value, read_value

VERSION = "brain.Event:2"
# Fields of an event besides its time, step, version and summary.
_NOT_KEPT = {4: "graphs", 8: "profiles of a run", 9: "graphs"}


class EventReader:
    """Reads the values of one file, further each time, as the file grows."""

    def __init__(self, metadata: EventMetadata) -> None:
        """``metadata``: filled in while the file is read; ``damaged`` is not."""
        self.reading = Reading()
        self._metadata = metadata
        self._unreadable = 0

    @property
    def damaged(self) -> int:
        """Number of places where one or more records are damaged."""
        return self.reading.damaged + self._unreadable

    def read(self, file: BinaryIO, *, growing: bool = False) -> Iterator[list[Value]]:
        """Read the values that were not read yet, those of one event at a time, and skip damaged records.

        ``growing``: the rest of an incomplete record is waited for. Raises BrokenFile if the file has no record at all.
        """
        for body in read_records(file, self.reading, growing=growing):
            values, unreadable = _values(body, self._metadata)
            self._unreadable += unreadable
            yield values


def read_values(file: BinaryIO, metadata: EventMetadata) -> Iterator[Value]:
    """Read the values of a seekable file in order, skip damaged records, and fill in ``metadata``.

    Raises BrokenFile if the file has no record at all.
    """
    reader = EventReader(metadata)
    try:
        for values in reader.read(file):
            yield from values
    finally:
        metadata.damaged += reader.damaged


def read_scalars(file: BinaryIO, metadata: EventMetadata) -> Iterator[Scalar]:
    """Read only the scalars; see `read_values`."""
    return (value for value in read_values(file, metadata) if isinstance(value, Scalar))


def _values(body: bytes, metadata: EventMetadata) -> tuple[list[Value], bool]:
    """Return the values of an event, and whether it or one of them cannot be read."""
    time, step, summary = 0.0, 0, b""
    found: list[Value] = []
    try:
        for number, value in fields_of(body):
            if number == 1:
                time = double_of(value)
            elif number == 2:
                step = signed_of(value)
            elif number == 5:
                summary = bytes_of(value)
            elif number in _NOT_KEPT:
                metadata.leave_out(_NOT_KEPT[number])
        messages = [bytes_of(value) for number, value in fields_of(summary) if number == 1]
    except BrokenFile:
        return [], True
    unreadable = False
    for message in messages:
        try:
            found += read_value(message, step, time, metadata)
        except BrokenFile:
            unreadable = True
    return found, unreadable


def write_events(values: Iterable[Value], started: float) -> Iterator[bytes]:
    """Encode an event file, record by record; TensorBoard shows it as one run."""
    yield record(encode(1, 1, struct.pack("<d", started)) + encode(3, 2, VERSION.encode()))
    for value in values:
        head = encode(1, 1, struct.pack("<d", value.time)) + encode(2, 0, encode_varint(value.step % 2**64))
        yield record(head + encode(5, 2, encode(1, 2, encode_value(value))))
