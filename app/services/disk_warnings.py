"""Which disks are low or full: that of the server, and those of connected workers."""

from __future__ import annotations

from collections.abc import Iterable

from app.contract.disk_space import DiskSpace, measure
from app.contract.settings import Settings
from app.store.worker import WorkerRecord


def known_disks(settings: Settings, workers: Iterable[WorkerRecord]) -> list[DiskSpace]:
    """All of these disks, the server's first; each once, with several workers on a machine."""
    own = measure(settings)
    found = {(own.host, own.total): own} if own is not None else {}
    for worker in workers:
        if worker.disk is not None:
            found.setdefault((worker.host, worker.disk.total), worker.disk)
    return list(found.values())


def scarce_disks(settings: Settings, workers: Iterable[WorkerRecord]) -> list[DiskSpace]:
    """Those that are low or full."""
    return [disk for disk in known_disks(settings, workers) if disk.state != "ok"]
