"""Checks before anything starts that the data folder is writable, and that its runs are still in it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from app.contract.disk_space import is_disk_full

WRITTEN = ("runyard.db", "up.lock")
"""Files that every start opens for writing."""
FOLDERS = ("redis", "logs", "artifacts", "datasets", "spool")
"""Folders in which every start creates files."""


MOVED = "moved-database"
"""What `runyard move-database` leaves: the address of the database that has the runs now, without its password."""


class StartError(RuntimeError):
    """Runyard cannot start; the message says why and what to do."""


def check_data_folder(folder: Path) -> None:
    """Create the data folder and check that it is writable. Raises StartError if it is not."""
    where = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, *(folder / name for name in FOLDERS)):
            if place == folder or place.exists():
                where = place
                # Not os.access: only an attempt detects a file system that is full or mounted read-only.
                with tempfile.TemporaryFile(dir=place, buffering=0) as file:
                    file.write(b"\0")  # a full disk may have room for an empty file
        for name in WRITTEN:
            if (folder / name).exists():
                where = folder / name
                os.close(os.open(folder / name, os.O_RDWR))
    except OSError as error:
        if is_disk_full(error):
            raise StartError(f"the disk of {folder} is full; free some space and start again") from error
        raise StartError(
            f"cannot write to the data folder {folder} ({where}: {error.strerror});"
            " make it writable for this user, or choose another with --data-dir or RUNYARD_DATA_DIR"
        ) from error


def mark_moved(folder: Path, address: str) -> None:
    """Note that the runs of a folder's SQLite file have moved to the database at ``address``, which has no password."""
    (folder / MOVED).write_text(f"{address}\n")


def check_not_moved(folder: Path) -> None:
    """Raises StartError if the runs of the folder's SQLite file have moved: whoever opened it would see old ones."""
    try:
        address = (folder / MOVED).read_text().strip()
    except FileNotFoundError:
        return
    raise StartError(
        f"the runs of {folder} have moved to {address}; set RUNYARD_DATABASE_URL to it, with its password,"
        f" or delete {folder / MOVED} to use {folder / 'runyard.db'} again"
    )
