"""Reads a source into a draft, with reader processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from app.contract.dataset_import import Choices
from worker.data.importing.catalog import Catalog
from worker.data.importing.draft import Draft, open_files
from worker.data.importing.import_folder import ImportFolder, remove
from worker.data.importing.pool import Pool
from worker.data.importing.reader import FOUND, ReaderSettings
from worker.data.importing.skipped import KINDS, Skipped
from worker.data.importing.sources import open_source

_FEW: Final = 64
_LITTLE: Final = 2 * 2**20
"""Images and bytes up to which no reader is started: that takes longer than to read them."""
_HASHED: Final = 2**20
_LISTS: Final = (".csv", ".tsv", ".parquet")
"""Endings of files that may only name the images."""


class _Stopped(Exception):
    """The import has ended meanwhile."""


def read_draft(folder: ImportFolder, source: Path, original: str, choices: Choices, processes: int) -> Draft:
    """Replace the draft of an import by one for these choices. Raises ImportFailed, ImportCancelled, OSError."""
    remove(folder.draft)
    folder.begin("reading", "listing files")
    skipped = Skipped()
    catalog = open_source(source, original, skipped, folder.tick)
    suited = catalog.side()
    side = choices.side or suited
    of_file = source.is_file() and source.suffix.lower() not in _LISTS
    settings = ReaderSettings(folder.draft, side, catalog.channels, choices.fit, contents=not of_file)
    n = len(catalog.paths)
    folder.begin("reading", "reading images", n)
    open_files(settings, n)
    with _file_checksum(source if of_file else None) as whole:
        found = _read(folder, catalog, settings, skipped, 0 if n <= _FEW and _is_little(source) else processes)
        folder.begin("reading", "analyzing the images", n)
        checksum = whole(folder) if of_file else _contents_checksum(catalog, found)
    draft = Draft(
        folder.draft,
        side,
        suited,
        choices.fit,
        catalog.channels,
        catalog.paths,
        found,
        catalog.labels,
        catalog.parts,
        catalog.classes,
        skipped,
        catalog.layout,
        catalog.notes,
        checksum,
    )
    draft.save()
    return draft


def _read(
    folder: ImportFolder, catalog: Catalog, settings: ReaderSettings, skipped: Skipped, processes: int
) -> npt.NDArray[np.void]:
    """What is known of each row, FOUND [N]."""
    found = np.zeros(len(catalog.paths), FOUND)
    done = 0
    with closing(Pool(settings, processes).do(catalog.tasks(), lambda: folder.tick(done))) as results:
        for result in results:
            rows = result.found["row"]
            found[rows] = result.found
            done += len(rows)
            for row, reason in result.reasons.items():
                skipped.add(catalog.paths[row], KINDS[found["skipped"][row] - 1], reason)
    return found


def _is_little(source: Path) -> bool:
    """Whether all files of a source together are small. A folder with many files is not."""
    if source.is_file() and source.suffix.lower() not in _LISTS:
        return source.stat().st_size <= _LITTLE
    total = files = 0
    for where, _, names in os.walk(source if source.is_dir() else source.parent):
        for name in names:
            files += 1
            with suppress(FileNotFoundError):  # deleted meanwhile
                total += os.lstat(os.path.join(where, name)).st_size
            if total > _LITTLE or files > 10 * _FEW:
                return False
    return True


def _contents_checksum(catalog: Catalog, found: npt.NDArray[np.void]) -> str:
    """Of names and contents of all images, with their classes and splits."""
    content = hashlib.sha256()
    columns = (catalog.labels.tolist(), catalog.parts.tolist(), np.ascontiguousarray(found["content"]))
    for path, label, part, checksum in zip(catalog.paths, *columns, strict=True):
        content.update(f"{path}\0{catalog.classes[label]}\0{part}\0".encode() + checksum.tobytes())
    return content.hexdigest()


class _OfFile:
    """The checksum of a file that is being computed."""

    def __init__(self, source: Path | None, executor: ThreadPoolExecutor) -> None:
        self._stopped = False
        self._future = None if source is None else executor.submit(self._compute, source)

    def stop(self) -> None:
        """Nobody wants it any more."""
        self._stopped = True

    def _compute(self, source: Path) -> str:
        content = hashlib.sha256()
        with source.open("rb") as file:
            while data := file.read(_HASHED):
                if self._stopped:
                    raise _Stopped
                content.update(data)
        return content.hexdigest()

    def __call__(self, folder: ImportFolder) -> str:
        """Wait for it. Raises OSError, ImportCancelled."""
        assert self._future is not None
        while self._future not in wait([self._future], timeout=0.1).done:
            folder.tick()
        return self._future.result()


@contextmanager
def _file_checksum(source: Path | None) -> Iterator[_OfFile]:
    """Compute the checksum of a file while other processes read it."""
    with ThreadPoolExecutor(1) as executor:
        checksum = _OfFile(source, executor)
        try:
            yield checksum
        finally:
            checksum.stop()
