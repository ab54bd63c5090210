"""Downloads archives, verifies and unpacks them.

torchvision could download too, but it waits forever on a silent server, draws a progress bar on stderr and leaves
truncated files behind.
"""

import gzip
import hashlib
import http.client
import math
import os
import shutil
import struct
import tarfile
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.reporting.error_text import reason
from worker.reporting.progress import ProgressReporter

ATTEMPTS: Final = 3
SILENCE_SECONDS: Final = 30.0
_CHUNK_BYTES: Final = 1 << 18
_IDX_UINT8: Final = 0x08


class NotFetched(Exception):
    """A file could not be downloaded; the message is the reason."""


class _CutOff(Exception):
    """A file arrived truncated or damaged; the message continues "the download of FILE"."""


@dataclass(frozen=True)
class Archive:
    """One file to download, and the files unpacked from it.

    files: with their MD5; "" for an IDX file, which has no published one, and whose header gives its length.
    """

    path: Path
    urls: tuple[str, ...]
    md5: str
    files: tuple[tuple[Path, str], ...]

    def remove(self) -> None:
        """Remove the archive and everything unpacked from it."""
        for path in (self.path, *(path for path, _ in self.files)):
            path.unlink(missing_ok=True)


def complete(archive: Archive, reporter: ProgressReporter) -> None:
    """Make sure that every file of the archive exists and is complete. Raises NotFetched, or OSError from the disk."""
    for _ in range(ATTEMPTS):
        invalid = [path for path, md5 in archive.files if not _is_complete(path, md5)]
        if not invalid:
            return
        for path in invalid:
            if path.exists():
                reporter.log(f"{path.name} is damaged; downloading it again")
                path.unlink()
        if not _has_md5(archive.path, archive.md5):
            _fetch(archive, reporter)
        try:
            _unpack(archive)
        except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            reporter.log(f"{archive.path.name} is damaged ({reason(error)}); downloading it again")
            archive.path.unlink()
    raise NotFetched(f"{archive.path.name} was damaged {ATTEMPTS} times in a row")


def _has_md5(path: Path, md5: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5
    except FileNotFoundError:
        return False


def _is_complete(path: Path, md5: str) -> bool:
    return _has_md5(path, md5) if md5 else _is_complete_idx(path)


def _is_complete_idx(path: Path) -> bool:
    """Whether the file is as long as its header says: 0, 0, type, dimensions, then each dimension in four bytes."""
    try:
        with path.open("rb") as file:
            zero, kind, dimensions = struct.unpack(">HBB", file.read(4))
            sides = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            length = file.tell() + math.prod(sides)
            return (zero, kind) == (0, _IDX_UINT8) and length == path.stat().st_size
    except (FileNotFoundError, struct.error):
        return False


def _unpack(archive: Archive) -> None:
    if archive.path.name.endswith(".tar.gz"):
        with tarfile.open(archive.path) as tar:
            tar.extractall(archive.path.parent, filter="data")
        return
    ((path, _),) = archive.files
    unfinished = path.with_name(path.name + ".part")
    try:
        with gzip.open(archive.path) as packed, unfinished.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, _CHUNK_BYTES)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _fetch(archive: Archive, reporter: ProgressReporter) -> None:
    """Download the archive from the first mirror that delivers it intact. Raises NotFetched, or OSError from the disk.

    A file that arrives truncated or damaged is requested again, at most twice; a server that cannot be reached is not.
    """
    archive.path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.path.with_name(archive.path.name + ".part")
    reasons: list[str] = []
    broken = 0
    try:
        while True:
            broken_before = broken
            for url in archive.urls:
                try:
                    _fetch_once(url, unfinished, archive.md5, reporter)
                except NotFetched as error:
                    reasons.append(str(error))
                except _CutOff as error:
                    broken += 1
                    reasons.append(f"the download of {archive.path.name} {error}")
                    reporter.log(reasons[-1])
                else:
                    os.replace(unfinished, archive.path)
                    return
                if broken == ATTEMPTS:
                    break
            if broken in (broken_before, ATTEMPTS):
                # The first of several mirrors is the maintained one, so its reason is the most useful.
                raise NotFetched(reasons[0])
    finally:
        unfinished.unlink(missing_ok=True)


def _fetch_once(url: str, path: Path, md5: str, reporter: ProgressReporter) -> None:
    """Raises NotFetched, _CutOff, or OSError from the disk."""
    request = urllib.request.Request(url, headers={"User-Agent": "runyard"})
    try:
        response = urllib.request.urlopen(request, timeout=SILENCE_SECONDS)
    except (OSError, http.client.HTTPException) as error:
        raise NotFetched(reason(error)) from error
    content = hashlib.md5(usedforsecurity=False)
    size = response.length or 0
    received = 0
    reporter.begin(f"downloading {url.rsplit('/', 1)[-1]}", f"{size / 1e6:.1f} MB" if size else "")
    with response, path.open("wb") as file:
        while True:
            try:
                chunk = response.read1(_CHUNK_BYTES)  # what has arrived, so that a slow download reports progress
            except (OSError, http.client.HTTPException) as error:
                raise _CutOff(f"was interrupted ({reason(error)})") from error
            if not chunk:
                break
            file.write(chunk)
            content.update(chunk)
            received += len(chunk)
            of = f" of {size / 1e6:.0f}" if size else ""
            reporter.update(received / size if size else 0.0, f"{received / 1e6:.0f}{of} MB")
    if content.hexdigest() != md5:
        raise _CutOff("was interrupted" if received < size else "arrived damaged")
