from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from app.contract import broker
from tests.worker.conftest import Committer, RedisServer, until
from worker.reporting import sender as sender_module
from worker.reporting.sender import BATCH, LONGEST_RESEND_SECONDS, RESEND_SECONDS, Sender
from worker.reporting.spool import Spool, SpoolEntry


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool", "r", 1)
    yield made
    made.close()


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(sender_module, "time", SimpleNamespace(monotonic=made.monotonic))
    return made


def sent(redis: Redis) -> list[int]:
    found: Any = redis.xrange(broker.EVENTS)
    return [int(fields[b"s"]) for _, fields in found]


def put(sender: Sender, *sequences: int) -> None:
    for sequence in sequences:
        sender.put(SpoolEntry(sequence, "log", f"entry {sequence}".encode()))


def commit(redis: Redis, sequence: int) -> None:
    redis.hset(broker.COMMITTED, broker.committed_field("r", 1), str(sequence))


def test_entries_arrive_whole_and_in_order_though_more_than_one_batch(redis: Redis, spool: Spool) -> None:
    sender = Sender(redis, spool)
    numbers = list(range(1, 2 * BATCH + 51))
    put(sender, *numbers)
    with Committer(redis) as committer:
        until(sender.push, "all is committed")
    assert committer.taken == {("r", 1): [SpoolEntry(n, "log", f"entry {n}".encode()) for n in numbers]}
    assert sent(redis) == numbers


def test_a_redis_that_stops_and_starts_again_costs_nothing(server: RedisServer, redis: Redis, spool: Spool) -> None:
    sender = Sender(redis, spool)
    committer = Committer(redis)
    put(sender, 1, 2, 3)
    assert not sender.push()
    server.stop()
    put(sender, 4, 5)
    assert not sender.push()
    put(sender, 6)
    assert not sender.push()
    server.start()
    put(sender, 7)
    with committer:
        until(sender.push, "all is committed")
    assert [said.sequence for said in committer.taken["r", 1]] == [1, 2, 3, 4, 5, 6, 7]


def test_a_redis_that_was_wiped_before_the_recorder_read_it_gets_everything_again(
    redis: Redis, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = Sender(redis, spool)
    sender._patience = 0.05
    monkeypatch.setattr(sender_module, "RESEND_SECONDS", 0.05)
    committer = Committer(redis)
    put(sender, 1, 2, 3)
    sender.push()
    committer.take()
    put(sender, 4, 5, 6)
    sender.push()
    redis.xtrim(broker.EVENTS, maxlen=0)
    put(sender, 7)
    with committer:
        until(sender.push, "all is committed")
    assert [said.sequence for said in committer.taken["r", 1]] == [1, 2, 3, 4, 5, 6, 7]


def test_what_is_not_committed_is_sent_again_from_there_on_but_not_before_patience_is_over(
    redis: Redis, spool: Spool, clock: Clock
) -> None:
    sender = Sender(redis, spool)
    put(sender, 1, 2, 3, 4)
    sender.push()
    commit(redis, 2)
    sender.push()
    redis.xtrim(broker.EVENTS, maxlen=0)
    clock.now += RESEND_SECONDS
    sender.push()
    assert sent(redis) == []
    clock.now += 0.01
    sender.push()
    assert sent(redis) == [3, 4]


def test_patience_doubles_up_to_a_limit_and_is_short_again_after_a_commit(
    redis: Redis, spool: Spool, clock: Clock
) -> None:
    sender = Sender(redis, spool)
    began = clock.now
    put(sender, 1, 2)
    sender.push()
    again = []
    while clock.now - began < 40:
        clock.now += 0.25
        before = len(sent(redis))
        sender.push()
        if len(sent(redis)) > before:
            again.append(clock.now - began)
    gaps = [later - earlier for earlier, later in zip([0.0, *again], again, strict=False)]
    assert gaps == [1.25, 2.25, 4.25, 8.25, LONGEST_RESEND_SECONDS + 0.25, LONGEST_RESEND_SECONDS + 0.25]
    commit(redis, 1)
    sender.push()
    redis.xtrim(broker.EVENTS, maxlen=0)
    clock.now += RESEND_SECONDS + 0.01
    sender.push()
    assert sent(redis) == [2]


def test_an_entry_after_a_long_silence_is_not_sent_twice(redis: Redis, spool: Spool, clock: Clock) -> None:
    sender = Sender(redis, spool)
    put(sender, 1)
    sender.push()
    commit(redis, 1)
    assert sender.push()
    clock.now += 100
    put(sender, 2)
    sender.push()
    sender.push()
    assert sent(redis) == [1, 2]


def test_committed_entries_leave_memory_and_disk(redis: Redis, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.reporting.spool.TURN_BYTES", 100)
    sender = Sender(redis, spool)
    for sequence in range(1, 31):
        put(sender, sequence)
        sender.push()
        commit(redis, sequence)
        assert sender.push()
    assert not sender._waiting
    kept = [said.sequence for said in spool.read()]
    assert len(kept) < 12
    assert kept == sorted(kept)


def test_what_an_attempt_says_after_it_was_replaced_counts_as_settled(redis: Redis, spool: Spool) -> None:
    sender = Sender(redis, spool)
    put(sender, 1)
    sender.push()
    commit(redis, 2**53)
    assert sender.push()
    put(sender, 2, 3)
    sender.push()
    assert sender.push()


def test_a_process_that_takes_over_sends_only_what_was_not_committed(redis: Redis, spool: Spool) -> None:
    first = Sender(redis, spool)
    put(first, 1, 2, 3)
    commit(redis, 2)
    second = Sender(redis, spool)
    assert second.recover() == 3
    with Committer(redis) as committer:
        committer.taken["r", 1] = [SpoolEntry(1, "log", b"entry 1"), SpoolEntry(2, "log", b"entry 2")]
        until(second.push, "the rest is committed")
    assert sent(redis) == [3]


def test_a_process_that_takes_over_what_was_never_sent_sends_all_of_it(redis: Redis, spool: Spool) -> None:
    put(Sender(redis, spool), 1, 2, 3)
    second = Sender(redis, spool)
    second.recover()
    with Committer(redis):
        until(second.push, "all is committed")
    assert sent(redis) == [1, 2, 3]


def test_an_empty_spool_takes_nothing_over(redis: Redis, spool: Spool) -> None:
    sender = Sender(redis, spool)
    assert sender.recover() == 0
    assert sender.push()
    assert sent(redis) == []


def test_a_redis_that_is_not_there_is_waited_for_and_told_of_once(
    tmp_path: Path, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    sender = Sender(Redis.from_url(f"unix://{tmp_path}/none.sock"), spool)
    put(sender, 1)
    assert [sender.push() for _ in range(3)] == [False, False, False]
    assert [record.levelname for record in caplog.records if "does not respond" in record.message] == ["WARNING"]
    assert [said.sequence for said in spool.read()] == [1]


def test_a_sender_with_nothing_to_say_asks_redis_nothing(
    tmp_path: Path, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    assert Sender(Redis.from_url(f"unix://{tmp_path}/none.sock"), spool).push()
    assert not caplog.records
