"""The data folder: whether Runyard can write to it, told in a sentence before anything starts."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

WRITTEN = ("runyard.db", "up.lock")
"""Files that every start opens for writing."""
FOLDERS = ("redis", "logs", "artifacts", "datasets", "spool")
"""Folders in which every start makes files."""


class StartError(RuntimeError):
    """Runyard cannot start here; the message says why and what to do."""


def check_data_folder(folder: Path) -> None:
    """Make the data folder and write to it. Raises StartError where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each in (folder, *(folder / name for name in FOLDERS)):
            if each == folder or each.exists():
                # Not os.access: only an attempt finds a file system that is full or mounted read-only.
                with tempfile.TemporaryFile(dir=each):
                    pass
        for name in WRITTEN:
            if (folder / name).exists():
                os.close(os.open(folder / name, os.O_RDWR))
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else folder
        raise StartError(
            f"cannot write to the data folder {folder} ({where}: {error.strerror});"
            " make it writable for this user, or choose another with --data-dir or RUNYARD_DATA_DIR"
        ) from error
