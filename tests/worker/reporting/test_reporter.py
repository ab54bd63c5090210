from __future__ import annotations

import errno
import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from app.contract.events import Checkpoint, Finishing, Log, Progress, unpack_points
from tests.worker.conftest import Committer, RedisServer, points_of, until
from worker.reporting.reporter import Reporter
from worker.reporting.sender import Sender
from worker.reporting.spool import Spool, SpoolEntry


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool", "r", 1)
    yield made
    made.close()


@pytest.fixture
def committer(redis: Redis) -> Iterator[Committer]:
    with Committer(redis) as made:
        yield made


class Kept:
    """A sender without a Redis."""

    def __init__(self) -> None:
        self.entries: list[SpoolEntry] = []

    def recover(self) -> int:
        return 0

    def put(self, said: SpoolEntry) -> None:
        self.entries.append(said)

    def push(self) -> bool:
        return True


def kept_reporter(flush_seconds: float = 60.0) -> tuple[Reporter, list[SpoolEntry]]:
    sender = Kept()
    return Reporter(cast(Sender, sender), flush_seconds), sender.entries


NAMES = (("train/loss", "train/acc"), ("train/lr",), ("val/loss",))


@given(st.lists(st.one_of(st.tuples(st.sampled_from(NAMES), st.booleans()), st.none()), max_size=60))
@settings(max_examples=60, deadline=None)
def test_points_and_events_that_alternate_keep_their_order(said: list[tuple[tuple[str, ...], bool] | None]) -> None:
    """None is an event, everything else a row of points, as tensors or as numbers."""
    reporter, entries = kept_reporter(0.001)
    expected: list[dict[str, list[tuple[int, float]]]] = [{}]
    for step, each in enumerate(said):
        if each is None:
            reporter.event("progress", Progress(epoch=0, epochs=1, step=len(expected), steps=9))
            expected.append({})
            continue
        names, as_tensors = each
        values = [step + 0.5 * i for i in range(len(names))]
        reporter.points(names, step, [torch.tensor(value) for value in values] if as_tensors else values)
        for name, value in zip(names, values, strict=True):
            expected[-1].setdefault(name, []).append((step, value))
    assert reporter.close(30.0)
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    found: list[list[SpoolEntry]] = [[]]
    for entry in entries:
        if entry.kind == "progress":
            assert Progress.model_validate_json(entry.body).step == len(found)
            found.append([])
        else:
            found[-1].append(entry)
    assert [points_of(part) for part in found] == expected


def test_values_arrive_exactly_whether_tensors_or_numbers_of_whatever_type() -> None:
    reporter, entries = kept_reporter()
    numbers: list[Any] = [0.1, 3, 1e300, -0.0, math.inf, -math.inf]
    tensors = [torch.tensor(0.1), torch.tensor(1.5, dtype=torch.bfloat16), torch.tensor(7), torch.tensor(True)]
    for step, value in enumerate([*numbers, *tensors]):
        reporter.points(("a",), step, (value,))
        reporter.points((f"alone/{step}",), 0, (value,))
    reporter.close(1.0)
    curves = points_of(entries)
    expected = [*numbers, float(tensors[0]), 1.5, 7.0, 1.0]
    assert [value for _, value in curves["a"]] == expected
    assert math.copysign(1, curves["a"][3][1]) == -1
    assert [curves[f"alone/{step}"][0][1] for step in range(len(expected))] == expected


def test_a_value_that_is_not_a_number_stays_one() -> None:
    reporter, entries = kept_reporter()
    reporter.points(("train/loss", "train/acc"), 1, (torch.tensor(math.nan), torch.tensor(1.0)))
    reporter.points(("val/loss",), 1, (math.nan,))
    reporter.close(1.0)
    curves = points_of(entries)
    assert math.isnan(curves["train/loss"][0][1])
    assert math.isnan(curves["val/loss"][0][1])
    assert curves["train/acc"] == [(1, 1.0)]


def test_points_carry_the_time_at_which_they_were_made() -> None:
    reporter, entries = kept_reporter()
    before = time.time()
    reporter.points(("a",), 1, (1.0,))
    time.sleep(0.05)
    reporter.points(("a",), 2, (1.0,))
    after = time.time()
    reporter.close(1.0)
    base, (points,) = unpack_points(entries[0].body)
    first, second = torch.frombuffer(bytearray(points.offsets), dtype=torch.float32).tolist()
    assert before <= base + first <= base + second - 0.049 <= after


def test_one_flush_makes_one_entry_of_many_points() -> None:
    reporter, entries = kept_reporter()
    for step in range(1, 1001):
        reporter.points(("train/loss", "train/acc"), step, (torch.tensor(1.0 / step), torch.tensor(0.5)))
        if step % 16 == 0:
            reporter.points(("train/lr",), step, (0.1,))
    reporter.close(1.0)
    assert [entry.kind for entry in entries] == ["metrics"]
    assert len(points_of(entries)["train/loss"]) == 1000


def test_points_are_sent_without_being_asked_for(redis: Redis, spool: Spool, committer: Committer) -> None:
    reporter = Reporter(Sender(redis, spool), 0.01)
    reporter.points(("a",), 1, (2.0,))
    until(lambda: ("r", 1) in committer.taken, "the point is sent")
    assert points_of(committer.taken["r", 1]) == {"a": [(1, 2.0)]}
    assert reporter.close(30.0)


def test_a_burst_of_a_hundred_thousand_points_loses_none(redis: Redis, spool: Spool, committer: Committer) -> None:
    reporter = Reporter(Sender(redis, spool))
    values = torch.arange(100_000, dtype=torch.float32).unbind()
    for step, value in enumerate(values, 1):
        reporter.points(("train/loss",), step, (value,))
    assert reporter.close(20.0)
    entries = committer.taken["r", 1]
    assert points_of(entries) == {"train/loss": [(step, step - 1.0) for step in range(1, 100_001)]}
    assert len(entries) < 1000


def test_closing_sends_everything_and_says_so(redis: Redis, spool: Spool, committer: Committer) -> None:
    reporter = Reporter(Sender(redis, spool), 60.0)
    reporter.log("  about to end \n", "warning")
    reporter.points(("a",), 1, (1.0,))
    reporter.event("finishing", Finishing())
    assert reporter.close(10.0)
    entries = committer.taken["r", 1]
    assert [entry.kind for entry in entries] == ["log", "metrics", "finishing"]
    (line,) = Log.model_validate_json(entries[0].body).lines
    assert (line.level, line.text) == ("warning", "  about to end")
    assert abs(line.time - time.time()) < 60


def test_nobody_who_commits_makes_closing_give_up_after_its_patience(redis: Redis, spool: Spool) -> None:
    reporter = Reporter(Sender(redis, spool), 0.01)
    reporter.log("hello")
    began = time.monotonic()
    assert not reporter.close(0.2)
    assert 0.2 <= time.monotonic() - began < 5.0


def test_what_a_dead_redis_did_not_take_is_brought_by_the_next_process_which_counts_on(
    server: RedisServer, redis: Redis, tmp_path: Path
) -> None:
    spool = Spool(tmp_path, "r", 1)
    reporter = Reporter(Sender(redis, spool), 0.01)
    committer = Committer(redis)
    reporter.points(("a",), 1, (1.0,))
    until(lambda: redis.exists("runyard:events"), "the first point is sent")
    server.stop()
    reporter.points(("a",), 2, (2.0,))
    reporter.log("nobody hears this")
    assert not reporter.close(0.1)
    spool.close()
    kept = Spool(tmp_path, "r", 1)
    numbers = [said.sequence for said in kept.read()]
    server.start()
    second = Reporter(Sender(redis, kept), 0.01)
    second.points(("a",), 3, (3.0,))
    with committer:
        assert second.close(10.0)
    entries = committer.taken["r", 1]
    assert points_of(entries) == {"a": [(1, 1.0), (2, 2.0), (3, 3.0)]}
    assert [entry.sequence for entry in entries] == [*numbers, len(numbers) + 1]
    assert numbers == list(range(1, len(numbers) + 1))
    kept.close()


def test_a_checkpoint_is_safe_once_the_recorder_has_committed_it_and_never_when_the_attempt_was_replaced(
    redis: Redis, spool: Spool, committer: Committer
) -> None:
    sender = Sender(redis, spool)
    reporter = Reporter(sender)
    assert reporter.committed_checkpoints() == 0
    for step in (1, 2):
        reporter.points(("train/loss",), step, (1.0,))
        reporter.event("checkpoint", Checkpoint(path=f"p{step}", epoch=0, step=step))
    until(lambda: reporter.committed_checkpoints() == 2, "both are committed")
    assert committer
    sender.committed = 2**53
    assert reporter.committed_checkpoints() == 0
    reporter.close(1.0)


class Broken(torch.Tensor):
    """A tensor on a GPU after an illegal access."""

    def item(self) -> float:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_a_device_that_gives_nothing_back_does_not_silence_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    reporter, entries = kept_reporter()
    reporter.points(("train/loss",), 1, (torch.tensor(1.0).as_subclass(Broken),))
    reporter.log("it failed", "error")
    assert reporter.close(30.0)
    assert [(entry.sequence, entry.kind) for entry in entries] == [(1, "log")]
    assert "illegal memory access" in caplog.text


class FullDisk(Kept):
    """A sender whose spool has no room while ``full``; entries that are only sent get through."""

    full = True

    def __init__(self, kind: str = "", number: int = errno.ENOSPC) -> None:
        super().__init__()
        self.error = OSError(number, os.strerror(number))
        self.kind = kind
        self.refused = 0
        self.unspooled: list[SpoolEntry] = []

    def put(self, said: SpoolEntry) -> None:
        if self.full and self.kind in ("", said.kind):
            self.refused += 1
            raise self.error
        super().put(said)

    def put_unspooled(self, said: SpoolEntry) -> None:
        self.unspooled.append(said)


@given(st.lists(st.sampled_from(["points", "event"]), min_size=1, max_size=20), st.integers(0, 20))
@settings(max_examples=30, deadline=None)
def test_what_a_full_disk_does_not_take_is_kept_in_order_until_there_is_room(said: list[str], before: int) -> None:
    sender = FullDisk()
    reporter = Reporter(cast(Sender, sender), 0.001)
    for number, kind in enumerate(said):
        if kind == "points":
            reporter.points(("a",), number, (float(number),))
        else:
            reporter.event("finishing", Finishing())
        if number == before:
            until(lambda: reporter.full, "the reporter has found the disk full")
    until(lambda: reporter.full, "the reporter has found the disk full")
    sender.full = False
    until(lambda: not reporter.full, "the reporter has found room")
    assert reporter.close(30.0)
    assert not reporter.full
    assert [entry.sequence for entry in sender.entries] == list(range(1, len(sender.entries) + 1))
    expected = [(number, float(number)) for number, kind in enumerate(said) if kind == "points"]
    assert points_of([entry for entry in sender.entries if entry.kind == "metrics"]).get("a", []) == expected
    assert sum(entry.kind == "finishing" for entry in sender.entries) == said.count("event")


def test_an_entry_that_cannot_be_written_for_another_reason_is_lost_but_nothing_after_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sender = FullDisk("metrics", errno.EIO)
    reporter = Reporter(cast(Sender, sender), 60.0)
    reporter.log("before")
    reporter.points(("a",), 1, (1.0,))
    reporter.log("after")
    reporter.event("finishing", Finishing())
    assert reporter.close(30.0)
    assert [(said.sequence, said.kind) for said in sender.entries] == [(1, "log"), (2, "log"), (3, "finishing")]
    assert "lost some reports" in caplog.text


def test_a_reporter_that_closes_waits_for_room_only_as_long_as_it_is_told_to() -> None:
    sender = FullDisk()
    reporter = Reporter(cast(Sender, sender), 60.0)
    reporter.points(("a",), 1, (1.0,))
    reporter.event("finishing", Finishing())
    asked: list[int] = []

    def wait_for_room() -> bool:
        asked.append(sender.refused)
        return len(asked) < 3

    assert reporter.close(1.0, wait_for_room)
    assert asked == [2, 3, 4]
    assert [(said.sequence, said.kind) for said in sender.unspooled] == [(1, "metrics"), (2, "finishing")]
    assert not reporter.full


def test_reports_that_fit_nowhere_leave_the_reporter_full() -> None:
    class Unheard(FullDisk):
        def push(self) -> bool:
            return False

    reporter = Reporter(cast(Sender, Unheard()), 60.0)
    reporter.event("finishing", Finishing())
    assert not reporter.close(0.05)
    assert reporter.full


def test_many_threads_report_at_once_and_none_of_their_points_is_torn() -> None:
    reporter, entries = kept_reporter(0.001)

    def report(number: int) -> None:
        for step in range(2000):
            reporter.points((f"{number}/a", f"{number}/b"), step, (float(number), float(step)))

    threads = [threading.Thread(target=report, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reporter.close(30.0)
    curves = points_of(entries)
    for number in range(4):
        assert curves[f"{number}/a"] == [(step, float(number)) for step in range(2000)]
        assert curves[f"{number}/b"] == [(step, float(step)) for step in range(2000)]


def test_float64_tensors_of_the_cpu_arrive_exactly() -> None:
    reporter, entries = kept_reporter()
    value = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    reporter.points(("a", "b"), 1, (value, 3))
    reporter.close(1.0)
    assert points_of(entries) == {"a": [(1, 0.1)], "b": [(1, 3.0)]}


class Elsewhere(torch.Tensor):
    """A tensor that claims to be on a GPU."""

    is_cpu = False
    copies = 0

    def cpu(self, *_: Any, **__: Any) -> torch.Tensor:
        Elsewhere.copies += 1
        return self.as_subclass(torch.Tensor)


def test_tensors_of_a_device_are_read_in_one_copy_though_others_stand_between_them() -> None:
    reporter, entries = kept_reporter()
    for step in range(50):
        far = torch.tensor(step + 0.25, requires_grad=True).as_subclass(Elsewhere)
        reporter.points(("a", "b", "c"), step, (far, torch.tensor(step), 2.5 * step))
    reporter.close(1.0)
    assert points_of(entries) == {
        "a": [(step, step + 0.25) for step in range(50)],
        "b": [(step, float(step)) for step in range(50)],
        "c": [(step, 2.5 * step) for step in range(50)],
    }
    assert Elsewhere.copies == 1
