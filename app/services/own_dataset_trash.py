"""The trash for the user's own datasets: a folder beside them, from which a deleted one can be restored."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

TRASH = ".trash"
"""In the folder of own datasets; its entries are NAME@MILLISECONDS."""


def trash_dataset(datasets: Path, name: str) -> str:
    """Move all versions of a dataset to the trash; returns the name of the entry. Raises FileNotFoundError."""
    own = datasets / "own"
    (own / TRASH).mkdir(parents=True, exist_ok=True)
    entry = f"{name}@{time.time_ns() // 1_000_000}"
    os.rename(own / name, own / TRASH / entry)
    return entry


def restore_dataset(datasets: Path, entry: str) -> bool:
    """Restore an entry of the trash; False if it is gone, or another dataset has its name now."""
    own = datasets / "own"
    try:
        # Replaces an empty folder, which an import that was killed may have left, and no other one.
        os.rename(own / TRASH / entry, own / entry.partition("@")[0])
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def purge_datasets(datasets: Path, before: float) -> list[str]:
    """Delete what has been in the trash since ``before`` (seconds since 1970); returns the entries. Raises OSError."""
    old = [entry for entry in trashed(datasets) if _deleted_at(entry) < before * 1000]
    for entry in old:
        shutil.rmtree(datasets / "own" / TRASH / entry)
    return old


def trashed(datasets: Path) -> list[str]:
    """The entries of the trash, the newest first."""
    try:
        entries = [each.name for each in (datasets / "own" / TRASH).iterdir()]
    except FileNotFoundError:
        return []
    return sorted(entries, key=lambda entry: -_deleted_at(entry))


def trashed_versions(datasets: Path) -> list[tuple[str, str]]:
    """Name and version of every dataset in the trash."""
    folders = [(entry.partition("@")[0], datasets / "own" / TRASH / entry) for entry in trashed(datasets)]
    return [(name, each.name) for name, folder in folders if folder.exists() for each in folder.iterdir()]


def _deleted_at(entry: str) -> int:
    return int(entry.partition("@")[2] or 0)
