"""Copies of a SQLite database in use: for backups, and one by itself before every migration."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

FOLDER: Final = "backups"
"""Beside the database."""
KEPT: Final = 3
SPARE_BYTES: Final = 50 * 10**6


class MigrationError(RuntimeError):
    """The database cannot be brought to this version; the message says why and what to do."""


def copy_database(source: Path, target: Path) -> None:
    """Copy a database as it is at one moment; neither readers nor writers of it wait. Raises OSError, sqlite3.Error."""
    target.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=10)) as live,
        closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")


def copy_before_migration(database: Path, revision: str) -> Path:
    """Copy the database to ``backups/`` before it is migrated from ``revision``; keeps the newest three copies.

    Raises MigrationError if there is no room, since without a copy nothing could be undone.
    """
    folder = database.parent / FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        free, needed = shutil.disk_usage(folder).free, database.stat().st_size + SPARE_BYTES
        if free < needed:
            raise MigrationError(
                f"the disk has no room for a copy of the database before it is updated ({free // 10**6:,} MB free,"
                f" {needed // 10**6:,} MB needed); make room and start again"
            )
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        target = folder / f"runyard-{moment}-revision-{revision}.db"
        part = target.with_suffix(".part")
        copy_database(database, part)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.rename(part, target)
        for old in sorted(folder.glob("runyard-*.db"))[:-KEPT]:
            old.unlink()
    except (OSError, sqlite3.Error) as error:
        raise MigrationError(f"cannot copy the database to {folder} before it is updated: {error}") from error
    return target
