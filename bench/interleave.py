"""Ours and the alternatives in turn, in one process tree, so that a machine's moods fall on all of them alike."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

REPEATS = 5


@dataclass
class Times:
    """Seconds of each repetition: ``cpu`` of this process, its threads and the children it has waited for; ``wall``."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


def interleaved(work: Mapping[str, Callable[[], object]], repeats: int = REPEATS, warmups: int = 1) -> dict[str, Times]:
    """Time each piece of work ``repeats`` times, one after the other, in an order that turns with every round."""
    names = list(work)
    for _ in range(warmups):
        for name in names:
            work[name]()
    found = {name: Times() for name in names}
    for turn in range(repeats):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            cpu, wall = cpu_seconds(), time.perf_counter()
            work[name]()
            found[name].wall.append(time.perf_counter() - wall)
            found[name].cpu.append(cpu_seconds() - cpu)
    return found


def cpu_seconds() -> float:
    """Of this process and of the children that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
