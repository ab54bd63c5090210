"""Members of a tar file, possibly compressed: read from its start, once to list them and once for their images."""

from __future__ import annotations

import heapq
import io
import lzma
import tarfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt

from worker.data.importing.errors import ImportFailed, Unusable
from worker.data.importing.files import HEAD_BYTES, Admission, Places, integers, last_places
from worker.data.importing.names import IMAGE_ENDINGS, Names, clean, ending
from worker.data.importing.picture import size_of
from worker.data.importing.skipped import Skipped
from worker.data.importing.tasks import BATCH, BATCH_BYTES, LARGEST_FILE, BytesTask, Task, too_long

SAMPLE: Final = 2_000
"""Images of which the first bytes are kept while listing, to know their sizes."""


class TarFiles:
    """See `Files`. Of members with the same name, the last one counts."""

    def __init__(self, path: Path, skipped: Skipped, tick: Callable[[], None]) -> None:
        """tick: called for every member. Raises ImportFailed, OSError."""
        self._path = path
        self._tick = tick
        self._skipped = skipped
        names, sizes = Names(), array("q")
        # The least checksums of names: the same sample in whatever order the members are.
        sample: list[tuple[int, int, tuple[int, int] | None]] = []
        kinds = array("b")
        with self._members() as members:
            for archive, member in members:
                raw = member.name.encode("utf-8", "surrogateescape")
                kinds.append(_kind(member))
                if kinds[-1] == _FILE and ending(member.name) in IMAGE_ENDINGS and member.size <= LARGEST_FILE:
                    key = -int.from_bytes(blake2b(raw, digest_size=8).digest(), "big")
                    if len(sample) < SAMPLE or key > sample[0][0]:
                        push = heapq.heappush if len(sample) < SAMPLE else heapq.heapreplace
                        push(sample, (key, len(names), _size(archive, member)))
                names.add(raw)
                sizes.append(member.size)
        self._select([clean(name) for name in names.decoded()], sizes, kinds)
        order = {place: row for row, place in enumerate(self._chosen.tolist())}
        self._image_sizes = {order[place]: size for _, place, size in sample if place in order}

    def _select(self, names: list[str], sizes: array[int], kinds: array[int]) -> None:
        latest = last_places(names)
        admission = Admission(self._skipped)
        self.names: list[str] = []
        chosen = array("q")
        for place, name in enumerate(names):
            if kinds[place] == _FOLDER or latest.get(name, place) != place:
                continue
            if kinds[place] == _OTHER:
                admission.refuse(name, "unsafe", "is a link or a device in an archive")
            elif admission.admit(name, sizes[place]):
                chosen.append(place)
                self.names.append(name)
        self._chosen = integers(chosen)
        self._sizes = integers(sizes)[self._chosen] if len(chosen) else np.zeros(0, np.int64)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """See `Files`."""
        return self._sizes

    @contextmanager
    def _members(self) -> Iterator[Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]]:
        """Raises ImportFailed where the archive is damaged, also during the iteration."""
        try:
            with tarfile.open(self._path, "r|*", encoding="utf-8", errors="surrogateescape") as archive:
                yield self._each(archive)
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
            raise ImportFailed("the tar file is damaged or truncated") from error
        except OSError as error:
            if error.errno is None:  # of the decompression
                raise ImportFailed("the tar file is damaged or truncated") from error
            raise

    def _each(self, archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        while (member := archive.next()) is not None:
            yield archive, member
            archive.members = []  # type: ignore[attr-defined]  # which it would collect
            self._tick()
        # Two blocks of zeros end an archive, of which the first was read. Without them, it ends between two members.
        end = archive.fileobj.read(tarfile.BLOCKSIZE) if archive.fileobj is not None else b""
        if not end:
            raise tarfile.ReadError

    def open(self, place: int) -> BinaryIO:
        """See `Files`. Decompresses everything before the file."""
        wanted = int(self._chosen[place])
        archive = tarfile.open(self._path, "r|*", encoding="utf-8", errors="surrogateescape")
        for number, (_, member) in enumerate(self._each(archive)):
            if number == wanted:
                return _content(archive, member)
        raise ImportFailed("the tar file has changed while it was read")

    def image_sizes(self, places: list[int]) -> Iterator[tuple[int, int] | None]:
        """See `Files`."""
        for place in places:
            yield self._image_sizes.get(place)

    def tasks(self, places: Places) -> Iterator[Task]:
        """See `Files`."""
        order = np.argsort(places, kind="stable")
        wanted = self._chosen[places[order]]
        rows: list[int] = []
        contents: list[bytes | Unusable] = []
        size = done = 0
        with self._members() as members:
            for number, (archive, member) in enumerate(members):
                if done == len(order):
                    break
                first = done
                while done < len(order) and wanted[done] == number:
                    done += 1
                if done == first:
                    continue
                large = member.size > LARGEST_FILE
                content = too_long() if large else _content(archive, member).read()
                for row in order[first:done]:
                    rows.append(int(row))
                    contents.append(content)
                size += 0 if isinstance(content, Unusable) else len(content) * (done - first)
                if len(rows) >= BATCH or size >= BATCH_BYTES:
                    yield BytesTask(rows, contents)
                    rows, contents, size = [], [], 0
        if rows:
            yield BytesTask(rows, contents)


_FILE, _FOLDER, _OTHER = 0, 1, 2


def _kind(member: tarfile.TarInfo) -> int:
    if member.isdir():
        return _FOLDER
    return _FILE if member.isreg() and not member.issparse() else _OTHER


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    content = archive.extractfile(member)
    assert content is not None
    return cast(BinaryIO, content)


def _size(archive: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[int, int] | None:
    # A TIFF may have its size at its end.
    whole = ending(member.name) in ("tif", "tiff")
    return size_of(io.BytesIO(_content(archive, member).read(-1 if whole else HEAD_BYTES)))
