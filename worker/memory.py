"""What memory this machine has to give, and whether the system ended a process for want of it. No torch."""

from __future__ import annotations

from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_VMSTAT = Path("/proc/vmstat")
_ALLOCATOR_WORDS = ("can't allocate memory", "not enough memory", "cannot allocate memory")


def free_bytes() -> int:
    """What can be had without swapping: of the machine, and within the limit of a container."""
    free = int(psutil.virtual_memory().available)
    limit, used = _number(_CGROUP / "memory.max"), _number(_CGROUP / "memory.current")
    if limit is not None and used is not None:
        # What files left behind in the cache is given up for the asking.
        free = min(free, limit - used + (_entry(_CGROUP / "memory.stat", "inactive_file") or 0))
    return max(0, free)


def total_bytes() -> int:
    """All the memory of this machine, or of the container."""
    total = int(psutil.virtual_memory().total)
    limit = _number(_CGROUP / "memory.max")
    return total if limit is None else min(total, limit)


def out_of_memory_kills() -> int:
    """How many processes the system has ended so far for want of memory, here or in this container."""
    return (_entry(_VMSTAT, "oom_kill") or 0) + (_entry(_CGROUP / "memory.events", "oom_kill") or 0)


def is_host_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the machine's own memory is used up."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(each in words for each in _ALLOCATOR_WORDS)
    )


def _number(path: Path) -> int | None:
    try:
        words = path.read_text().strip()
    except OSError:
        return None
    return int(words) if words.isdecimal() else None


def _entry(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{name} ")]
    return int(found[0]) if found and found[0].isdecimal() else None
