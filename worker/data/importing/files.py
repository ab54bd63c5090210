"""Files of a folder or an archive, as far as they may be read."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import BinaryIO, Final, Protocol

import numpy as np
import numpy.typing as npt

from worker.data.importing.names import clean, is_hidden, unsafe
from worker.data.importing.skipped import Skipped
from worker.data.importing.tasks import BATCH, BATCH_BYTES, Task

Places = npt.NDArray[np.int64]

MOST_FILES: Final = 2_000_000
MOST_BYTES: Final = 2**40
"""Of all files, unpacked."""
MOST_RATIO: Final = 1_000
SUSPICIOUS_BYTES: Final = 100_000_000
"""A file of at least so many bytes that was packed to less than 1/MOST_RATIO of them is not unpacked."""
HEAD_BYTES: Final = 2**16
"""Bytes of an image file that tell its size."""


class Files(Protocol):
    """Regular files in a source that are neither hidden nor unsafe, of any kind and in any order."""

    @property
    def names(self) -> list[str]:
        """Paths within the source, with "/"; all different."""
        ...

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Bytes of each, unpacked; may be wrong."""
        ...

    def open(self, place: int) -> BinaryIO:
        """A file by its place in `names`, to read from its start. Raises OSError, Unusable."""
        ...

    def image_sizes(self, places: list[int]) -> Iterator[tuple[int, int] | None]:
        """Width and height of images; None for those that cannot be read, or are not known yet."""
        ...

    def tasks(self, places: Places) -> Iterator[Task]:
        """Tasks for all rows of a draft, of which each is the file at this place; in the order that is read fastest.

        Raises ImportFailed, OSError.
        """
        ...


class Admission:
    """Decides which files of a source are listed, and reports the others as skipped."""

    def __init__(self, skipped: Skipped) -> None:
        self._skipped = skipped
        self._files = 0
        self._bytes = 0

    def admit(self, path: str, size: int, packed: int | None = None) -> bool:
        """Whether to list a file. size, packed: bytes unpacked and, in an archive, packed."""
        if is_hidden(path):
            return self.refuse(path, "hidden", "belongs to the operating system or is hidden")
        if why := unsafe(path):
            return self.refuse(path, "unsafe", why)
        if not clean(path):
            return self.refuse(path, "unsafe", "has no name")
        if packed is not None and size > SUSPICIOUS_BYTES and size > packed * MOST_RATIO:
            return self.refuse(path, "limit", f"expands to more than {MOST_RATIO:,} times its packed size")
        if self._files >= MOST_FILES:
            return self.refuse(path, "limit", f"there are more than {MOST_FILES:,} files")
        if self._bytes + size > MOST_BYTES:
            return self.refuse(path, "limit", f"all files together have more than {MOST_BYTES // 2**30:,} GiB")
        self._files += 1
        self._bytes += size
        return True

    def refuse(self, path: str, kind: str, why: str) -> bool:
        """Report a file as skipped; returns False."""
        self._skipped.add(path, kind, why)
        return False


def batches(order: Places, sizes: npt.NDArray[np.int64]) -> Iterator[Places]:
    """Cut an order of rows into parts of few enough images and bytes. sizes: of the rows in this order."""
    start = 0
    while start < len(order):
        within = np.cumsum(sizes[start : start + BATCH]) <= BATCH_BYTES
        stop = start + max(1, int(within.sum()))
        yield order[start:stop]
        start = stop


def last_places(names: list[str]) -> dict[str, int]:
    """Last place of each name if any may be there twice; otherwise nothing, since millions need much memory."""
    hashes = np.fromiter(map(hash, names), np.int64, len(names))
    if len(np.unique(hashes)) == len(names):
        return {}
    return {name: place for place, name in enumerate(names)}


def integers(values: array[int]) -> npt.NDArray[np.int64]:
    """An array of type "q" as int64, without copying."""
    return np.frombuffer(values, np.int64) if values else np.zeros(0, np.int64)
