"""The states of a run, the trash, and what never changes about a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from app.contract.events import Started
from app.store import lease, trash
from app.store import run as store
from app.store.database import next_commit, reading, writing
from app.store.run import ACTIVE, STATES, TERMINAL, TRANSITIONS
from tests.app.store.leasing import NOW, add_curve, change, device
from tests.conftest import Runs, config


@pytest.mark.parametrize(("before", "after"), list(product(STATES, STATES)))
def test_only_what_the_table_allows_may_follow(runs: Runs, before: str, after: str) -> None:
    run = runs.add()
    runs.set(run, status=before)
    assert change(runs, lambda c, commit: store.transition(c, run, after, commit)) == (after in TRANSITIONS[before])
    assert runs.status(run) == (after if after in TRANSITIONS[before] else before)


def test_the_table_of_transitions_knows_every_state_and_an_end_has_no_successor() -> None:
    assert set(TRANSITIONS) == set(STATES)
    assert {state for following in TRANSITIONS.values() for state in following} <= set(STATES)
    assert all(TRANSITIONS[state] == () for state in TERMINAL)


ACTS: dict[str, Callable[[Any, str, int, int, float], Any]] = {
    "begin": lambda c, run, fence, commit, now: lease.begin(
        c, run, fence, Started(step=0, epoch=0, params=1, environment={}), commit, now
    ),
    "finish": lambda c, run, fence, commit, now: store.transition(c, run, "finishing", commit, fence=fence),
    "succeed": lambda c, run, fence, commit, now: lease.end(c, run, fence, "succeeded", "", commit, now),
    "fail": lambda c, run, fence, commit, now: lease.end(c, run, fence, "failed", "x", commit, now),
    "stopped": lambda c, run, fence, commit, now: lease.end(c, run, fence, "cancelled", "", commit, now),
    "interrupt": lambda c, run, fence, commit, now: lease.end(c, run, fence, "interrupted", "", commit, now),
    "renew": lambda c, run, fence, commit, now: lease.renew(c, run, fence, now + 10),
    "cancel": lambda c, run, fence, commit, now: lease.request_cancel(c, run, commit, now, 15),
    "claim": lambda c, run, fence, commit, now: lease.claim_next(c, f"c{commit}", "w", 0, device(), commit, now + 10),
    "expire": lambda c, run, fence, commit, now: lease.expire_leases(c, commit, now),
    "settle": lambda c, run, fence, commit, now: lease.settle_lost(c, commit, now, 2),
}


@hypothesis_settings(max_examples=60)
@given(acts=st.lists(st.tuples(st.sampled_from(sorted(ACTS)), st.integers(0, 1), st.integers(0, 12)), max_size=25))
def test_whatever_happens_in_whatever_order_a_run_keeps_the_rules(runs: Runs, acts: list[tuple[str, int, int]]) -> None:
    with writing(runs.engine) as connection:
        connection.execute(text("DELETE FROM run"))
        run = store.insert_run(connection, config(), {}, None, NOW)
        now = NOW
        seen: dict[str, Any] = dict(connection.execute(text("SELECT * FROM run")).mappings().one())
        for name, stale, seconds in acts:
            now += seconds
            # An event of the current attempt, or of the previous one.
            fence = int(seen["fence"]) - stale
            ACTS[name](connection, run, fence, next_commit(connection), now)
            row = dict(connection.execute(text("SELECT * FROM run")).mappings().one())
            changed = row["status"] != seen["status"]
            assert not changed or row["status"] in TRANSITIONS[seen["status"]]
            assert row["fence"] >= seen["fence"]
            assert row["attempt"] >= seen["attempt"]
            assert (row["lease_until"] is not None) == (row["status"] in (*ACTIVE, "lost"))
            assert (row["ended_at"] is not None) == (row["status"] in TERMINAL)
            if seen["status"] in TERMINAL:
                assert (row["status"], row["reason"], row["ended_at"]) == (
                    seen["status"],
                    seen["reason"],
                    seen["ended_at"],
                )
            if stale and name not in ("cancel", "claim", "expire", "settle"):
                assert row == seen
            seen = row


@pytest.mark.parametrize("state", STATES)
def test_only_a_run_that_has_ended_can_be_deleted(runs: Runs, state: str) -> None:
    run = runs.add()
    runs.set(run, status=state)
    assert change(runs, lambda c, commit: trash.delete_run(c, run, commit, NOW)) == (state in TERMINAL)


def test_what_viewers_are_told_again_and_again_is_what_the_whole_run_says(runs: Runs) -> None:
    run = runs.add()
    runs.set(run, status="running", progress='{"step": 3}', status_commit=4, progress_commit=7, reset_commit=5)
    with reading(runs.engine) as connection:
        marks = store.read_state(connection, run)
        assert store.read_state(connection, "r_none") is None
    found = runs.get(run)
    assert marks is not None
    assert (marks.status, json.loads(marks.progress)) == (found.status, found.progress) == ("running", {"step": 3})
    assert (marks.status_commit, marks.progress_commit, marks.reset_commit) == (4, 7, 5)
    runs.set(run, deleted_at=1.0)
    with reading(runs.engine) as connection:
        assert store.read_state(connection, run) is None


def test_a_deleted_run_comes_back_whole(runs: Runs) -> None:
    run = runs.add(tags=["a", "b"])
    add_curve(runs, run)
    runs.finish(run)
    change(runs, lambda c, commit: trash.delete_run(c, run, commit, NOW))
    with reading(runs.engine) as connection:
        assert store.load_run(connection, run) is None
    assert not change(runs, lambda c, commit: trash.delete_run(c, run, commit, NOW))
    assert change(runs, lambda c, commit: trash.restore_run(c, run, commit))
    assert not change(runs, lambda c, commit: trash.restore_run(c, run, commit))
    with reading(runs.engine) as connection:
        found = store.load_run(connection, run)
    assert found is not None
    assert found.tags == ["a", "b"]
    assert runs.sql("SELECT count(*) FROM metric_chunk") == [(1,)]


def test_a_purged_run_leaves_no_row_behind(runs: Runs) -> None:
    run, kept = runs.add(tags=["a"]), runs.add(tags=["b"])
    for each in (run, kept):
        add_curve(runs, each)
        runs.finish(each)
        change(runs, lambda c, commit, each=each: trash.delete_run(c, each, commit, NOW))
    runs.set(kept, deleted_at=NOW + 50)
    with writing(runs.engine) as connection:
        assert trash.purge_runs(connection, NOW + 10) == [run]
    for table in ("run", "run_tag", "run_log", "metric_series", "metric_chunk"):
        assert runs.sql(f"SELECT count(*) FROM {table}") == [(1,)], table


def test_the_same_key_gives_the_same_run(runs: Runs) -> None:
    assert runs.add(key="k") == runs.add(key="k")
    assert runs.add(key="other") != runs.add()
    assert runs.sql("SELECT count(*) FROM run") == [(3,)]


def test_ids_sort_by_time_and_numbers_count_from_one(runs: Runs) -> None:
    made = [runs.add(NOW + i) for i in range(5)]
    assert made == sorted(made)
    assert [runs.get(run).number for run in made] == [1, 2, 3, 4, 5]


def test_a_tag_named_twice_is_one_tag(runs: Runs) -> None:
    assert runs.get(runs.add(tags=["b", "a", "b"])).tags == ["a", "b"]


def test_a_record_knows_the_columns_of_its_row_and_no_others(engine: Engine) -> None:
    runs = Runs(engine)
    found = runs.get(runs.add(name="mine"))
    assert (found.title, found.requested_spec, found.live) == ("mine", {"name": "mine"}, True)
    with pytest.raises(AttributeError):
        _ = found.color
