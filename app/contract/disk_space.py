"""Free space of the disks that a process writes to, the limits that pages and runs act on, and what a full disk raises.

Sizes are in bytes.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.contract.settings import Settings

State = Literal["ok", "low", "full"]
Size = Annotated[int, Field(ge=0, lt=2**63)]

WARN_SHARE: Final = 10
PAUSE_SHARE: Final = 50
"""On a small disk, the limits are a tenth and a fiftieth of it."""
_WORDS: Final = ("No space left on device", "Disk quota exceeded", "database or disk is full")
_SQLITE_FULL: Final = 13
_POSTGRESQL_FULL: Final = "53100"


class DiskSpace(BaseModel):
    """The disk of a process with the least room.

    ``low``: below the limit for a warning. ``full``: below the limit for a pause, until ``needed`` is free again.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str
    folder: str
    free: Size
    total: Size
    needed: Size = 0
    state: State = "ok"


def warn_limit(settings: Settings, total: int) -> int:
    """Free space below which a disk of ``total`` bytes is low."""
    return min(settings.disk_warn_mib * 2**20, total // WARN_SHARE)


def pause_limit(settings: Settings, total: int) -> int:
    """Free space below which a disk of ``total`` bytes counts as full."""
    return min(settings.disk_pause_mib * 2**20, total // PAUSE_SHARE)


def state_of(settings: Settings, free: int, total: int, before: State = "ok") -> State:
    """The state of a disk. One that was full ``before`` needs a quarter more, so that the state does not flicker."""
    limit = pause_limit(settings, total)
    if free < (limit + limit // 4 if before == "full" else limit):
        return "full"
    return "low" if free < warn_limit(settings, total) else "ok"


def free_space(folder: Path) -> tuple[int, int]:
    """Free and total bytes of the disk of a folder, or of its nearest parent that exists; OSError if unreadable.

    A disk without room for another file has 0 bytes free, whatever its blocks.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(existing)
    status = os.statvfs(existing)
    return (0 if status.f_files and not status.f_favail else usage.free), usage.total


def written_folders(settings: Settings) -> list[Path]:
    """Local folders that Runyard writes to; an artifact store elsewhere has none."""
    folders = [settings.data_dir.absolute()]
    store = settings.artifacts.removeprefix("file://")
    return folders if "://" in store else [*folders, Path(store).absolute()]


def measure(settings: Settings, before: State = "ok") -> DiskSpace | None:
    """The disk with the least room above its limits; None if the system does not tell."""
    found: list[DiskSpace] = []
    for folder in written_folders(settings):
        try:
            free, total = free_space(folder)
        except OSError:
            continue
        limit = pause_limit(settings, total)
        state = state_of(settings, free, total, before)
        needed = limit + limit // 4 if state == "full" else warn_limit(settings, total)
        found.append(
            DiskSpace(host=socket.gethostname(), folder=str(folder), free=free, total=total, needed=needed, state=state)
        )
    return min(found, key=lambda disk: disk.free - disk.needed, default=None)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is that of a full disk: of a file, SQLite, PostgreSQL or Redis."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if getattr(error, "sqlite_errorcode", None) == _SQLITE_FULL or getattr(error, "sqlstate", "") == (
            _POSTGRESQL_FULL
        ):
            return True
        if any(words in str(error) for words in _WORDS):
            return True
        error = getattr(error, "orig", None) or error.__cause__ or error.__context__
    return False


def disk_full_reason(folder: Path | str) -> str:
    """Why a run failed that could not write to this folder, and what to do."""
    return f"disk full on {socket.gethostname()}: no room in {folder}; free some space, then resume the run"
