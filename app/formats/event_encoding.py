"""Encoding of TensorBoard event files: records with checksums, each a message in protobuf's encoding.

A record is its length (uint64), its checksum, the bytes, their checksum; a checksum is CRC-32C, rotated by 15 bits,
plus a constant.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from app.formats.crc32c import masked_crc

MAX_RECORD_BYTES = 64 * 2**20
HEAD_BYTES = 12
SEARCHED_BYTES = 2**20
# What may be the length of a record and its checksum: of eight bytes, the upper four are 0, and the others are not.
_CANDIDATE = re.compile(rb"(?s)(?=(?!\0{4})...[\0-\4]\0{4}.{4})")


class BrokenFile(ValueError):
    """A file without a record, or a record that is not an event."""


# Records -------------------------------------------------------------------------------------------------------------


@dataclass
class Reading:
    """How far a file has been read, so that the rest can be read when it has grown.

    ``records``: number of good records. ``position``: of the byte that is read next. ``needed``: the size that the file
    must have before there is more to read; 0 if unknown. ``passed``: number of damaged places that were passed.
    ``damaged_end``: whether the last record is damaged, unless the rest of it is still to be written.
    """

    records: int = 0
    position: int = 0
    needed: int = 0
    passed: int = 0
    damaged_end: bool = False

    @property
    def damaged(self) -> int:
        """Number of places where one or more records are damaged."""
        return self.passed + self.damaged_end


def read_records(file: BinaryIO, reading: Reading, *, growing: bool = False) -> Iterator[bytes]:
    """Read the records of a seekable file from where an earlier reading ended, up to one that is not complete.

    A record whose bytes do not match their checksum is skipped. If its length is damaged, its end is unknown, so the
    next record is searched for. ``growing``: nothing is searched for in a record whose end is still to be written.
    Raises BrokenFile if there is no record at all.
    """
    file.seek(reading.position)
    reading.damaged_end, reading.needed = False, 0
    # Seeks only where something is damaged.
    while len(head := file.read(HEAD_BYTES)) == HEAD_BYTES:
        length = _length(head)
        if length is not None:
            body = file.read(length + 4)
            end = reading.position + HEAD_BYTES + length + 4
            if len(body) == length + 4:
                if masked_crc(body[:length]) == struct.unpack("<I", body[length:])[0]:
                    reading.records += 1
                    reading.position = end
                    yield body[:length]
                    continue
                following = file.read(HEAD_BYTES)
                if len(following) < HEAD_BYTES:
                    # A file system may show the new size of a file before its new bytes.
                    reading.damaged_end = True
                    break
                if _length(following) is not None:
                    reading.passed += 1
                    reading.position = file.seek(end)
                    continue
            elif growing:
                reading.needed = end
                break
        found = _find_record(file, reading.position + 1)
        if found is None:
            # An incomplete record is damaged only if another one follows.
            reading.damaged_end = length is None
            break
        reading.passed += 1
        reading.position = file.seek(found)
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
        key, at = varint_at(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = varint_at(message, at)
            yield number, value
            continue
        if kind == 2:
            length, at = varint_at(message, at)
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise BrokenFile("an event is not valid protobuf")
        if at + length > len(message):
            raise BrokenFile("an event is truncated")
        yield number, message[at : at + length]
        at += length


def varint_at(message: bytes, at: int) -> tuple[int, int]:
    """Decode the varint at a position; returns it and the position behind it. Raises BrokenFile."""
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


def bytes_of(value: int | bytes) -> bytes:
    """Return the bytes of a field that is not a varint. Raises BrokenFile."""
    if isinstance(value, int):
        raise BrokenFile("an event field has the wrong type")
    return value


def double_of(value: int | bytes) -> float:
    """Return the number of a float or double field. Raises BrokenFile."""
    raw = bytes_of(value)
    if len(raw) not in (4, 8):
        raise BrokenFile("an event field has an invalid length")
    return float(struct.unpack("<d" if len(raw) == 8 else "<f", raw)[0])


def text_of(value: int | bytes) -> str:
    """Return the text of a field; bytes that are not UTF-8 are replaced. Raises BrokenFile."""
    return bytes_of(value).decode("utf-8", "replace")


def signed_of(value: int | bytes) -> int:
    """Return the signed 64-bit integer of a varint."""
    number = value if isinstance(value, int) else 0
    return number - 2**64 if number >= 2**63 else number


def encode(number: int, kind: int, body: bytes) -> bytes:
    """Encode a field; ``kind``: 0 for a varint, 1 and 5 for eight and four bytes, 2 for any number of bytes."""
    length = encode_varint(len(body)) if kind == 2 else b""
    return encode_varint(number << 3 | kind) + length + body


def encode_varint(value: int) -> bytes:
    """Encode a number of at least 0."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
