"""Notifies of disks: when one becomes low or full, and when it has room again."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from app.contract.disk_space import DiskSpace, State
from app.store import notification
from app.store.disk_state import read_states, write_state

logger = logging.getLogger("runyard.recorder")


def changed_disks(connection: Connection, disks: Iterable[DiskSpace]) -> list[tuple[DiskSpace, State]]:
    """Disks whose state is another than the one that was last notified, and that state.

    One that was low counts as having room when a quarter more than the limit is free, so that notices do not repeat.
    """
    known: Mapping[tuple[str, int], State] = read_states(connection)
    changed = []
    for disk in disks:
        before = known.get((disk.host, disk.total), "ok")
        wavering = before == "low" and disk.state == "ok" and disk.free < disk.needed + disk.needed // 4
        if disk.state != before and not wavering:
            changed.append((disk, before))
    return changed


def note_disk(connection: Connection, disk: DiskSpace, before: State, own: bool, now: float) -> None:
    """Add a notice that a disk has changed its state; ``own``: it is the server's."""
    told = sentence(disk, before, own)
    write_state(connection, disk, now)
    notification.add(connection, None, "", "disk", told, now)
    logger.info("%s", told)


def sentence(disk: DiskSpace, before: State, own: bool) -> str:
    """What the state of a disk means. ``own``: it is the server's, so that no run starts anywhere while it is full."""
    free = f"{_gib(disk.free)} free in {disk.folder}"
    if disk.state == "full":
        where = "" if own else " there"
        return f"The disk of {disk.host} is full ({free}): no run starts{where} until {_gib(disk.needed)} are free"
    if disk.state == "low":
        if before == "full":
            return f"Runs start again on {disk.host}, but its disk space is still low ({free})"
        return f"Disk space on {disk.host} is low ({free})"
    return f"The disk of {disk.host} has room again ({free})"


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
