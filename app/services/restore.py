"""Restores a backup into a new data folder, which appears only once everything in it is checked."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from app.services.backup import CHUNK, DATABASE, FORMAT, MANIFEST, BackupError, Manifest, Member, Told
from app.store.database import knows_revision

PARTS = ("artifacts", "datasets", "spool")
"""Folders that a backup may fill."""


def restore(source: Path, folder: Path, told: Told = lambda written: None) -> Manifest:
    """Restore a backup into ``folder``, which must not exist or be empty.

    ``told`` is called with the bytes written so far. Raises BackupError, and then leaves the folder as it was.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BackupError(f"{folder} is not empty; a backup is restored into a new folder (choose one with --data-dir)")
    draft = folder.with_name(f".{folder.name}.restoring")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(draft, ignore_errors=True)  # of a restore that was killed
        draft.mkdir(mode=0o700)
        with _opened(source) as archive:
            manifest = _extract(archive, draft, told)
        _check(draft, manifest)
        os.sync()
        os.replace(draft, folder)  # replaces an empty folder, and no other
    except OSError as error:
        raise BackupError(_reason(error, source)) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def _reason(error: OSError, source: Path) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full; nothing was restored"
    return f"cannot restore: {error.filename or source}: {error.strerror or error}"


@contextmanager
def _opened(source: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(source, "r:") as archive:
            yield archive
    except tarfile.TarError as error:
        raise BackupError(f"{source} is not a backup of Runyard, or is damaged ({error})") from error


def _extract(archive: tarfile.TarFile, draft: Path, told: Told) -> Manifest:
    """Extract all members; returns the manifest, with which every one of them was compared."""
    found: dict[str, Member] = {}
    written = 0
    for information in archive:
        content = archive.extractfile(information) if information.isfile() else None
        if content is None:
            raise BackupError(f"{information.name} is not a file; this is not a backup of Runyard")
        if information.name == MANIFEST:
            return _verified(content.read(), found)
        path = _place(draft, information.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        found[information.name] = _write(content, path, information.mode & 0o777)
        os.utime(path, (information.mtime, information.mtime))
        written += information.size
        told(written)
    raise BackupError("the backup is incomplete: it ends before its list of files")


def _place(draft: Path, name: str) -> Path:
    """Where a member belongs. Raises BackupError for a name that no backup has."""
    parts = PurePosixPath(name).parts
    allowed = len(parts) == 1 or (parts and parts[0] in PARTS)
    if not allowed or name.startswith("/") or ".." in parts or "\0" in name:
        raise BackupError(f"{name!r} does not belong into a backup of Runyard")
    return draft.joinpath(*parts)


def _write(content: IO[bytes], path: Path, mode: int) -> Member:
    """Write a file in place of an earlier one of its name."""
    path.unlink(missing_ok=True)
    digest, size = hashlib.sha256(), 0
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        while part := content.read(CHUNK):
            file.write(part)
            digest.update(part)
            size += len(part)
    return Member(size, digest.hexdigest())


def _verified(content: bytes, found: dict[str, Member]) -> Manifest:
    try:
        manifest = Manifest.from_json(content)
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError("the backup's list of files cannot be read; it may be of a newer Runyard") from error
    if manifest.format != FORMAT:
        raise BackupError(f"this backup has format {manifest.format}, which this Runyard ({FORMAT}) does not know")
    different = sorted(
        name for name in found.keys() | manifest.members if found.get(name) != manifest.members.get(name)
    )
    if different:
        more = f" and {len(different) - 1:,} more" if different[1:] else ""
        raise BackupError(f"the backup is damaged: {different[0]}{more} is not what was backed up")
    return manifest


def _check(draft: Path, manifest: Manifest) -> None:
    """Raise BackupError unless the database is whole and of a revision that this version can open."""
    if DATABASE not in manifest.members:
        raise BackupError("the backup contains no database")
    if not knows_revision(manifest.revision):
        raise BackupError(
            f"this backup was made by Runyard {manifest.version}, which has a newer database; update Runyard first"
        )
    try:
        with closing(sqlite3.connect(draft / DATABASE)) as connection:
            (answer,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        answer = str(error)
    if answer != "ok":
        raise BackupError(f"the backup's database is damaged ({answer})")
