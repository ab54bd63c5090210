"""Work for a reader process: where to find some images, and the rows of the draft that they fill."""

from __future__ import annotations

import bz2
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from worker.data.importing.errors import Unusable
from worker.reporting.error_text import reason

Pixels = npt.NDArray[np.uint8]
Encoded = bytes | Pixels
"""A file's content, or pixels [H, W] or [H, W, C]."""

BATCH: Final = 256
"""Most images in a task."""
BATCH_BYTES: Final = 8 * 2**20
"""Bytes of encoded images after which a task is full."""
LARGEST_FILE: Final = 256 * 2**20
"""Bytes of an image file that are still read into memory."""

STORED, DEFLATED, BZIP2 = 0, 8, 12
LOCAL_HEADER: Final = struct.Struct("<4s5H3L2H")


class Task(Protocol):
    """Some images, read where the task is done."""

    @property
    def rows(self) -> list[int]:
        """Of the draft."""
        ...

    def images(self) -> Iterator[tuple[int, Encoded | Unusable]]:
        """Each row with its image, or why there is none. Raises OSError if the source itself cannot be read."""
        ...

    def single(self) -> list[Task]:
        """The same work as one task for each image."""
        ...


@dataclass(frozen=True)
class FilesTask:
    """Files of a folder, by their bytes as paths within it."""

    folder: bytes
    rows: list[int]
    names: list[bytes]

    def images(self) -> Iterator[tuple[int, Encoded | Unusable]]:
        """See `Task`."""
        for row, name in zip(self.rows, self.names, strict=True):
            try:
                with open(os.path.join(self.folder, name), "rb") as file:
                    data = file.read(LARGEST_FILE + 1)
            except OSError as error:
                yield row, Unusable("unreadable", f"cannot be opened ({reason(error)})")
                continue
            yield row, data if len(data) <= LARGEST_FILE else too_long()

    def single(self) -> list[Task]:
        """See `Task`."""
        return [FilesTask(self.folder, [row], [name]) for row, name in zip(self.rows, self.names, strict=True)]


@dataclass(frozen=True)
class ZipMember:
    """Where a member of a zip file is. ``start``: of its local header; ``packed``, ``size``: in bytes."""

    start: int
    packed: int
    size: int
    method: int
    checksum: int


@dataclass(frozen=True)
class ZipTask:
    """Members of a zip file."""

    archive: str
    rows: list[int]
    members: list[ZipMember]

    def images(self) -> Iterator[tuple[int, Encoded | Unusable]]:
        """See `Task`."""
        with open(self.archive, "rb") as file:
            for row, member in zip(self.rows, self.members, strict=True):
                if member.size > LARGEST_FILE:
                    yield row, too_long()
                    continue
                try:
                    data = b"".join(unpacked(file.fileno(), member))
                except Unusable as error:
                    yield row, error
                    continue
                yield row, data

    def single(self) -> list[Task]:
        """See `Task`."""
        return [ZipTask(self.archive, [row], [each]) for row, each in zip(self.rows, self.members, strict=True)]


@dataclass(frozen=True)
class BytesTask:
    """Image files that were read already."""

    rows: list[int]
    contents: list[bytes | Unusable]

    def images(self) -> Iterator[tuple[int, Encoded | Unusable]]:
        """See `Task`."""
        yield from zip(self.rows, self.contents, strict=True)

    def single(self) -> list[Task]:
        """See `Task`."""
        return [BytesTask([row], [content]) for row, content in zip(self.rows, self.contents, strict=True)]


@dataclass(frozen=True)
class PixelsTask:
    """Images that are not encoded: uint8 [n, H, W] or [n, H, W, C]."""

    rows: list[int]
    pixels: Pixels

    def images(self) -> Iterator[tuple[int, Encoded | Unusable]]:
        """See `Task`."""
        yield from zip(self.rows, self.pixels, strict=True)

    def single(self) -> list[Task]:
        """See `Task`."""
        return [PixelsTask([row], self.pixels[place : place + 1]) for place, row in enumerate(self.rows)]


def too_long() -> Unusable:
    """Why a file of more than LARGEST_FILE bytes is not read."""
    return Unusable("too large", f"the file has more than {LARGEST_FILE // 2**20} MiB")


def unpacked(file: int, member: ZipMember, chunk: int = 2**20) -> Iterator[bytes]:
    """The content of a zip file's member in chunks; verified at its end. Raises Unusable, OSError."""
    header = os.pread(file, LOCAL_HEADER.size, member.start)
    if len(header) < LOCAL_HEADER.size or header[:4] != b"PK\3\4":
        raise Unusable("unreadable", "is damaged in the archive")
    *_, name, extra = LOCAL_HEADER.unpack(header)
    place = member.start + LOCAL_HEADER.size + name + extra
    end = place + member.packed
    if member.method not in (STORED, DEFLATED, BZIP2):
        raise Unusable("unreadable", f"uses an unsupported compression method ({member.method})")
    unpack = _Unpack(member.method)
    size = checksum = 0
    while place < end:
        data = os.pread(file, min(chunk, end - place), place)
        if not data:
            raise Unusable("unreadable", "is truncated in the archive")
        place += len(data)
        for content in unpack(data):
            size += len(content)
            checksum = zlib.crc32(content, checksum)
            if size > member.size:
                raise Unusable("unreadable", "is larger than the archive says")
            yield content
    if size != member.size or checksum != member.checksum:
        raise Unusable("unreadable", "is damaged in the archive")


class _Unpack:
    """Decompresses a member's data chunk by chunk, each in pieces of at most a mebibyte."""

    _MOST: Final = 2**20

    def __init__(self, method: int) -> None:
        self._deflate = zlib.decompressobj(-15) if method == DEFLATED else None
        self._bzip2 = bz2.BZ2Decompressor() if method == BZIP2 else None

    def __call__(self, data: bytes) -> Iterator[bytes]:
        """Raises Unusable."""
        try:
            if self._deflate is not None:
                piece = self._deflate.decompress(data, self._MOST)
                yield piece
                while self._deflate.unconsumed_tail or len(piece) == self._MOST:
                    piece = self._deflate.decompress(self._deflate.unconsumed_tail, self._MOST)
                    yield piece
            elif self._bzip2 is not None:
                yield self._bzip2.decompress(data, self._MOST)
                while not self._bzip2.eof and not self._bzip2.needs_input:
                    yield self._bzip2.decompress(b"", self._MOST)
            else:
                yield data
        except (zlib.error, EOFError, OSError) as error:
            raise Unusable("unreadable", "is damaged in the archive") from error
