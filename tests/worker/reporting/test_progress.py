"""How often long work reports its progress."""

from __future__ import annotations

import pytest

from worker.reporting import progress
from worker.reporting.progress import SENTENCE_SECONDS, SHARE_SECONDS, ProgressReporter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(progress, "time", one)
    return one


def test_long_work_is_told_in_a_sentence_now_and_then_and_in_a_share_often(clock: Clock) -> None:
    said: list[str] = []
    shares: list[tuple[str, float]] = []
    tell = ProgressReporter(said.append, lambda what, share: shares.append((what, share)))
    tell.begin("fetching x", "12.0 MB")
    seconds = 30
    for tenth in range(1, 10 * seconds + 1):
        clock.now += 0.1
        tell.update(tenth / (10 * seconds), f"{tenth} of {10 * seconds}")
    assert said[0] == "fetching x (12.0 MB)"
    assert said[1].startswith("fetching x: ")
    assert seconds / SENTENCE_SECONDS - 2 <= len(said) - 1 <= seconds / SENTENCE_SECONDS
    assert {what for what, _ in shares} == {"fetching x"}
    assert seconds / 0.5 <= len(shares) <= seconds / SHARE_SECONDS + 1
    assert [share for _, share in shares] == sorted(share for _, share in shares)


def test_short_work_is_one_sentence(clock: Clock) -> None:
    said: list[str] = []
    tell = ProgressReporter(said.append)
    tell.begin("measuring digits")
    clock.now += SENTENCE_SECONDS / 2
    tell.update(0.9, "nearly")
    assert said == ["measuring digits"]


def test_the_next_work_has_its_own_name_and_its_own_time(clock: Clock) -> None:
    said: list[str] = []
    shares: list[str] = []
    tell = ProgressReporter(said.append, lambda what, share: shares.append(what))
    tell.begin("one")
    tell.update(0.1, "")
    clock.now += SENTENCE_SECONDS
    tell.begin("two")
    tell.update(0.1, "")
    assert said == ["one", "two"]
    assert shares == ["one", "two"]


def test_what_is_raised_by_who_is_told_ends_the_work(clock: Clock) -> None:
    def stop(*_: object) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        ProgressReporter(stop).begin("one")
    with pytest.raises(InterruptedError):
        ProgressReporter(lambda text: None, stop).update(0.1, "")
