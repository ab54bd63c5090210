"""The queue: its order, moving runs, pausing, and why a run waits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from sqlalchemy import Engine, text

from app.contract.errors import QueryError
from app.contract.events import DeviceInfo
from app.contract.protocol import PROTOCOL
from app.services.recorder import Recorder
from app.store.database import next_commit, reading, writing
from app.store.lease import claim_next
from app.store.queue import (
    claimable,
    find_place,
    move,
    move_beside,
    pause,
    position_of,
    positions_in_queue,
    queue,
    read_queue,
    resume,
    set_priority,
    spread_ranks,
)
from app.store.waiting_reason import why_waiting
from app.store.worker import WorkerRecord
from tests.command_runs import command_run
from tests.conftest import Runs
from tests.fake_worker import Worker

NOW = 1_700_000_500.0
MOVES = ("first", "last", "up", "down")


def worker(kind: str = "cpu", slots: int = 1, busy: int = 0, name: str = "w", index: int = 0) -> WorkerRecord:
    held = [f"r{i}" for i in range(busy)]
    return WorkerRecord(name, name.split("-")[0], 1, slots, kind, kind, 1, 1, {}, 0.0, 0.0, held, index)


def order(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        return [run.id for run in read_queue(connection, 500).runs]


def test_the_queue_stands_in_the_order_in_which_runs_will_start(runs: Runs) -> None:
    second, first, third = runs.add(10.0), runs.add(20.0, priority=5), runs.add(11.0)
    with reading(runs.engine) as connection:
        waiting, total = queue(connection, [worker(slots=2)], limit=2)
        assert positions_in_queue(connection, [third, first, "r_none"]) == {first: 1, third: 3}
        assert positions_in_queue(connection, [third]) == {third: 3}
        assert positions_in_queue(connection, ["r_none"]) == {}
        assert positions_in_queue(connection, []) == {}
    assert [(each.run.id, each.position) for each in waiting] == [(first, 1), (second, 2)]
    assert total == 3


def test_pages_of_the_queue_follow_each_other_across_priorities(runs: Runs) -> None:
    made = [runs.add(10.0 + i // 3, priority=[0, 5, -5][i % 3]) for i in range(20)]
    whole = order(runs.engine)
    assert sorted(whole) == sorted(made)
    seen: list[str] = []
    after: str | None = None
    with reading(runs.engine) as connection:
        while True:
            page = read_queue(connection, 3, after)
            assert (page.first, page.total) == (len(seen) + 1, 20)
            seen += [run.id for run in page.runs]
            after = page.next
            if after is None:
                break
    assert seen == whole


@pytest.mark.parametrize("after", ["nonsense", "WzEsIDJd", "WyJhIGIiLCAxXQ==", "WyIxIGluZiIsIDFd"])
def test_a_cursor_that_is_none_of_the_queue_is_refused(runs: Runs, after: str) -> None:
    with reading(runs.engine) as connection, pytest.raises(QueryError, match="cursor"):
        read_queue(connection, 3, after)


@pytest.mark.sqlite
def test_the_queue_is_read_along_its_index(runs: Runs) -> None:
    for _ in range(5):
        runs.add()
    plan = runs.sql(
        "EXPLAIN QUERY PLAN SELECT * FROM run WHERE status = 'queued' AND deleted_at IS NULL"
        " ORDER BY priority DESC, rank, number LIMIT 1"
    )
    assert "ix_run_queue" in str(plan)
    assert "TEMP B-TREE" not in str(plan)


# Moving --------------------------------------------------------------------------------------------------------------


def moved(engine: Engine, run: str, to: Any) -> int:
    """Move a run; returns the place that move returns."""
    with writing(engine) as connection:
        place = find_place(connection, run)
        assert place is not None
        commit = next_commit(connection)
        if isinstance(to, str):
            place = move(connection, place, to, commit, NOW)  # type: ignore[arg-type]
        else:
            other = find_place(connection, to[1])
            assert other is not None
            place = move_beside(connection, place, other, to[0] == "before", commit, NOW)
        return position_of(connection, place)


def expected(stood: list[str], run: str, to: Any) -> list[str]:
    at, left = stood.index(run), [each for each in stood if each != run]
    match to:
        case "first":
            at = 0
        case "last":
            at = len(left)
        case "up":
            at = max(0, at - 1)
        case "down":
            at = min(len(left), at + 1)
        case _ if to[1] != run:
            at = left.index(to[1]) + (to[0] == "after")
    return [*left[:at], run, *left[at:]]


@given(
    priorities=st.lists(st.integers(-1, 1), min_size=1, max_size=7),
    moves=st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from([*MOVES, "before", "after"]), st.integers(0, 6)),
        max_size=12,
    ),
    together=st.booleans(),
)
def test_any_moves_keep_every_run_once_and_put_it_where_it_was_asked(
    runs: Runs, priorities: list[int], moves: list[tuple[int, str, int]], together: bool
) -> None:
    with writing(runs.engine) as connection:
        connection.execute(text("DELETE FROM run"))
    # Runs of a sweep are launched at the same moment.
    made = [runs.add(1000.0 if together else 1000.0 + i, priority=each) for i, each in enumerate(priorities)]
    stood = order(runs.engine)
    for run, to, other in moves:
        which, beside = made[run % len(made)], made[other % len(made)]
        asked: Any = (to, beside) if to in ("before", "after") else to
        stood = expected(stood, which, asked)
        assert moved(runs.engine, which, asked) == stood.index(which) + 1
        assert order(runs.engine) == stood
    found = [runs.get(each) for each in stood]
    assert [each.config.priority for each in found] == [each.priority for each in found]
    assert [each.priority for each in found] == sorted((each.priority for each in found), reverse=True)


def test_a_move_keeps_the_priority_where_the_place_allows_it(runs: Runs) -> None:
    high, middle, low = runs.add(priority=9), runs.add(priority=5), runs.add(priority=0)
    moved(runs.engine, low, ("after", high))
    assert order(runs.engine) == [high, low, middle]
    assert runs.get(low).priority == 5
    moved(runs.engine, low, "last")
    assert (order(runs.engine), runs.get(low).priority) == ([high, middle, low], 5)


def test_a_run_moved_between_the_same_two_again_and_again_finds_room(runs: Runs) -> None:
    first, last, *others = [runs.add(float(i)) for i in range(4)]
    for i in range(200):
        moved(runs.engine, others[i % 2], ("after", first))
        assert order(runs.engine)[:2] == [first, others[i % 2]]
    assert order(runs.engine)[-1] == last
    ranks = [runs.get(each).rank for each in order(runs.engine)]
    assert ranks == sorted(set(ranks))


def test_who_is_launched_later_stands_behind_a_run_that_was_moved_last(runs: Runs) -> None:
    first, second = runs.add(NOW - 20), runs.add(NOW - 10)
    moved(runs.engine, first, "last")
    third = runs.add(NOW + 0.001)
    assert order(runs.engine) == [second, first, third]


def test_ranks_that_are_spread_keep_the_places_of_cancelled_runs(runs: Runs) -> None:
    a, b, c, old = (runs.add(1000.0) for _ in range(4))
    runs.set(b, status="cancelled", ended_at=NOW)
    runs.set(old, status="cancelled", ended_at=NOW - 1e6)
    with writing(runs.engine) as connection:
        assert list(spread_ranks(connection, 0, NOW)) == [a, b, c]
        assert spread_ranks(connection, 7, NOW) == {}
    assert runs.get(a).rank < runs.get(b).rank < runs.get(c).rank == 1000.0


def test_a_new_priority_is_said_in_the_configuration_too(runs: Runs) -> None:
    first, second = runs.add(1.0), runs.add(2.0)
    with writing(runs.engine) as connection:
        set_priority(connection, second, 3, 17)
    assert order(runs.engine) == [second, first]
    assert (runs.get(second).config.priority, runs.get(second).status_commit) == (3, 17)


# Pausing -------------------------------------------------------------------------------------------------------------


def test_a_paused_queue_grants_nothing_and_runs_that_train_go_on(
    runs: Runs, recorder: Recorder, worker: Worker, redis: Redis
) -> None:
    first, second = runs.add(1.0), runs.add(2.0)
    trainer = worker.train(recorder)
    with writing(runs.engine) as connection:
        pause(connection, NOW)
        pause(connection, NOW + 5)
        assert read_queue(connection, 5).paused_at == NOW
    reply = worker.ask("w1-a")
    trainer.points(train__loss=[(1, 0.5)])
    recorder.step()
    grant = worker.answer(reply)
    assert grant is not None
    assert grant.run == ""
    assert (runs.status(first), runs.status(second)) == ("running", "queued")
    with writing(runs.engine) as connection:
        resume(connection)
    reply = worker.ask("w1-b")
    recorder.step()
    grant = worker.answer(reply)
    assert grant is not None
    assert grant.run == second


def test_nobody_is_woken_for_a_paused_queue(runs: Runs) -> None:
    runs.add()
    there = [worker(slots=2)]
    with writing(runs.engine) as connection:
        assert claimable(connection, lambda: there) == 1
        pause(connection, NOW)
        assert claimable(connection, lambda: there) == 0
        resume(connection)
        assert claimable(connection, lambda: there) == 1


# Devices -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "name", "ahead", "workers", "why"),
    [
        ("auto", "", 0, [], "no worker is connected"),
        ("cuda", "", 0, [worker(), worker()], "needs cuda; connected workers have cpu"),
        ("cuda:2", "", 0, [worker("cuda", index=1), worker()], "needs cuda:2; connected workers have cpu, cuda:1"),
        ("auto", "far", 0, [worker(name="near-1")], "needs worker far; connected workers: near"),
        ("cuda", "near", 0, [worker(name="near-1")], "needs cuda; worker near has cpu"),
        ("auto", "near", 0, [worker(busy=1, name="near-1"), worker(name="far-1")], "the only slot on near is busy"),
        ("cuda:1", "", 0, [worker("cuda", busy=1), worker("cuda", index=1)], "starting"),
        ("auto", "", 0, [worker()], "starting"),
        ("auto", "", 0, [worker(busy=1)], "the only slot is busy"),
        ("auto", "", 1, [worker(slots=2, busy=1)], "all 2 slots are busy; 1 run ahead in the queue"),
        (
            "cpu",
            "",
            3,
            [worker(slots=2, busy=2), worker("cuda", slots=4)],
            "all 2 slots are busy; 3 runs ahead in the queue",
        ),
    ],
)
def test_a_waiting_run_says_why_it_waits(
    runs: Runs, wanted: str, name: str, ahead: int, workers: list[WorkerRecord], why: str
) -> None:
    run = runs.get(runs.add(device=wanted, worker=name))
    assert why_waiting(run, ahead, workers) == why
    cannot = why.startswith(("no worker", "needs "))
    assert why_waiting(run, ahead, workers, stopped="the queue is paused") == (why if cannot else "the queue is paused")


def test_a_command_says_that_it_waits_for_the_key(runs: Runs) -> None:
    run = runs.get(command_run(runs.engine, "queued"))
    keyless = replace(worker(), commands=0)
    said = "needs a worker with the key in the server's data folder; commands start on no other"
    assert why_waiting(run, 0, [keyless]) == said
    assert why_waiting(run, 0, [keyless, worker()]) == "starting"
    with reading(runs.engine) as connection:
        assert claimable(connection, lambda: [keyless]) == 0
        assert claimable(connection, lambda: [keyless, worker()]) == 1


def test_workers_that_do_not_understand_the_server_do_not_count(runs: Runs) -> None:
    run = runs.get(runs.add())
    newer = replace(worker(), protocol=PROTOCOL + 1)
    said = "no connected worker understands this server; install the same version of Runyard on them"
    assert why_waiting(run, 0, [newer]) == said
    assert why_waiting(run, 0, [newer, worker()]) == "starting"
    with reading(runs.engine) as connection:
        assert claimable(connection, lambda: [newer]) == 0


@pytest.mark.parametrize(
    ("kind", "index", "name", "granted"),
    [
        ("cpu", 0, "near-1", ["auto", "cpu"]),
        ("cuda", 0, "near-1", ["auto", "cuda", "cuda:0"]),
        ("cuda", 1, "near-1", ["auto", "cuda", "cuda:1"]),
        ("cuda", 1, "far-1", ["auto", "far", "cuda", "cuda:1"]),
    ],
)
def test_a_worker_is_given_only_what_asks_for_its_like(
    runs: Runs, kind: Any, index: int, name: str, granted: list[str]
) -> None:
    asked: list[tuple[str, str]] = [("auto", ""), ("auto", "far"), ("cpu", ""), ("cuda", ""), ("cuda:0", "")]
    asked.append(("cuda:1", ""))
    made = {runs.add(float(i), device=d, worker=w): w or d for i, (d, w) in enumerate(asked)}
    facts = DeviceInfo(kind=kind, name="made up", memory_bytes=1, cores=1, index=index)
    record = worker(kind, slots=9, name=name, index=index)
    with writing(runs.engine) as connection:
        assert claimable(connection, lambda: [record]) == len(granted)
        found: list[str] = []
        while got := claim_next(connection, f"c{len(found)}", name, 0, facts, 1, NOW):
            found.append(made[got.run])
    assert found == granted


def test_several_slots_of_one_gpu_hold_several_runs(runs: Runs, recorder: Recorder, redis: Redis) -> None:
    gpu = Worker(redis, "gpu-1", "cuda", slots=3)
    made = [runs.add(float(i), device="cuda:0") for i in range(4)]
    gpu.beat()
    replies = [gpu.ask(slot=slot) for slot in range(3)]
    recorder.step()
    grants = [gpu.answer(reply) for reply in replies]
    assert [grant.run if grant else "" for grant in grants] == made[:3]
    assert [runs.get(run).slot for run in made[:3]] == [0, 1, 2]
    assert runs.status(made[3]) == "queued"
