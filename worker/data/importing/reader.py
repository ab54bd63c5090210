"""Decodes the images of tasks into a draft."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
import numpy.typing as npt

from worker.data.importing.errors import Unusable
from worker.data.importing.picture import Picture, decode
from worker.data.importing.scaling import THUMBNAIL, thumbnails
from worker.data.importing.skipped import KINDS
from worker.data.importing.tasks import Encoded, Pixels, Task

FOUND: Final = np.dtype(
    [
        ("row", "<i8"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("mode", "S8"),
        ("gray", "?"),
        ("skipped", "u1"),
        ("pixels", "<u8", (2,)),
        ("content", "<u8", (2,)),
    ]
)
"""What is known of a row. ``skipped``: 0, or 1 + the place in KINDS of why; ``pixels``, ``content``: checksums."""

IMAGES: Final = "images.u8"
THUMBNAILS: Final = "thumbnails.u8"
THUMBNAIL_BYTES: Final = 3 * THUMBNAIL * THUMBNAIL


@dataclass(frozen=True)
class ReaderSettings:
    """``draft``: folder with the files IMAGES and THUMBNAILS. ``side``, ``channels``: of images. ``fit``: see `Fit`.

    ``contents``: whether to compute checksums of the files.
    """

    draft: Path
    side: int
    channels: int
    fit: str
    contents: bool = True

    @property
    def image_bytes(self) -> int:
        """Of one row."""
        return self.channels * self.side * self.side


@dataclass(frozen=True, eq=False)
class Done:
    """A task's results: FOUND [n], and for each row that was skipped the reason."""

    found: npt.NDArray[np.void]
    reasons: dict[int, str]


class Reader:
    """Does tasks in this process. Raises OSError if the source or the draft cannot be read or written."""

    def __init__(self, settings: ReaderSettings) -> None:
        self._settings = settings
        self._images = os.open(settings.draft / IMAGES, os.O_WRONLY)
        self._thumbnails = os.open(settings.draft / THUMBNAILS, os.O_WRONLY)

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._images)
        os.close(self._thumbnails)

    def do(self, task: Task) -> Done:
        """Decode the images and write those that can be used into the draft."""
        settings = self._settings
        pixels = np.zeros((len(task.rows), settings.channels, settings.side, settings.side), np.uint8)
        found = np.zeros(len(task.rows), FOUND)
        reasons: dict[int, str] = {}
        for place, (row, data) in enumerate(task.images()):
            result = self._decoded(data)
            entry = found[place]
            if settings.contents and not isinstance(data, Unusable):
                entry["content"] = _checksum(data)
            entry["row"] = row
            if isinstance(result, Unusable):
                entry["skipped"] = 1 + KINDS.index(result.kind)
                reasons[row] = str(result)
                continue
            entry["width"], entry["height"] = result.width, result.height
            entry["mode"], entry["gray"] = result.mode.encode(), result.gray
            entry["pixels"] = np.frombuffer(result.checksum, "<u8")
            pixels[place] = result.pixels
        self._write(found, pixels)
        return Done(found, reasons)

    def _write(self, found: npt.NDArray[np.void], pixels: Pixels) -> None:
        small = thumbnails(pixels)
        rows = found["row"]
        # Rows that follow each other are written at once.
        for places in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
            if len(places):
                first, part = int(rows[places[0]]), slice(places[0], places[-1] + 1)
                write_at(self._images, pixels[part].tobytes(), first * self._settings.image_bytes)
                write_at(self._thumbnails, small[part].tobytes(), first * THUMBNAIL_BYTES)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other reader of this draft is in here."""
        fcntl.flock(self._images, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._images, fcntl.LOCK_UN)

    def _decoded(self, data: Encoded | Unusable) -> Picture | Unusable:
        if isinstance(data, Unusable):
            return data
        try:
            settings = self._settings
            return decode(data, settings.side, settings.fit, settings.channels, self._alone)
        except Unusable as error:
            return error


def _checksum(data: Encoded) -> npt.NDArray[np.uint64]:
    content = data if isinstance(data, bytes) else data.tobytes()
    return np.frombuffer(hashlib.blake2b(content, digest_size=16).digest(), "<u8")


def write_at(file: int, content: bytes, place: int) -> None:
    """Write all bytes at a place of a file. Raises OSError."""
    written = os.pwrite(file, content, place)
    while written < len(content):
        written += os.pwrite(file, content[written:], place + written)
