"""Warns at the terminal about disks that are low or full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.cli.client import warn
from app.contract.disk_space import DiskSpace

if TYPE_CHECKING:
    from runyard import Runyard


def warn_about_disks(yard: Runyard) -> None:
    """Print a line to standard error for each disk of the server and its workers that is low or full."""
    from runyard import RunyardError

    try:
        disks = [DiskSpace.model_validate(disk) for disk in yard.disks()["disks"]]
    except RunyardError as error:
        if error.status != 404:
            raise
        return  # a server of an earlier version
    for disk in disks:
        if disk.state != "ok":
            warn(sentence(disk))


def sentence(disk: DiskSpace) -> str:
    """What the state of a disk means."""
    free = f"{disk.free / 2**30:.1f} GiB free in {disk.folder}"
    if disk.state == "full":
        return (
            f"the disk of {disk.host} is full ({free}); no run starts and active runs wait until"
            f" {disk.needed / 2**30:.1f} GiB are free"
        )
    return f"disk space on {disk.host} is low ({free})"
