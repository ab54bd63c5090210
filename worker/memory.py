"""How much memory this machine has, and whether the system killed a process because it ran out. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_VMSTAT = Path("/proc/vmstat")
_ALLOCATOR_MESSAGES = ("can't allocate memory", "not enough memory", "cannot allocate memory")


def free_bytes() -> int:
    """Memory available without swapping, within the limit of a container."""
    free = int(psutil.virtual_memory().available)
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if limit is not None and used is not None:
        # The kernel frees the file cache on demand.
        free = min(free, limit - used + (_entry(_CGROUP / "memory.stat", "inactive_file") or 0))
    return max(0, free)


def total_bytes() -> int:
    """Total memory of this machine, or of the container."""
    total = int(psutil.virtual_memory().total)
    limit = _number(_CGROUP / "memory.max")
    return total if limit is None else min(total, limit)


def out_of_memory_kills() -> int:
    """How many processes the system has killed because memory ran out, on this machine or in this container."""
    return (_entry(_VMSTAT, "oom_kill") or 0) + (_entry(_CGROUP / "memory.events", "oom_kill") or 0)


def is_host_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the machine's own memory is used up."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(message in text for message in _ALLOCATOR_MESSAGES)
    )


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _entry(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.startswith(f"{name} ")]
    return int(values[0]) if values and values[0].isdecimal() else None
