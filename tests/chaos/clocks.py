"""Clocks that are set apart: a small library that is preloaded into every process of a yard, and the file it reads."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

from tests.chaos.fault import PARTIES

_SOURCE = Path(__file__).with_name("clock.c")


class Clocks:
    """Seconds by which the clock of each party is wrong. Raises OSError without a C compiler."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            raise FileNotFoundError("clocks cannot be set apart without a C compiler (on Debian: apt install gcc)")
        library, path = folder / "clock.so", folder / "clocks"
        done = subprocess.run(
            [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE), "-ldl"],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise OSError(f"clock.c was not compiled: {done.stderr}")
        path.write_bytes(bytes(16 * len(PARTIES)))
        with open(path, "r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 0)
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCKS": str(path)}

    def set(self, party: str, seconds: int) -> None:
        """Set the clock of a party apart by so many seconds; 0 sets it right."""
        struct.pack_into("<q", self._shared, 8 * PARTIES.index(party), seconds)

    def reads(self, party: str) -> int:
        """How often processes of a party have read a clock that was wrong."""
        found: int = struct.unpack_from("<Q", self._shared, 8 * (len(PARTIES) + PARTIES.index(party)))[0]
        return found

    def close(self) -> None:
        """Let go of the file."""
        self._shared.close()
