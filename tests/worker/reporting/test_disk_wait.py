"""A trainer stands still while the disk is full: its supervisor sees that, it is not stalled, and a stop ends it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from worker.job import CANCEL, NUMBERS, Control
from worker.reporting import disk_wait
from worker.reporting.disk_wait import DiskWait
from worker.reporting.spool import Spool


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_wait, "POLL_SECONDS", 0.001)


def test_the_wait_shows_and_beats_until_there_is_room() -> None:
    control = Control([0] * NUMBERS)
    seen: list[bool] = []

    def done() -> bool:
        seen.append(control.waiting)
        return len(seen) > 4

    assert DiskWait(control).until(done)
    assert seen == [False, True, True, True, True]
    assert control.pulse == 3
    assert not control.waiting


def test_a_stop_ends_the_wait() -> None:
    control = Control([0] * NUMBERS)
    disk = DiskWait(control)
    asked: list[int] = []

    def done() -> bool:
        asked.append(1)
        if len(asked) == 3:
            control.request(CANCEL)
        return False

    assert disk.go_on()
    assert not disk.until(done)
    assert disk.told_to_stop
    assert not control.waiting
    assert not disk.go_on()


def test_a_spool_is_opened_once_there_is_room_for_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    def open_spool(folder: Path, run: str, fence: int) -> Spool:
        tries.append(run)
        if len(tries) < 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return Spool(folder, run, fence)

    monkeypatch.setattr(disk_wait, "Spool", open_spool)
    opened = DiskWait(Control([0] * NUMBERS)).open_spool(tmp_path, "r", 1)
    assert opened is not None
    opened.close()
    assert tries == ["r"] * 3


def test_no_spool_is_opened_after_a_stop_and_another_error_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path, run: str, fence: int) -> Spool:
        raise OSError(errno.ENOSPC if run == "full" else errno.EACCES, "no")

    monkeypatch.setattr(disk_wait, "Spool", fail)
    control = Control([0] * NUMBERS)
    control.request(CANCEL)
    assert DiskWait(control).open_spool(tmp_path, "full", 1) is None
    with pytest.raises(PermissionError):
        DiskWait(control).open_spool(tmp_path, "denied", 1)
