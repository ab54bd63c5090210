"""Members of a zip file: of its directory only what is needed is kept, so that millions fit into memory."""

from __future__ import annotations

import io
import mmap
import struct
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from worker.data.importing.errors import ImportFailed, Unusable
from worker.data.importing.files import HEAD_BYTES, Admission, Places, batches, integers, last_places
from worker.data.importing.names import Names, clean
from worker.data.importing.picture import size_of
from worker.data.importing.skipped import Skipped
from worker.data.importing.tasks import LARGEST_FILE, Task, ZipMember, ZipTask, unpacked

_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")

_ENCRYPTED: Final = 0x1
_UNIX: Final = 3
_TICK: Final = 10_000
"""Entries between two ticks."""


class ZipFiles:
    """See `Files`. Of members with the same name, the last one counts."""

    def __init__(self, path: Path, skipped: Skipped, tick: Callable[[], None]) -> None:
        """Raises ImportFailed, OSError."""
        self._path = str(path)
        self._start, self._packed, self._sizes = array("q"), array("q"), array("q")
        self._methods, self._checksums = array("q"), array("q")
        names = Names()
        linked = []
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for raw, is_link in self._entries(content):
                    if is_link:
                        linked.append(len(names))
                    names.add(raw)
                    if len(names) % _TICK == 0:
                        tick()
        except (struct.error, ValueError, IndexError) as error:
            raise ImportFailed("the zip file is damaged or truncated") from error
        self._select([clean(name) for name in names.decoded()], set(linked), skipped)

    def _select(self, names: list[str], linked: set[int], skipped: Skipped) -> None:
        latest = last_places(names)
        admission = Admission(skipped)
        self.names: list[str] = []
        chosen = array("q")
        for place, name in enumerate(names):
            if name.endswith("/") or latest.get(name, place) != place:
                continue
            if place in linked:
                admission.refuse(name, "unsafe", "is a link in an archive")
            elif admission.admit(name, self._sizes[place], self._packed[place]):
                chosen.append(place)
                self.names.append(name)
        self._chosen = integers(chosen)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """See `Files`."""
        return integers(self._sizes)[self._chosen]

    def open(self, place: int) -> BinaryIO:
        """See `Files`."""
        return io.BufferedReader(_Stream(self._path, self._member(place)))

    def image_sizes(self, places: list[int]) -> Iterator[tuple[int, int] | None]:
        """See `Files`."""
        with open(self._path, "rb") as file:
            for place in places:
                member = self._member(place)
                try:
                    size = size_of(io.BytesIO(next(unpacked(file.fileno(), member, HEAD_BYTES), b"")))
                    # A TIFF may have its size at its end.
                    if size is None and member.size <= LARGEST_FILE:
                        size = size_of(io.BytesIO(b"".join(unpacked(file.fileno(), member))))
                except Unusable:
                    size = None
                yield size

    def tasks(self, places: Places) -> Iterator[Task]:
        """See `Files`."""
        order = np.argsort(integers(self._start)[self._chosen[places]], kind="stable")
        for rows in batches(order, self.sizes[places[order]]):
            yield ZipTask(self._path, rows.tolist(), [self._member(int(places[row])) for row in rows])

    def _member(self, place: int) -> ZipMember:
        chosen = int(self._chosen[place])
        columns = (self._start, self._packed, self._sizes, self._methods, self._checksums)
        return ZipMember(*(column[chosen] for column in columns))

    def _entries(self, content: mmap.mmap) -> Iterator[tuple[bytes, bool]]:
        """Name of each member, and whether it is a link. Raises ImportFailed, struct.error."""
        place, count, shift = _directory(content)
        for _ in range(count):
            (
                signature,
                made_by,
                _,
                flags,
                method,
                _,
                _,
                checksum,
                packed,
                size,
                name,
                extra,
                comment,
                _,
                _,
                mode,
                start,
            ) = _ENTRY.unpack_from(content, place)
            if signature != b"PK\1\2":
                raise ImportFailed("the zip file is damaged")
            place += _ENTRY.size
            raw = content[place : place + name]
            if 0xFFFFFFFF in (packed, size, start):
                size, packed, start = _large(content[place + name : place + name + extra], size, packed, start)
            if flags & _ENCRYPTED:
                raise ImportFailed("the zip file is encrypted; pack it again without a password")
            place += name + extra + comment
            for column, value in (
                (self._start, start + shift),
                (self._packed, packed),
                (self._sizes, size),
                (self._methods, method),
                (self._checksums, checksum),
            ):
                column.append(value)
            yield raw, made_by >> 8 == _UNIX and (mode >> 16) & 0xF000 == 0xA000


def _directory(content: mmap.mmap) -> tuple[int, int, int]:
    """Where the directory starts, its number of entries, and what must be added to all places."""
    end = content.rfind(b"PK\5\6", max(0, len(content) - _END.size - 0xFFFF))
    if end < 0:
        raise ImportFailed("the file is not a zip file, or is truncated")
    _, _, _, _, count, size, start, _ = _END.unpack_from(content, end)
    if 0xFFFFFFFF in (size, start) or count == 0xFFFF:
        locator = end - _LOCATOR.size
        if locator >= 0 and content[locator : locator + 4] == b"PK\6\7":
            end64 = content.rfind(b"PK\6\6", 0, locator)
            if end64 < 0:
                raise ImportFailed("the zip file is damaged")
            *_, count, size, start = _END64.unpack_from(content, end64)
            end = end64
    shift = end - size - start
    if shift < 0 or count * _ENTRY.size > size:
        raise ImportFailed("the zip file is damaged or truncated")
    return start + shift, count, shift


def _large(extra: bytes, size: int, packed: int, start: int) -> tuple[int, int, int]:
    """Size, packed size and start from the field for large files, where they do not fit into an entry."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            values = list(struct.unpack_from(f"<{length // 8}Q", extra, 4))
            return tuple(  # type: ignore[return-value]
                values.pop(0) if value == 0xFFFFFFFF and values else value for value in (size, packed, start)
            )
        extra = extra[4 + length :]
    return size, packed, start


class _Stream(io.RawIOBase):
    """A member as a file. Reading raises Unusable where it is damaged."""

    def __init__(self, archive: str, member: ZipMember) -> None:
        self._file = open(archive, "rb")
        self._chunks = unpacked(self._file.fileno(), member)
        self._rest = b""

    def close(self) -> None:
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            try:
                self._rest = next(self._chunks)
            except StopIteration:
                return 0
        taken = min(len(buffer), len(self._rest))
        buffer[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        return taken
