"""Checkpoints are written in their order, in a thread, and a failure is not lost there."""

from __future__ import annotations

import errno
import os
import threading
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.conftest import until
from worker.job import CANCEL, NUMBERS, Control
from worker.reporting import disk_wait
from worker.reporting.disk_wait import DiskWait
from worker.training import checkpoint_writer
from worker.training.checkpoint_writer import MAX_HELD, MAX_WAITING, CheckpointWriter


def test_jobs_are_done_in_their_order_while_the_caller_goes_on() -> None:
    go_on = threading.Event()
    done: list[int] = []

    def wait_first() -> None:
        assert go_on.wait(10)
        done.append(0)

    with CheckpointWriter() as writer:
        writer.submit(wait_first)
        for number in range(1, MAX_WAITING + 1):
            writer.submit(partial(done.append, number))
        assert done == []
        go_on.set()
        writer.wait()
        assert done == list(range(MAX_WAITING + 1))
        writer.submit(partial(done.append, 99))
    assert done[-1] == 99


def test_a_job_that_fails_ends_those_after_it_and_is_raised_at_the_next_call() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), CheckpointWriter() as writer:  # noqa: PT012
        writer.submit(fail)
        with pytest.raises(OSError, match="disk full"):
            writer.wait()
        with pytest.raises(OSError, match="disk full"):
            writer.submit(lambda: done.append(1))
    assert done == []


def test_an_error_of_the_block_is_not_hidden_by_one_of_a_job() -> None:
    def fail() -> None:
        raise OSError("disk full")

    with pytest.raises(KeyError), CheckpointWriter() as writer:  # noqa: PT012
        writer.submit(fail)
        raise KeyError("the block's own")


# A full disk ---------------------------------------------------------------------------------------------------------


class Disk:
    """A disk that is full until told otherwise; jobs write their names."""

    def __init__(self) -> None:
        self.full = True
        self.tried = threading.Event()
        self.written: list[str] = []
        self.told: list[bool] = []
        self.given_up = 0
        self.hurried = 0
        self.control = Control([0] * NUMBERS)
        self.writer = CheckpointWriter(DiskWait(self.control), self.told.append, self._hurry, self._give_up)

    def write(self, name: str) -> None:
        self.tried.set()
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.written.append(name)

    def submit(self, name: str) -> None:
        self.writer.submit(lambda: self.write(name), "last" if name.startswith("last") else "")

    def _hurry(self) -> None:
        self.hurried += 1

    def _give_up(self) -> None:
        self.given_up += 1


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    monkeypatch.setattr(checkpoint_writer, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(disk_wait, "POLL_SECONDS", 0.001)
    return Disk()


def test_jobs_that_a_full_disk_does_not_take_wait_and_of_the_last_ones_only_the_newest_counts(disk: Disk) -> None:
    with disk.writer:
        disk.submit("last 1")
        until(lambda: disk.told == [True], "the writer has found the disk full")
        for name in ("best 1", "last 2", "best 2", "last 3"):
            disk.submit(name)
        assert disk.written == []
        disk.full = False
    assert disk.written == ["best 1", "best 2", "last 3"]
    assert disk.told == [True, False]
    assert disk.given_up == 0


def test_training_waits_once_too_much_is_held_back_and_goes_on_with_room(disk: Disk) -> None:
    with disk.writer:
        trained: list[int] = []

        def train() -> None:
            for epoch in range(10):
                disk.submit(f"best {epoch}")
                trained.append(epoch)

        training = threading.Thread(target=train)
        training.start()
        until(lambda: disk.control.waiting, "training waits")
        assert len(trained) == MAX_HELD + 1
        assert disk.control.pulse > 0
        disk.full = False
        training.join(10)
        assert not training.is_alive()
    assert disk.written == [f"best {epoch}" for epoch in range(10)]
    assert not disk.control.waiting


def test_after_a_stop_each_job_is_tried_once_more_and_then_given_up(disk: Disk) -> None:
    with disk.writer:
        disk.submit("best 1")
        until(lambda: disk.told == [True], "the writer has found the disk full")
        disk.submit("last 1")
        disk.control.request(CANCEL)
    assert disk.written == []
    assert (disk.given_up, disk.hurried) == (2, 1)
    assert disk.writer.hurried


def test_room_that_a_stop_sets_free_is_used(disk: Disk) -> None:
    def use_reserve() -> None:
        disk.full = False

    disk.writer._on_hurry = use_reserve
    with disk.writer:
        disk.submit("last 1")
        until(lambda: disk.told == [True], "the writer has found the disk full")
        disk.control.request(CANCEL)
    assert disk.written == ["last 1"]


@given(st.lists(st.sampled_from(["last", "best", "full", "room"]), max_size=12))
@settings(max_examples=25, deadline=None)
def test_whatever_the_disk_does_the_newest_last_and_every_other_job_are_written_in_order(does: list[str]) -> None:
    disk = Disk()
    disk.full = False
    names: list[str] = []
    with pytest.MonkeyPatch.context() as patch, disk.writer:
        patch.setattr(checkpoint_writer, "RETRY_SECONDS", 0.001)
        patch.setattr(disk_wait, "POLL_SECONDS", 0.001)
        for number, each in enumerate(does):
            if each in ("full", "room"):
                disk.full = each == "full"
                continue
            if disk.control.waiting or len(names) - len(disk.written) > MAX_HELD - 1:
                disk.full = False
            names.append(f"{each} {number}")
            disk.submit(names[-1])
        disk.full = False
        disk.writer.wait()
    others = [name for name in names if name.startswith("best")]
    assert [name for name in disk.written if name.startswith("best")] == others
    lasts = [name for name in names if name.startswith("last")]
    written = [name for name in disk.written if name.startswith("last")]
    assert written == [name for name in lasts if name in written]
    assert lasts[-1:] == written[-1:]
