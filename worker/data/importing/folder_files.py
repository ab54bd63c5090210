"""Files of a folder."""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from worker.data.importing.files import Admission, Places, batches, integers
from worker.data.importing.names import Names, clean, is_hidden
from worker.data.importing.picture import size_of
from worker.data.importing.skipped import Skipped
from worker.data.importing.tasks import FilesTask, Task
from worker.reporting.error_text import reason

_MOST_DEEP: Final = 100
"""Folders within each other."""


class FolderFiles:
    """See `Files`. Links are followed unless they lead out of the folder or back to a folder that they are in."""

    def __init__(self, folder: Path, skipped: Skipped, tick: Callable[[], None]) -> None:
        """tick: called for every folder."""
        self._root = os.fsencode(os.path.realpath(folder))
        self._admission = Admission(skipped)
        self._tick = tick
        self._names = Names()
        self._sizes = array("q")
        self._list(b"", frozenset(), 0)
        self.names: list[str] = self._names.decoded()

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """See `Files`."""
        return integers(self._sizes)

    def open(self, place: int) -> BinaryIO:
        """See `Files`."""
        return open(os.path.join(self._root, self._raw(place)), "rb")

    def image_sizes(self, places: list[int]) -> Iterator[tuple[int, int] | None]:
        """See `Files`."""
        for place in places:
            try:
                with self.open(place) as file:
                    yield size_of(file)
            except OSError:
                yield None

    def tasks(self, places: Places) -> Iterator[Task]:
        """See `Files`."""
        for rows in batches(np.arange(len(places)), self.sizes[places]):
            yield FilesTask(self._root, rows.tolist(), [self._raw(int(places[row])) for row in rows])

    def _raw(self, place: int) -> bytes:
        return self._names.odd.get(place) or self.names[place].encode()

    def _list(self, folder: bytes, above: frozenset[tuple[int, int]], depth: int) -> None:
        self._tick()
        shown = folder.decode("utf-8", "replace")
        try:
            status = os.stat(os.path.join(self._root, folder))
            with os.scandir(os.path.join(self._root, folder)) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self._admission.refuse(f"{shown}/", "unreadable", f"the folder cannot be opened ({reason(error)})")
            return
        here = (status.st_dev, status.st_ino)
        if here in above:
            self._admission.refuse(f"{shown}/", "unsafe", "links to one of its parent folders")
            return
        if depth > _MOST_DEEP:
            self._admission.refuse(f"{shown}/", "limit", f"is nested more than {_MOST_DEEP} folders deep")
            return
        for entry in found:
            self._add(entry, os.path.join(folder, entry.name), above | {here}, depth)

    def _add(self, entry: os.DirEntry[bytes], path: bytes, above: frozenset[tuple[int, int]], depth: int) -> None:
        shown = path.decode("utf-8", "replace")
        if entry.is_symlink() and not _within(os.path.realpath(os.path.join(self._root, path)), self._root):
            self._admission.refuse(shown, "unsafe", "is a link that points outside the source")
            return
        try:
            status = entry.stat()
        except OSError as error:
            self._admission.refuse(shown, "unreadable", f"cannot be opened ({reason(error)})")
            return
        if stat.S_ISDIR(status.st_mode):
            if is_hidden(entry.name.decode("utf-8", "replace")):
                self._admission.refuse(f"{shown}/", "hidden", "belongs to the operating system or is hidden")
            else:
                self._list(path, above, depth + 1)
        elif not stat.S_ISREG(status.st_mode):
            self._admission.refuse(shown, "unsafe", "is neither a file nor a folder")
        elif self._admission.admit(shown, status.st_size):
            self._names.add(path)
            self._sizes.append(status.st_size)


class ListedFiles(FolderFiles):
    """Files of a folder that a table lists; the others are not looked at."""

    def __init__(self, folder: Path, paths: list[str], skipped: Skipped) -> None:
        self._root = os.fsencode(os.path.realpath(folder))
        self._admission = Admission(skipped)
        self._names = Names()
        self._sizes = array("q")
        seen = set()
        for path in paths:
            # A table made on Windows.
            for name in (clean(path), clean(path.replace("\\", "/"))):
                if name not in seen and name and "\0" not in name:
                    seen.add(name)
                    self._look(name)
        self.names = self._names.decoded()

    def _look(self, name: str) -> None:
        path = os.path.join(self._root, name.encode())
        try:
            status = os.stat(path)
        except OSError:
            return
        if not stat.S_ISREG(status.st_mode):
            return
        if not _within(os.path.realpath(path), self._root):
            self._admission.refuse(name, "unsafe", "points outside the table's folder")
        elif self._admission.admit(name, status.st_size):
            self._names.add(name.encode())
            self._sizes.append(status.st_size)


class SingleFile(FolderFiles):
    """One file of a folder, such as a table."""

    def __init__(self, path: Path) -> None:
        self._root = os.fsencode(os.path.realpath(path.parent))
        self._names = Names()
        self._names.add(os.fsencode(path.name))
        self._sizes = array("q", [path.stat().st_size])
        self.names = self._names.decoded()


def _within(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")
