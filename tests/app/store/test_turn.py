"""People take turns: whose run starts next, the order that the queue shows, and moves within it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from app.contract.events import DeviceInfo
from app.store.author import AUTHOR
from app.store.database import next_commit, reading, writing
from app.store.duration_estimate import estimate_page
from app.store.lease import Granted, claim_next, request_cancel
from app.store.queue import (
    claimable,
    find_place,
    move,
    position_of,
    positions_in_queue,
    queue,
    read_queue,
)
from app.store.turn import Line, QueueRules, Turns, read_turns
from app.store.user import UserRecord, insert_user, remove_user, set_limits
from app.store.worker import WorkerRecord
from tests.app.store.leasing import device
from tests.conftest import Runs

NOW = 1_700_000_500.0
FAIR = QueueRules(fair=True)
PEOPLE = ("ann", "ben", "eve")


@pytest.fixture
def people(runs: Runs) -> None:
    """Three members."""
    with writing(runs.engine) as connection:
        for name in PEOPLE:
            insert_user(connection, UserRecord(f"p_{name}", name, "member", "", NOW, None))


def launch(runs: Runs, person: str, at: float = 1000.0, **said: Any) -> str:
    token = AUTHOR.set(person)
    run = runs.add(at, **said)
    AUTHOR.reset(token)
    return run


def order(runs: Runs, rules: QueueRules = FAIR) -> list[str]:
    with reading(runs.engine) as connection:
        return [run.id for run in read_queue(connection, 500, rules=rules).runs]


_names = iter(range(10**9))


def start(runs: Runs, rules: QueueRules = FAIR, kind: Any = "cpu") -> str:
    """Start the next run; blank if there is none."""
    with writing(runs.engine) as connection:
        found = grant(connection, rules, device(kind))
    return found.run if found else ""


def grant(connection: Connection, rules: QueueRules, facts: DeviceInfo) -> Granted | None:
    return claim_next(connection, f"c{next(_names)}", "w1", 0, facts, next_commit(connection), NOW, rules)


def end_all(runs: Runs) -> None:
    with writing(runs.engine) as connection:
        connection.execute(text("DELETE FROM run"))
        connection.execute(text("DELETE FROM queue_turn"))


def worker(slots: int = 1, busy: int = 0) -> WorkerRecord:
    return WorkerRecord("w", "w", 1, slots, "cpu", "cpu", 1, 1, {}, 0.0, 0.0, [f"r{i}" for i in range(busy)], 0)


@pytest.mark.usefixtures("people")
def test_of_two_people_each_starts_one_run_after_the_other(runs: Runs) -> None:
    a = [launch(runs, "ann", 1000.0 + i) for i in range(3)]
    b = [launch(runs, "ben", 2000.0 + i) for i in range(2)]
    assert order(runs) == [a[0], b[0], a[1], b[1], a[2]]
    assert [start(runs) for _ in range(2)] == [a[0], b[0]]
    e = launch(runs, "eve", 3000.0)
    assert order(runs) == [e, a[1], b[1], a[2]]
    assert [start(runs) for _ in range(5)] == [e, a[1], b[1], a[2], ""]


@pytest.mark.usefixtures("people")
def test_who_started_last_waits_for_the_others_also_when_their_runs_are_older(runs: Runs) -> None:
    a = [launch(runs, "ann", 1000.0 + i) for i in range(3)]
    assert start(runs) == a[0]
    b = launch(runs, "ben", 2000.0)
    assert [start(runs) for _ in range(3)] == [b, a[1], a[2]]


@pytest.mark.usefixtures("people")
def test_a_higher_priority_goes_before_any_turn(runs: Runs) -> None:
    a = [launch(runs, "ann", 1000.0 + i, priority=1) for i in range(2)]
    b = launch(runs, "ben", 1.0)
    assert order(runs) == [*a, b]
    assert [start(runs) for _ in range(3)] == [*a, b]


@pytest.mark.usefixtures("people")
def test_who_waits_for_another_device_keeps_nobody_waiting(runs: Runs) -> None:
    gpu = launch(runs, "ann", 1000.0, device="cuda")
    b = [launch(runs, "ben", 2000.0 + i) for i in range(2)]
    assert [start(runs) for _ in range(3)] == [*b, ""]
    assert start(runs, kind="cuda") == gpu


def test_while_nobody_was_added_or_turns_are_off_the_order_is_that_of_launching(runs: Runs) -> None:
    made = [launch(runs, "ann" if i < 3 else "ben", 1000.0 + i) for i in range(5)]
    assert order(runs) == made
    with writing(runs.engine) as connection:
        insert_user(connection, UserRecord("p_ann", "ann", "member", "", NOW, None))
    assert order(runs) == [made[0], made[3], made[1], made[4], made[2]]
    assert order(runs, QueueRules()) == made
    assert start(runs, QueueRules()) == made[0]
    with writing(runs.engine) as connection:
        remove_user(connection, "p_ann", NOW)
    assert [start(runs) for _ in range(4)] == made[1:]


_ACTS = st.one_of(
    st.tuples(st.just("launch"), st.sampled_from(["", *PEOPLE]), st.integers(0, 1)),
    st.tuples(st.just("start"), st.just(""), st.just(0)),
    st.tuples(st.sampled_from(["cancel", "first", "last", "up", "down", "raise"]), st.just(""), st.integers(0, 20)),
)


@pytest.mark.usefixtures("people")
@given(acts=st.lists(_ACTS, max_size=40))
def test_nobody_starts_twice_while_another_waits_and_every_run_starts_once(
    runs: Runs, acts: list[tuple[str, str, int]]
) -> None:
    end_all(runs)
    waiting: dict[str, tuple[str, int]] = {}
    started: list[str] = []
    # How often one person has started a run of a priority since another who waits there started one or began to wait.
    twice: Counter[tuple[int, str, str]] = Counter()

    def starts() -> str:
        shown = order(runs)
        run = start(runs)
        assert run == (shown[0] if shown else "")
        if run:
            person, priority = waiting.pop(run)
            assert priority == max([priority, *(each for _, each in waiting.values())])
            started.append(run)
            for other in {each for each, level in waiting.values() if level == priority} - {person}:
                twice[priority, person, other] += 1
                assert twice[priority, person, other] <= 1
            forget(priority, person)
        return run

    def forget(priority: int, person: str) -> None:
        for key in [each for each in twice if each[0] == priority and each[2] == person]:
            del twice[key]

    made = 0
    for act, person, number in acts:
        queued = list(waiting)
        if act == "launch":
            if (person, number) not in waiting.values():
                forget(number, person)
            made += 1
            waiting[launch(runs, person, 1000.0 + made // 2, priority=number)] = (person, number)
        elif act == "start":
            starts()
        elif queued:
            run = queued[number % len(queued)]
            with writing(runs.engine) as connection:
                commit = next_commit(connection)
                place = find_place(connection, run)
                assert place is not None
                if act == "cancel":
                    request_cancel(connection, run, commit, NOW, 1.0)
                elif act == "raise":
                    runs_priority(connection, run, 1)
                else:
                    own = read_turns(connection, FAIR) is not None
                    place = move(connection, place, act, commit, NOW, own)  # type: ignore[arg-type]
                    assert (
                        read_queue(connection, 500, rules=FAIR)
                        .runs[position_of(connection, place, read_turns(connection, FAIR)) - 1]
                        .id
                        == run
                    )
            before = waiting.pop(run)
            if act != "cancel":
                priority = int(runs.get(run).priority)
                if (before[0], priority) not in waiting.values():
                    forget(priority, before[0])
                waiting[run] = (before[0], priority)
    left = set(waiting)
    while run := starts():
        left.remove(run)
    assert left == set()
    assert len(started) == len(set(started))


def runs_priority(connection: Connection, run: str, priority: int) -> None:
    connection.execute(text("UPDATE run SET priority = :p WHERE id = :run"), {"p": priority, "run": run})


_LINES = st.lists(
    st.tuples(st.integers(-1, 1), st.sampled_from("abcd"), st.integers(1, 6), st.integers(0, 3)),
    max_size=8,
    unique_by=lambda each: each[:2],
)


@given(lines=_LINES, first=st.integers(0, 30), count=st.integers(1, 30))
def test_any_part_of_the_order_is_that_part_of_the_whole(
    lines: list[tuple[int, str, int, int]], first: int, count: int
) -> None:
    turns = Turns([Line(priority, person, number, turn, 0.0) for priority, person, number, turn in lines])
    whole = turns.slice(0, 10_000)
    assert len(whole) == len(set(whole)) == turns.total == sum(each[2] for each in lines)
    assert turns.slice(first, count) == whole[first : first + count]
    for place, (line, own) in enumerate(whole):
        assert turns.count_ahead(line.priority, line.person, own) == place
        own_places = [at for at, (each, _) in enumerate(whole) if each.person == line.person]
        assert turns.ends(line.priority, line.person, place) == (place == own_places[0], place == own_places[-1])


@pytest.mark.usefixtures("people")
def test_pages_of_turns_follow_each_other_and_know_each_position(runs: Runs) -> None:
    made = [launch(runs, PEOPLE[i * i % 3], 1000.0 + i // 3, priority=[0, 5][i % 2]) for i in range(20)]
    whole = order(runs)
    assert sorted(whole) == sorted(made)
    seen: list[str] = []
    after: str | None = None
    with reading(runs.engine) as connection:
        turns = read_turns(connection, FAIR)
        assert positions_in_queue(connection, made, turns) == {run: at + 1 for at, run in enumerate(whole)}
        assert positions_in_queue(connection, whole[7:8], turns) == {whole[7]: 8}
        while True:
            page = read_queue(connection, 3, after, FAIR)
            assert (page.first, page.total) == (len(seen) + 1, 20)
            seen += [run.id for run in page.runs]
            after = page.next
            if after is None:
                break
    assert seen == whole


@pytest.mark.usefixtures("people")
def test_a_page_goes_on_where_it_was_when_its_last_run_has_left_the_queue(runs: Runs) -> None:
    for i in range(9):
        launch(runs, PEOPLE[i % 3], 1000.0 + i)
    whole = order(runs)
    with reading(runs.engine) as connection:
        after = read_queue(connection, 3, rules=FAIR).next
    runs.set(whole[2], status="cancelled")
    with reading(runs.engine) as connection:
        page = read_queue(connection, 20, after, FAIR)
    assert not set(whole[3:]) - {run.id for run in page.runs}


@pytest.mark.sqlite
@pytest.mark.usefixtures("people")
def test_a_start_looks_at_one_run_of_each_person(runs: Runs) -> None:
    for i in range(6):
        launch(runs, PEOPLE[i % 3])
    plan = str(
        runs.sql(
            "EXPLAIN QUERY PLAN SELECT id FROM run WHERE status = 'queued' AND deleted_at IS NULL"
            " AND created_by = 'ann' ORDER BY priority DESC, rank, number LIMIT 1"
        )
    )
    assert "ix_run_turn" in plan
    assert "TEMP B-TREE" not in plan


# Limits --------------------------------------------------------------------------------------------------------------


def limit(runs: Runs, person: str, most_running: int | None) -> None:
    with writing(runs.engine) as connection:
        set_limits(connection, f"p_{person}", most_running, None)


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("fair", [True, False])
def test_beyond_a_limit_a_run_waits_says_why_and_others_start(runs: Runs, fair: bool) -> None:
    rules = QueueRules(fair, most_running=2)
    a = [launch(runs, "ann", 1000.0 + i) for i in range(4)]
    b = [launch(runs, "ben", 2000.0 + i) for i in range(2)]
    limit(runs, "ann", 1)
    assert [start(runs, rules) for _ in range(4)] == [a[0], *b, ""]
    with reading(runs.engine) as connection:
        waiting, _ = queue(connection, [worker(slots=9)], rules=rules)
        assert [each.why for each in waiting] == ["ann may have 1 run active at once"] * 3
        page = read_queue(connection, 9, rules=rules)
        estimates = estimate_page(connection, page, [worker(slots=9)], NOW, rules)
        assert {(each.start, each.held) for each in estimates} == {(None, waiting[0].why)}
        assert claimable(connection, lambda: [worker(slots=9)], rules) == 0
    runs.finish(a[0])
    with reading(runs.engine) as connection:
        assert claimable(connection, lambda: [worker(slots=9)], rules) == 1
        waiting, _ = queue(connection, [worker(slots=9)], rules=rules)
        assert [each.why for each in waiting] == ["starting", *["ann may have 1 run active at once"] * 2]
    assert [start(runs, rules) for _ in range(2)] == [a[1], ""]
    limit(runs, "ann", 0)
    assert [start(runs, rules) for _ in range(3)] == [*a[2:], ""]


@pytest.mark.usefixtures("people")
@given(
    launched=st.lists(st.tuples(st.sampled_from(["", *PEOPLE]), st.booleans()), max_size=15),
    own=st.dictionaries(st.sampled_from(PEOPLE), st.integers(0, 3)),
    most=st.integers(0, 3),
    fair=st.booleans(),
)
def test_no_more_runs_of_a_person_are_active_than_may_be_and_all_others_start(
    runs: Runs, launched: list[tuple[str, bool]], own: dict[str, int], most: int, fair: bool
) -> None:
    end_all(runs)
    for person in PEOPLE:
        limit(runs, person, own.get(person))
    for i, (person, gpu) in enumerate(launched):
        launch(runs, person, 1000.0 + i, device="cuda" if gpu else "auto")
    rules = QueueRules(fair, most)
    with reading(runs.engine) as connection:
        expected = claimable(connection, lambda: [worker(slots=99)], rules)
    found = 0
    while start(runs, rules):
        found += 1
    assert found == expected
    active = Counter(person for (person,) in runs.sql("SELECT created_by FROM run WHERE status = 'starting'"))
    fits = Counter(person for person, gpu in launched if not gpu)
    for person, number in fits.items():
        bound = own.get(person, most) if person else 0
        assert active[person] == (min(number, bound) if bound else number)
