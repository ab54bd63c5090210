"""Reader and writer for TensorBoard event files: scalars, hyperparameters and the outcome of a run.

A file is a sequence of records: length (uint64), its checksum, the bytes, their checksum; a checksum is CRC-32C,
rotated by 15 bits, plus a constant. Each record is an ``Event`` in protobuf's encoding; only the fields below are read.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

VERSION = "brain.Event:2"
MAX_RECORD_BYTES = 64 * 2**20
HEAD_BYTES = 12
SEARCHED_BYTES = 2**20
# What may be the length of a record and its checksum: of eight bytes, the upper four are 0, and the others are not.
_CANDIDATE = re.compile(rb"(?s)(?=(?!\0{4})...[\0-\4]\0{4}.{4})")


class BrokenFile(ValueError):
    """A file without a record, or a record that is not an event."""


# CRC-32C: Castagnoli's polynomial in reversed bit order.
_POLYNOMIAL = 0x82F63B78


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """Compute the CRC-32C of bytes."""
    crc, table = 0xFFFFFFFF, _TABLE
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def masked_crc(data: bytes) -> int:
    """Compute the masked checksum that event files use."""
    crc = crc32c(data)
    return (crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF


# Records -------------------------------------------------------------------------------------------------------------


@dataclass
class Reading:
    """What was read of a file: number of good records, and of places where one or more records are damaged."""

    records: int = 0
    damaged: int = 0


def read_records(file: BinaryIO, reading: Reading) -> Iterator[bytes]:
    """Read the records of a seekable file, up to one that is still being written, and count the damage.

    A record whose bytes do not match their checksum is skipped. If its length is damaged, its end is unknown, so the
    next record is searched for. Raises BrokenFile if there is no record at all.
    """
    position = 0
    # Seeks only where something is damaged.
    while len(head := file.read(HEAD_BYTES)) == HEAD_BYTES:
        length = _length(head)
        if length is not None:
            body = file.read(length + 4)
            end = position + HEAD_BYTES + length + 4
            if len(body) == length + 4:
                if masked_crc(body[:length]) == struct.unpack("<I", body[length:])[0]:
                    reading.records += 1
                    yield body[:length]
                    position = end
                    continue
                following = file.read(HEAD_BYTES)
                if len(following) < HEAD_BYTES or _length(following) is not None:
                    reading.damaged += 1
                    position = file.seek(end)
                    continue
        found = _find_record(file, position + 1)
        # An incomplete record is damaged only if another one follows.
        reading.damaged += length is None or found is not None
        if found is None:
            break
        position = file.seek(found)
    if reading.damaged and not reading.records:
        raise BrokenFile("not an event file: it has no valid record")


def _bytes_at(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


def _length(head: bytes) -> int | None:
    """Return the length of the record that begins with these bytes, or None if none does."""
    length, crc = struct.unpack("<QI", head)
    return length if length <= MAX_RECORD_BYTES and masked_crc(head[:8]) == crc else None


def _find_record(file: BinaryIO, position: int) -> int | None:
    """Return the position of the first record at or after ``position``, or None if there is none."""
    while len(block := _bytes_at(file, position, SEARCHED_BYTES)) >= HEAD_BYTES:
        for candidate in _CANDIDATE.finditer(block):
            start = candidate.start()
            if _length(block[start : start + HEAD_BYTES]) is not None:
                return position + start
        position += len(block) - HEAD_BYTES + 1
    return None


def record(body: bytes) -> bytes:
    """Encode a record."""
    head = struct.pack("<Q", len(body))
    return head + struct.pack("<I", masked_crc(head)) + body + struct.pack("<I", masked_crc(body))


# Protobuf ------------------------------------------------------------------------------------------------------------

Field = tuple[int, int | bytes]
_FIXED = {1: 8, 5: 4}


def fields_of(message: bytes) -> Iterator[Field]:
    """Decode number and value of every field: varints as integers, others as bytes. Raises BrokenFile."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise BrokenFile("an event is not valid protobuf")
        if at + length > len(message):
            raise BrokenFile("an event is truncated")
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    # Nearly all have one byte.
    if at < len(message) and message[at] < 128:
        return message[at], at + 1
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise BrokenFile("an event is truncated")
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise BrokenFile("an event field has the wrong type")
    return value


def _double(value: int | bytes) -> float:
    raw = _bytes(value)
    if len(raw) not in (4, 8):
        raise BrokenFile("an event field has an invalid length")
    return float(struct.unpack("<d" if len(raw) == 8 else "<f", raw)[0])


def _text(value: int | bytes) -> str:
    return _bytes(value).decode("utf-8", "replace")


def _signed(value: int | bytes) -> int:
    number = value if isinstance(value, int) else 0
    return number - 2**64 if number >= 2**63 else number


def _encode(number: int, kind: int, body: bytes) -> bytes:
    length = _encode_varint(len(body)) if kind == 2 else b""
    return _encode_varint(number << 3 | kind) + length + body


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


# Events --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scalar:
    """A value of a tag; ``time`` in seconds since 1970."""

    tag: str
    step: int
    value: float
    time: float


@dataclass
class EventMetadata:
    """What event files contain besides scalars; ``outcome``: blank if they do not record how the run ended.

    ``damaged``: number of places where one or more records are damaged.
    """

    parameters: dict[str, str] = field(default_factory=dict)
    outcome: str = ""
    scalar_tags: set[str] = field(default_factory=set)
    damaged: int = 0


def read_scalars(file: BinaryIO, metadata: EventMetadata) -> Iterator[Scalar]:
    """Read the scalars of a seekable file in order, skip damaged records, and fill in ``metadata``.

    Raises BrokenFile if the file has no record at all.
    """
    reading = Reading()
    try:
        for body in read_records(file, reading):
            try:
                scalars = _scalars(body, metadata)
            except BrokenFile:
                reading.damaged += 1
                continue
            yield from scalars
    finally:
        metadata.damaged += reading.damaged


def _scalars(body: bytes, metadata: EventMetadata) -> list[Scalar]:
    """Return the scalars of an event. Raises BrokenFile."""
    time, step, summary = 0.0, 0, b""
    for number, value in fields_of(body):
        if number == 1:
            time = _double(value)
        elif number == 2:
            step = _signed(value)
        elif number == 5:
            summary = _bytes(value)
    values = [_scalar(_bytes(value), metadata) for number, value in fields_of(summary) if number == 1]
    return [Scalar(value[0], step, value[1], time) for value in values if value is not None]


def _scalar(message: bytes, metadata: EventMetadata) -> tuple[str, float] | None:
    tag, plugin, content = "", "", b""
    simple: float | None = None
    tensor: bytes | None = None
    for number, value in fields_of(message):
        if number == 1:
            tag = _text(value)
        elif number == 2:
            simple = _double(value)
        elif number == 8:
            tensor = _bytes(value)
        elif number == 9:
            plugin, content = _plugin(_bytes(value))
    if plugin == "hparams":
        _read_parameters(content, metadata)
        return None
    if plugin == "scalars":
        # Only the first value of a tag names the plugin.
        metadata.scalar_tags.add(tag)
    if simple is not None:
        return tag, simple
    if tensor is not None and tag in metadata.scalar_tags:
        tensor_value = _tensor_value(tensor)
        return None if tensor_value is None else (tag, tensor_value)
    return None


def _plugin(message: bytes) -> tuple[str, bytes]:
    name, content = "", b""
    for number, value in fields_of(message):
        if number == 1:
            for inner, inner_value in fields_of(_bytes(value)):
                if inner == 1:
                    name = _text(inner_value)
                elif inner == 2:
                    content = _bytes(inner_value)
    return name, content


_CONTENT = {1: "<f", 2: "<d", 3: "<i", 9: "<q", 19: "<e"}
# Fields with the values of a tensor, and their encodings.
_VALUES = {5: "<f", 6: "<d"}


def _tensor_value(tensor: bytes) -> float | None:
    """Return the value of a scalar tensor, or None if its type is not a number."""
    kind, content = 1, b""
    result: float | None = None
    for number, value in fields_of(tensor):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 4:
            content = _bytes(value)
        elif number in _VALUES and isinstance(value, bytes):
            size = struct.calcsize(_VALUES[number])
            result = float(struct.unpack(_VALUES[number], value[:size])[0]) if len(value) >= size else result
        elif number in (7, 10):
            result = float(_signed(value if isinstance(value, int) else _varint(value, 0)[0]))
    encoding = _CONTENT.get(kind)
    if content and encoding and len(content) == struct.calcsize(encoding):
        return float(struct.unpack(encoding, content)[0])
    return result


def _read_parameters(content: bytes, metadata: EventMetadata) -> None:
    for number, value in fields_of(content):
        if number == 3:  # start of a session, with its hyperparameters
            for inner, inner_value in fields_of(_bytes(value)):
                if inner == 1:
                    name, parameter = _entry(_bytes(inner_value))
                    metadata.parameters[name] = parameter
        elif number == 4:  # end of a session
            status = next((inner_value for inner, inner_value in fields_of(_bytes(value)) if inner == 1), 0)
            outcomes = {1: "succeeded", 2: "failed"}
            metadata.outcome = outcomes.get(status if isinstance(status, int) else 0, metadata.outcome)


def _entry(message: bytes) -> tuple[str, str]:
    name, text = "", ""
    for number, value in fields_of(message):
        if number == 1:
            name = _text(value)
        elif number == 2:
            for kind, parameter in fields_of(_bytes(value)):
                if kind == 2:
                    number_value = _double(parameter)
                    text = f"{number_value:.17g}" if number_value % 1 else f"{number_value:.0f}"
                elif kind == 3:
                    text = _text(parameter)
                elif kind == 4:
                    text = "true" if parameter else "false"
    return name, text


# Writing -------------------------------------------------------------------------------------------------------------


def write_events(scalars: Iterable[Scalar], started: float) -> Iterator[bytes]:
    """Encode an event file, record by record; TensorBoard shows it as one run."""
    yield record(_encode(1, 1, struct.pack("<d", started)) + _encode(3, 2, VERSION.encode()))
    for scalar in scalars:
        value = _encode(1, 2, scalar.tag.encode()) + _encode(2, 5, _single(scalar.value))
        summary = _encode(1, 2, value)
        head = _encode(1, 1, struct.pack("<d", scalar.time)) + _encode(2, 0, _encode_varint(scalar.step % 2**64))
        yield record(head + _encode(5, 2, summary))


def _single(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:
        # Too large for 32 bits.
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))
