"""A disk that becomes low or full is notified once, and so is that it has room again."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from sqlalchemy import Engine, text

from app.contract.disk_space import DiskSpace, State
from app.contract.settings import Settings
from app.services import housekeeper
from app.services.disk_notices import changed_disks, note_disk
from app.services.recorder import Recorder
from app.store.database import reading, writing
from app.store.notification import list_notices, newest
from tests.app.services.recording import tick
from tests.conftest import Clock, Runs
from tests.fake_worker import Worker

GIB = 2**30
FULL = DiskSpace(host="here", folder="/srv", free=GIB, total=99 * GIB, needed=5 * GIB // 4, state="full")
LOW = FULL.model_copy(update={"free": 4 * GIB, "needed": 5 * GIB, "state": "low"})
WAVERING = LOW.model_copy(update={"free": 6 * GIB, "state": "ok"})
ROOM = LOW.model_copy(update={"free": 50 * GIB, "state": "ok"})

SetDisk = Callable[[DiskSpace], None]


@pytest.fixture
def set_disk(monkeypatch: pytest.MonkeyPatch) -> SetDisk:
    """Sets the disk that the recorder finds."""
    found = [ROOM]
    monkeypatch.setattr(housekeeper, "measure", lambda settings, before="ok": found[0])

    def set_to(disk: DiskSpace) -> None:
        found[0] = disk

    return set_to


def told(engine: Engine) -> list[str]:
    """All notices, oldest first."""
    with reading(engine) as connection:
        return [notice["sentence"] for notice in reversed(list_notices(connection, 0, 50))]


def test_a_disk_that_fills_up_and_is_emptied_is_told_at_each_turn(
    engine: Engine, recorder: Recorder, clock: Clock, set_disk: SetDisk
) -> None:
    for disk in (ROOM, LOW, LOW, FULL, FULL, LOW, WAVERING, ROOM, ROOM):
        set_disk(disk)
        tick(recorder, clock, 6)
    assert told(engine) == [
        "Disk space on here is low (4.0 GiB free in /srv)",
        "The disk of here is full (1.0 GiB free in /srv): no run starts until 1.2 GiB are free",
        "Runs start again on here, but its disk space is still low (4.0 GiB free in /srv)",
        "The disk of here has room again (50.0 GiB free in /srv)",
    ]


def test_a_recorder_that_is_started_again_repeats_nothing(
    settings: Settings, engine: Engine, recorder: Recorder, clock: Clock, redis: Redis, set_disk: SetDisk
) -> None:
    set_disk(FULL)
    tick(recorder, clock, 6)
    successor = Recorder(settings, engine, redis, clock)
    successor.connect()
    tick(successor, clock, 6)
    assert len(told(engine)) == 1
    set_disk(ROOM)
    tick(successor, clock, 6)
    assert told(engine)[1:] == ["The disk of here has room again (50.0 GiB free in /srv)"]
    successor.celery.close()


def test_the_disk_of_a_worker_is_told_too(
    engine: Engine, recorder: Recorder, worker: Worker, clock: Clock, set_disk: SetDisk
) -> None:
    worker.disk = FULL.model_copy(update={"host": "gpu-box"})
    worker.beat()
    tick(recorder, clock, 0)
    tick(recorder, clock, 6)
    assert told(engine) == [
        "The disk of gpu-box is full (1.0 GiB free in /srv): no run starts there until 1.2 GiB are free"
    ]


def test_a_webhook_gets_it_if_it_wants_such_notices(engine: Engine, runs: Runs) -> None:
    with writing(engine) as connection:
        for name, kinds in (("all", ["failed", "disk"]), ("runs", ["failed"])):
            values = {"id": name, "kinds": json.dumps(kinds)}
            statement = "INSERT INTO webhook (id, url, secret, kinds, created_at) VALUES (:id, '', '', :kinds, 1)"
            connection.execute(text(statement), values)
        note_disk(connection, FULL, "ok", True, 5.0)
    assert runs.sql("SELECT webhook FROM delivery") == [("all",)]
    assert runs.sql("SELECT run, kind FROM notice") == [(None, "disk")]
    # Runs that ended before it are still news.
    with reading(engine) as connection:
        assert newest(connection) is None


@given(st.lists(st.sampled_from((ROOM, WAVERING, LOW, FULL)), max_size=12))
def test_two_notices_of_a_disk_never_say_the_same(engine: Engine, disks: list[DiskSpace]) -> None:
    with writing(engine) as connection:
        for table in ("notice", "disk_state"):
            connection.execute(text(f"DELETE FROM {table}"))
        states: list[State] = ["ok"]
        for now, disk in enumerate(disks):
            for each, before in changed_disks(connection, [disk]):
                assert before == states[-1] != each.state
                note_disk(connection, each, before, True, float(now))
                states.append(each.state)
        count = connection.execute(text("SELECT count(*) FROM notice")).scalar_one()
    assert count == len(states) - 1
    if disks:
        assert states[-1] == disks[-1].state or disks[-1] == WAVERING
