"""TensorBoard's event files, read and written by hand: scalars, hyperparameters and how a run ended.

A file is records: length (uint64), its checksum, the bytes, their checksum; a checksum is CRC-32C, rotated by 15 bits,
plus a constant. Each record is an ``Event`` in protobuf's encoding, of which only the fields named here are looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

VERSION = "brain.Event:2"
LARGEST_RECORD = 64 * 2**20


class BrokenFile(ValueError):
    """What is read is no event file, or is damaged; a sentence says from where on."""


# CRC-32C, R. W. Franz' polynomial as Castagnoli chose it, bits in reverse.
_POLYNOMIAL = 0x82F63B78


def _table() -> list[int]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        found.append(value)
    return found


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """The CRC-32C of some bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def masked_crc(data: bytes) -> int:
    """The checksum that stands in the files."""
    crc = crc32c(data)
    return (crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF


# Records -------------------------------------------------------------------------------------------------------------


def read_records(file: BinaryIO) -> Iterator[bytes]:
    """The records of a file; one that is only half there, since it is being written, ends it. Raises BrokenFile."""
    at = 0
    while len(head := file.read(12)) == 12:
        length, crc = struct.unpack("<QI", head)
        if masked_crc(head[:8]) != crc or length > LARGEST_RECORD:
            raise BrokenFile(f"no record of an event file begins at byte {at:,}")
        body = file.read(length + 4)
        if len(body) < length + 4:
            return
        if masked_crc(body[:length]) != struct.unpack("<I", body[length:])[0]:
            raise BrokenFile(f"the record at byte {at:,} is damaged")
        yield body[:length]
        at += 16 + length


def record(body: bytes) -> bytes:
    """A record of a file."""
    head = struct.pack("<Q", len(body))
    return head + struct.pack("<I", masked_crc(head)) + body + struct.pack("<I", masked_crc(body))


# Protobuf ------------------------------------------------------------------------------------------------------------

Field = tuple[int, int | bytes]
_FIXED = {1: 8, 5: 4}


def fields_of(message: bytes) -> Iterator[Field]:
    """Number and value of every field: a varint as a number, all else as bytes. Raises BrokenFile."""
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
            raise BrokenFile("an event is not written as protobuf writes it")
        if at + length > len(message):
            raise BrokenFile("an event is cut off")
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise BrokenFile("an event is cut off")
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise BrokenFile("an event has a number where something else should be")
    return value


def _double(value: int | bytes) -> float:
    raw = _bytes(value)
    if len(raw) not in (4, 8):
        raise BrokenFile("an event has a number of another length than numbers have")
    return float(struct.unpack("<d" if len(raw) == 8 else "<f", raw)[0])


def _text(value: int | bytes) -> str:
    return _bytes(value).decode("utf-8", "replace")


def _signed(value: int | bytes) -> int:
    number = value if isinstance(value, int) else 0
    return number - 2**64 if number >= 2**63 else number


def _write(number: int, kind: int, body: bytes) -> bytes:
    length = _written_varint(len(body)) if kind == 2 else b""
    return _written_varint(number << 3 | kind) + length + body


def _written_varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


# Events --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scalar:
    """One value of one tag; ``time`` in seconds since 1970."""

    tag: str
    step: int
    value: float
    time: float


@dataclass
class EventMetadata:
    """What files say of a run beside its scalars; ``outcome`` is blank where they do not say how it ended."""

    parameters: dict[str, str] = field(default_factory=dict)
    outcome: str = ""
    scalar_tags: set[str] = field(default_factory=set)


def read_scalars(file: BinaryIO, told: EventMetadata) -> Iterator[Scalar]:
    """The scalars of a file in their order; what else it says of the run is put into ``told``. Raises BrokenFile."""
    for body in read_records(file):
        time, step, summary = 0.0, 0, None
        for number, value in fields_of(body):
            if number == 1:
                time = _double(value)
            elif number == 2:
                step = _signed(value)
            elif number == 5:
                summary = _bytes(value)
        for number, value in fields_of(summary or b""):
            if number == 1 and (found := _value(_bytes(value), told)) is not None:
                yield Scalar(found[0], step, found[1], time)


def _value(message: bytes, told: EventMetadata) -> tuple[str, float] | None:
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
        _hear_parameters(content, told)
        return None
    if plugin == "scalars":
        # Said with the first value of a tag only.
        told.scalar_tags.add(tag)
    if simple is not None:
        return tag, simple
    if tensor is not None and tag in told.scalar_tags:
        found = _scalar_of(tensor)
        return None if found is None else (tag, found)
    return None


def _plugin(metadata: bytes) -> tuple[str, bytes]:
    name, content = "", b""
    for number, value in fields_of(metadata):
        if number == 1:
            for inner, said in fields_of(_bytes(value)):
                if inner == 1:
                    name = _text(said)
                elif inner == 2:
                    content = _bytes(said)
    return name, content


_CONTENT = {1: "<f", 2: "<d", 3: "<i", 9: "<q", 19: "<e"}
# Fields of a tensor that hold its values, by what each is written as.
_VALUES = {5: "<f", 6: "<d"}


def _scalar_of(tensor: bytes) -> float | None:
    """The one value of a tensor that is a scalar; None of a type that is no number."""
    kind, content = 1, b""
    found: float | None = None
    for number, value in fields_of(tensor):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 4:
            content = _bytes(value)
        elif number in _VALUES and isinstance(value, bytes):
            size = struct.calcsize(_VALUES[number])
            found = float(struct.unpack(_VALUES[number], value[:size])[0]) if len(value) >= size else found
        elif number in (7, 10):
            found = float(_signed(value if isinstance(value, int) else _varint(value, 0)[0]))
    form = _CONTENT.get(kind)
    if content and form and len(content) == struct.calcsize(form):
        return float(struct.unpack(form, content)[0])
    return found


def _hear_parameters(content: bytes, told: EventMetadata) -> None:
    for number, value in fields_of(content):
        if number == 3:  # a session begins: its hyperparameters
            for inner, said in fields_of(_bytes(value)):
                if inner == 1:
                    name, parameter = _entry(_bytes(said))
                    told.parameters[name] = parameter
        elif number == 4:  # a session ends
            status = next((said for inner, said in fields_of(_bytes(value)) if inner == 1), 0)
            told.outcome = {1: "succeeded", 2: "failed"}.get(status if isinstance(status, int) else 0, told.outcome)


def _entry(message: bytes) -> tuple[str, str]:
    name, written = "", ""
    for number, value in fields_of(message):
        if number == 1:
            name = _text(value)
        elif number == 2:
            for kind, said in fields_of(_bytes(value)):
                if kind == 2:
                    written = f"{_double(said):.17g}" if _double(said) % 1 else f"{_double(said):.0f}"
                elif kind == 3:
                    written = _text(said)
                elif kind == 4:
                    written = "true" if said else "false"
    return name, written


# Writing -------------------------------------------------------------------------------------------------------------


def write_events(scalars: Iterable[Scalar], began: float) -> Iterator[bytes]:
    """An event file, piece by piece, which TensorBoard shows as one run."""
    yield record(_write(1, 1, struct.pack("<d", began)) + _write(3, 2, VERSION.encode()))
    for each in scalars:
        value = _write(1, 2, each.tag.encode()) + _write(2, 5, _single(each.value))
        summary = _write(1, 2, value)
        head = _write(1, 1, struct.pack("<d", each.time)) + _write(2, 0, _written_varint(each.step))
        yield record(head + _write(5, 2, summary))


def _single(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:
        # Too large for the 32 bits that these files have.
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))
