"""A disk that several processes share is told once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.contract.disk_space import DiskSpace
from app.contract.settings import Settings
from app.services import disk_warnings
from app.services.disk_warnings import known_disks, scarce_disks
from app.store.worker import WorkerRecord

HERE = DiskSpace(host="here", folder="/srv", free=10, total=100, needed=20, state="low")
FAR = HERE.model_copy(update={"host": "far", "free": 1, "state": "full"})


def worker(disk: DiskSpace | None) -> WorkerRecord:
    said: dict[str, Any] = {"pid": 1, "slots": 1, "device_kind": "cpu", "device_name": "cpu", "memory_bytes": 1}
    said |= {"cores": 1, "versions": {}, "first_seen": 0.0, "last_seen": 0.0, "runs": []}
    return WorkerRecord(id="w", host=disk.host if disk else "old", disk=disk, **said)


def test_each_disk_is_told_once_and_only_those_with_little_room_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_warnings, "measure", lambda settings: HERE)
    roomy = FAR.model_copy(update={"host": "roomy", "state": "ok"})
    workers = [worker(HERE.model_copy(update={"free": 9})), worker(FAR), worker(FAR), worker(None), worker(roomy)]
    assert known_disks(Settings(), workers) == [HERE, FAR, roomy]
    assert scarce_disks(Settings(), workers) == [HERE, FAR]
    assert not replace(worker(HERE), disk_state="low").lacks_space
    assert replace(worker(FAR), disk_state="full").lacks_space
