"""What a trainer has said and the recorder has not committed yet, on this machine's disk.

Two files take turns: one is written, the other is emptied as soon as all of it is committed. They outlive the trainer
and the worker, not a power cut, and are locked while a process writes them.
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
class Said:
    """One entry: its number, kind and body."""

    sequence: int
    kind: str
    body: bytes


class Spool:
    """The spool of one attempt at a run. Raises BlockingIOError when another process writes it."""

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

    def append(self, said: Said) -> None:
        """Keep an entry; it is safe from the death of this process when this returns. Raises OSError, nothing kept."""
        kind = said.kind.encode()
        file = self._files[self._turn]
        record = _HEAD.pack(said.sequence, len(kind), len(said.body)) + kind + said.body
        written = file.write(record)
        if written != len(record):
            file.truncate(file.seek(0, os.SEEK_END) - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
        self._newest[self._turn] = said.sequence

    def cut(self, committed: int) -> None:
        """Forget what is committed, a file at a time."""
        other = 1 - self._turn
        if self._newest[other] and self._newest[other] <= committed:
            self._files[other].truncate(0)
            self._newest[other] = 0
        if not self._newest[other] and self._files[self._turn].seek(0, os.SEEK_END) > TURN_BYTES:
            self._turn = other

    def read(self) -> list[Said]:
        """Every entry that is kept, in order; a last one that was cut off by a crash is left out, and removed."""
        found: list[Said] = []
        for turn, path in enumerate(self._paths):
            kept, end = _read(path)
            self._files[turn].truncate(end)  # what is appended from now on must be found again
            self._newest[turn] = max((said.sequence for said in kept), default=0)
            found += kept
        found.sort(key=lambda said: said.sequence)
        return found

    def remove(self) -> None:
        """Everything is committed: remove the files."""
        for path in self._paths:
            path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Give the files back, contents kept."""
        for file in self._files:
            file.close()


def _read(path: Path) -> tuple[list[Said], int]:
    """The whole entries of a file, and where they end."""
    content = path.read_bytes()
    found: list[Said] = []
    whole = 0
    while whole + _HEAD.size <= len(content):
        sequence, kind_bytes, body_bytes = _HEAD.unpack_from(content, whole)
        at = whole + _HEAD.size
        end = at + kind_bytes + body_bytes
        if end > len(content):
            break
        found.append(Said(sequence, content[at : at + kind_bytes].decode(), content[at + kind_bytes : end]))
        whole = end
    return found, whole


def leftovers(folder: Path) -> list[tuple[str, int]]:
    """Run and fence of every spool in ``folder``."""
    if not folder.is_dir():
        return []
    names = {path.name.rsplit(".", 1)[0] for path in folder.iterdir() if path.suffix in (".0", ".1")}
    return sorted((name.rsplit(".", 1)[0], int(name.rsplit(".", 1)[1])) for name in names)
