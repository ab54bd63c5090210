"""Entries that a trainer reported and the recorder has not committed yet, on this machine's disk.

Two files alternate: one is written, the other is emptied as soon as all of it is committed. They survive the trainer
and the worker but not a power failure, and are locked while a process writes them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_HEAD = struct.Struct("<QBI")
TURN_BYTES = 256 * 1024


@dataclass(frozen=True)
class SpoolEntry:
    """One entry: its sequence number, kind and body."""

    sequence: int
    kind: str
    body: bytes


class Spool:
    """The spool of one attempt at a run. Raises BlockingIOError if another process is writing it."""

    def __init__(self, folder: Path, run: str, fence: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.run = run
        self.fence = fence
        self._paths = [folder / f"{run}.{fence}.{turn}" for turn in (0, 1)]
        self._files: list[BinaryIO] = [open(path, "ab", buffering=0) for path in self._paths]
        try:
            for file in self._files:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise
        self._newest = [0, 0]
        self._turn = 0

    def append(self, entry: SpoolEntry) -> None:
        """Write an entry, which survives this process's death once this returns; OSError if nothing was written."""
        kind = entry.kind.encode()
        file = self._files[self._turn]
        record = _HEAD.pack(entry.sequence, len(kind), len(entry.body)) + kind + entry.body
        written = file.write(record)
        if written != len(record):
            file.truncate(file.seek(0, os.SEEK_END) - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
        self._newest[self._turn] = entry.sequence

    def discard(self, committed: int) -> None:
        """Discard committed entries, one file at a time."""
        other = 1 - self._turn
        if self._newest[other] and self._newest[other] <= committed:
            self._files[other].truncate(0)
            self._newest[other] = 0
        if not self._newest[other] and self._files[self._turn].seek(0, os.SEEK_END) > TURN_BYTES:
            self._turn = other

    def read(self) -> list[SpoolEntry]:
        """All entries in order; drops and removes a last one that a crash cut off."""
        entries: list[SpoolEntry] = []
        for turn, path in enumerate(self._paths):
            complete, end = _read(path)
            self._files[turn].truncate(end)  # entries appended from now on must be readable
            self._newest[turn] = max((entry.sequence for entry in complete), default=0)
            entries += complete
        entries.sort(key=lambda entry: entry.sequence)
        return entries

    def remove(self) -> None:
        """Remove the files, once everything is committed."""
        for path in self._paths:
            path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Close and unlock the files; their contents stay."""
        for file in self._files:
            file.close()


def _read(path: Path) -> tuple[list[SpoolEntry], int]:
    """The complete entries of a file, and the offset where they end."""
    content = path.read_bytes()
    entries: list[SpoolEntry] = []
    whole = 0
    while whole + _HEAD.size <= len(content):
        sequence, kind_bytes, body_bytes = _HEAD.unpack_from(content, whole)
        at = whole + _HEAD.size
        end = at + kind_bytes + body_bytes
        if end > len(content):
            break
        entries.append(SpoolEntry(sequence, content[at : at + kind_bytes].decode(), content[at + kind_bytes : end]))
        whole = end
    return entries, whole


def leftovers(folder: Path) -> list[tuple[str, int]]:
    """Run and fence of every spool in ``folder``."""
    if not folder.is_dir():
        return []
    names = {path.name.rsplit(".", 1)[0] for path in folder.iterdir() if path.suffix in (".0", ".1")}
    return sorted((name.rsplit(".", 1)[0], int(name.rsplit(".", 1)[1])) for name in names)
