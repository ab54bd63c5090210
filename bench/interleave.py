"""Alternating measurements in one process tree, so that noise of the machine affects all candidates equally."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

REPEATS = 5


@dataclass
class Times:
    """Seconds per repetition: ``cpu`` of this process, its threads and finished children, and ``wall``."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


def interleaved(work: Mapping[str, Callable[[], object]], repeats: int = REPEATS, warmups: int = 1) -> dict[str, Times]:
    """Time each piece of work ``repeats`` times in turn; the order rotates with every round."""
    names = list(work)
    for _ in range(warmups):
        for name in names:
            work[name]()
    times = {name: Times() for name in names}
    for turn in range(repeats):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            cpu, wall = cpu_seconds(), time.perf_counter()
            work[name]()
            times[name].wall.append(time.perf_counter() - wall)
            times[name].cpu.append(cpu_seconds() - cpu)
    return times


def cpu_seconds() -> float:
    """CPU seconds of this process and of its finished children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
