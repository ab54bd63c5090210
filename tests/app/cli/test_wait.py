"""wait_for yields every run once, soon after it has ended, even if the server restarts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from app.cli.wait import ACTIVE, FEW, PATIENCE_SECONDS, wait_for
from app.services import pubsub
from app.store.run import STATES, TERMINAL
from runyard import Runyard, RunyardError
from tests.app.cli.conftest import Interceptor
from tests.conftest import Runs


def test_what_has_not_ended_is_every_state_that_is_not_terminal() -> None:
    assert sorted([*ACTIVE, *TERMINAL]) == sorted(STATES)


@pytest.mark.parametrize("number", [1, FEW, FEW + 2])
def test_each_run_is_told_when_it_ends_and_not_before(yard: Runyard, runs: Runs, redis: Redis, number: int) -> None:
    ids = [runs.add(tags=["mine"]) for _ in range(number)]
    runs.add(tags=["not mine"])
    received: Queue[str] = Queue()
    paused = threading.Event()

    def follow() -> None:
        for run in wait_for(yard, ids, pause=lambda _: paused.set()):
            received.put(run["id"])

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    for ended in reversed(ids):
        runs.finish(ended)
        pubsub.announce(redis, runs.commit(), ended, "status")
        assert received.get(timeout=10) == ended
    thread.join(10)
    assert not thread.is_alive()
    assert received.empty()
    assert number == 1 or paused.is_set()


def test_runs_that_have_ended_or_were_deleted_are_told_at_once(yard: Runyard, runs: Runs) -> None:
    first, second = runs.add(), runs.add()
    runs.finish(first, "failed")
    runs.finish(second)
    runs.set(second, deleted_at=1.0)
    found = list(wait_for(yard, [first, second, first]))
    assert [(run["id"], run["status"]) for run in found] == [(first, "failed"), (second, "deleted")]


def test_nothing_is_waited_for_when_there_is_nothing(yard: Runyard) -> None:
    assert list(wait_for(yard, [])) == []


class Unsteady:
    """A server that is unavailable at times: the result of each request is given, and the last one repeats."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results)

    def changes(self) -> Iterator[None]:
        yield None

    def run(self, run_id: str) -> Any:
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return SimpleNamespace(data={"id": run_id, "status": result})


def waited(server: Any) -> tuple[list[Any], int]:
    pauses: list[float] = []
    found = list(wait_for(server, ["a"], pause=pauses.append))
    return found, len(pauses)


def test_a_server_that_is_started_again_is_waited_for() -> None:
    server = Unsteady("running", RunyardError("away"), RunyardError("starting", 503), "running", "succeeded")
    found, pauses = waited(server)
    assert [run["status"] for run in found] == ["succeeded"]
    assert pauses == 4


def test_a_server_that_stays_away_is_not_waited_for_for_ever() -> None:
    server: Any = Unsteady("running", RunyardError("away"))
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds

    with pytest.raises(RunyardError, match="away"):
        list(wait_for(server, ["a"], pause, clock=lambda: now[0]))
    assert PATIENCE_SECONDS < now[0] <= PATIENCE_SECONDS + 2


def test_a_server_that_refuses_is_not_asked_again() -> None:
    with pytest.raises(RunyardError, match="no"):
        waited(Unsteady(RunyardError("no", 403)))


def test_many_runs_are_looked_at_page_by_page(
    yard: Runyard, runs: Runs, redis: Redis, monkeypatch: pytest.MonkeyPatch, intercept: Callable[[Interceptor], None]
) -> None:
    ids = [runs.add() for _ in range(12)]
    others = [runs.add() for _ in range(3)]
    for run in ids[:-1]:
        runs.finish(run)
    asked: list[Any] = []

    def sent(call: Any, send: Callable[[], Any]) -> Any:
        asked.append(call.path)
        return send()

    intercept(sent)
    monkeypatch.setattr("runyard.PAGE_RUNS", 1)
    waiting = wait_for(yard, ids, pause=lambda _: None)
    assert [next(waiting)["id"] for _ in ids[:-1]] == ids[:-1]
    assert asked.count("/runs") == 1 + len(others)
    runs.finish(ids[-1])
    pubsub.announce(redis, runs.commit(), ids[-1], "status")
    assert [run["id"] for run in waiting] == [ids[-1]]
    assert asked.count(f"/runs/{ids[-1]}") == 1
