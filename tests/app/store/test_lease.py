"""Claims and leases: who gets a run, and what happens when its worker stops, vanishes or is killed."""

from __future__ import annotations

import threading

import pytest

from app.contract.events import Checkpoint, Started
from app.store import lease
from app.store.database import next_commit, reading, writing
from app.store.run import TERMINAL
from tests.app.store.leasing import NOW, add_curve, change, claim
from tests.conftest import Runs, config


def test_runs_start_by_priority_and_then_in_the_order_they_were_launched(runs: Runs) -> None:
    first, second = runs.add(NOW), runs.add(NOW)
    urgent, patient = runs.add(NOW + 5, priority=3), runs.add(NOW - 5, priority=-1)
    earlier = runs.add(NOW - 1)
    granted = [claim(runs, f"c{i}") for i in range(6)]
    assert [grant.run if grant else None for grant in granted] == [urgent, earlier, first, second, patient, None]


def test_a_claim_that_comes_twice_gets_the_same_run(runs: Runs) -> None:
    run = runs.add()
    other = runs.add()
    once, again = claim(runs, "c1"), claim(runs, "c1")
    assert once == again
    assert once is not None
    assert (once.run, once.fence, once.attempt) == (run, 1, 1)
    assert runs.status(other) == "queued"


def test_two_claims_at_once_never_get_the_same_run(runs: Runs) -> None:
    launched = {runs.add() for _ in range(12)}
    granted: list[str] = []
    ready = threading.Barrier(6)

    def ask(slot: int) -> None:
        ready.wait()
        for i in range(3):
            found = claim(runs, f"c{slot}-{i}")
            if found:
                granted.append(found.run)

    threads = [threading.Thread(target=ask, args=(slot,)) for slot in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(granted) == sorted(launched)


def test_a_run_waits_for_the_device_it_asks_for(runs: Runs) -> None:
    gpu, anywhere, cpu = runs.add(device="cuda"), runs.add(device="auto"), runs.add(device="cpu")
    got = [claim(runs, f"c{i}", kind) for i, kind in enumerate(["cpu", "cpu", "cpu", "cuda"])]
    assert [grant.run if grant else None for grant in got] == [anywhere, cpu, None, gpu]


def test_a_granted_run_has_its_configuration_and_its_last_checkpoint(runs: Runs) -> None:
    run = runs.add(name="mine", seed=7)
    kept = Checkpoint(path="r/last", epoch=1, step=10)
    runs.set(run, checkpoint=kept.model_dump_json())
    grant = claim(runs, "c1")
    assert grant is not None
    assert grant.config == config(name="mine", seed=7)
    assert grant.resume == kept
    assert runs.get(run).row["lease_until"] == NOW + 10


def test_a_run_in_the_trash_is_not_started(runs: Runs) -> None:
    run = runs.add()
    runs.set(run, deleted_at=NOW)
    assert claim(runs, "c1") is None


def test_an_event_of_an_older_attempt_changes_nothing(runs: Runs) -> None:
    run = runs.add()
    claim(runs, "c1")
    runs.set(run, fence=2)
    before = runs.get(run).row
    started = Started(step=0, epoch=0, params=5, environment={"x": 1})
    assert not change(runs, lambda c, commit: lease.begin(c, run, 1, started, commit, NOW))
    assert not change(runs, lambda c, commit: lease.end(c, run, 1, "succeeded", "", commit, NOW))
    assert not change(runs, lambda c, commit: lease.end(c, run, 1, "interrupted", "", commit, NOW))
    assert change(runs, lambda c, commit: lease.renew(c, run, 1, NOW + 99)) is None
    assert runs.get(run).row == before


def cancel(runs: Runs, run: str) -> str | None:
    with writing(runs.engine) as connection:
        return lease.request_cancel(connection, run, next_commit(connection), NOW + 1, 15)


def test_a_waiting_run_is_stopped_at_once(runs: Runs) -> None:
    run = runs.add()
    assert cancel(runs, run) == "cancelled"
    assert runs.get(run).row["ended_at"] == NOW + 1
    assert claim(runs, "c1") is None


@pytest.mark.parametrize("state", ["starting", "running", "finishing"])
def test_a_run_in_hand_is_asked_to_stop(runs: Runs, state: str) -> None:
    run = runs.add()
    runs.set(run, status=state)
    assert cancel(runs, run) == "cancelling"
    assert runs.get(run).row["deadline"] == NOW + 16


@pytest.mark.parametrize("state", TERMINAL)
def test_a_run_that_has_ended_cannot_be_stopped(runs: Runs, state: str) -> None:
    run = runs.add()
    runs.finish(run, state)
    assert cancel(runs, run) == state
    assert runs.get(run).reason == ""


def test_a_run_that_does_not_exist_cannot_be_stopped(runs: Runs) -> None:
    assert cancel(runs, "r_none") is None


def test_a_cancelled_run_keeps_its_points(runs: Runs) -> None:
    run = runs.add()
    runs.set(run, status="running", fence=1)
    add_curve(runs, run)
    cancel(runs, run)
    change(runs, lambda c, commit: lease.end(c, run, 1, "cancelled", "", commit, NOW))
    assert runs.status(run) == "cancelled"
    assert runs.sql("SELECT points FROM metric_series WHERE run = :run", run=run) == [(3,)]


def settle(runs: Runs, now: float, attempts: int = 3) -> None:
    with writing(runs.engine) as connection:
        commit = next_commit(connection)
        lease.expire_leases(connection, commit, now)
        lease.settle_lost(connection, commit, now, attempts)


def test_a_run_whose_lease_ran_out_is_lost_and_then_queued_again(runs: Runs) -> None:
    run = runs.add()
    assert claim(runs, "c1", until=NOW + 10) is not None
    runs.set(run, checkpoint=Checkpoint(path="p", epoch=0, step=1234).model_dump_json())
    settle(runs, NOW + 10)
    assert runs.status(run) == "starting"
    settle(runs, NOW + 10.1)
    assert runs.status(run) == "lost"
    assert "w1" in runs.get(run).reason
    settle(runs, NOW + 11.2)
    assert runs.status(run) == "queued"
    assert "step 1,234" in runs.get(run).reason
    again = claim(runs, "c2", until=NOW + 30)
    assert again is not None
    assert (again.attempt, again.fence) == (2, 2)
    assert again.resume is not None


def test_a_run_that_is_lost_too_often_fails(runs: Runs) -> None:
    run = runs.add()
    now = NOW
    for attempt in range(2):
        assert claim(runs, f"c{attempt}", until=now + 10) is not None
        settle(runs, now + 11, attempts=2)
        settle(runs, now + 13, attempts=2)
        now += 20
    assert runs.status(run) == "failed"
    assert "lost 2 times" in runs.get(run).reason
    assert runs.get(run).row["losses"] == 2


def test_a_run_that_was_being_stopped_when_its_worker_vanished_is_cancelled(runs: Runs) -> None:
    run = runs.add()
    claim(runs, "c1", until=NOW + 10)
    cancel(runs, run)
    settle(runs, NOW + 11)
    assert runs.status(run) == "cancelled"


def test_whether_anything_is_overdue_is_known_before_anything_is_written(runs: Runs) -> None:
    runs.add()
    claim(runs, "c1", until=NOW + 10)
    with reading(runs.engine) as connection:
        assert not lease.anything_overdue(connection, NOW + 10)
        assert lease.anything_overdue(connection, NOW + 11)


def test_a_heartbeat_renews_the_lease(runs: Runs) -> None:
    run = runs.add()
    claim(runs, "c1", until=NOW + 10)
    with writing(runs.engine) as connection:
        assert lease.renew(connection, run, 1, NOW + 20) == "starting"
    settle(runs, NOW + 15)
    assert runs.status(run) == "starting"


def test_leases_are_postponed_and_never_brought_forward(runs: Runs) -> None:
    short, long = runs.add(), runs.add()
    claim(runs, "c1", until=NOW + 1)
    claim(runs, "c2", until=NOW + 90)
    with writing(runs.engine) as connection:
        lease.postpone_leases(connection, NOW + 10)
    assert runs.get(short).row["lease_until"] == NOW + 10
    assert runs.get(long).row["lease_until"] == NOW + 90


def interrupt(runs: Runs, run: str, fence: int = 1) -> None:
    with writing(runs.engine) as connection:
        lease.end(connection, run, fence, "interrupted", "its worker stopped", next_commit(connection), NOW)


def killed(runs: Runs, run: str, fence: int) -> bool:
    with writing(runs.engine) as connection:
        return lease.end(connection, run, fence, "killed", "its trainer was killed", next_commit(connection), NOW)


def test_a_killed_run_goes_on_as_often_as_it_gets_further_and_fails_when_it_does_not(runs: Runs) -> None:
    run = runs.add()
    for fence, step in enumerate((100, 200, 200, 250, 250, 250), 1):
        assert claim(runs, f"c{fence}", until=NOW + 1000) is not None
        runs.set(run, checkpoint=Checkpoint(path="p", epoch=0, step=step).model_dump_json())
        assert killed(runs, run, fence)
        assert runs.status(run) == "lost"
        settle(runs, NOW, attempts=2)
        assert runs.get(run).losses == {100: 0, 200: fence - 2, 250: fence - 4}[step]
    assert runs.status(run) == "failed"
    assert "lost 2 times without progress" in runs.get(run).reason
    assert "its trainer was killed" in runs.get(run).reason


def test_a_run_that_goes_on_from_another_and_is_killed_at_once_has_got_no_further(runs: Runs) -> None:
    run = runs.add()
    runs.set(run, parent_step=90, checkpoint=Checkpoint(path="p", epoch=0, step=90).model_dump_json())
    assert claim(runs, "c1", until=NOW + 1000) is not None
    assert killed(runs, run, 1)
    assert runs.get(run).losses == 1


def test_a_run_that_is_killed_while_it_stops_is_cancelled_and_an_older_attempt_changes_nothing(runs: Runs) -> None:
    run = runs.add()
    claim(runs, "c1", until=NOW + 1000)
    assert not killed(runs, run, 0)
    assert runs.status(run) == "starting"
    cancel(runs, run)
    assert killed(runs, run, 1)
    assert runs.status(run) == "cancelled"
    assert not killed(runs, "r_none", 1)


def test_an_interrupted_run_waits_again_and_counts_no_loss(runs: Runs) -> None:
    run = runs.add()
    claim(runs, "c1")
    interrupt(runs, run)
    assert runs.status(run) == "queued"
    assert runs.get(run).row["losses"] == 0
    again = claim(runs, "c2")
    assert again is not None
    assert again.attempt == 2


def test_a_run_that_is_told_twice_to_be_interrupted_still_waits(runs: Runs) -> None:
    run = runs.add()
    claim(runs, "c1")
    interrupt(runs, run)
    interrupt(runs, run)
    assert runs.status(run) == "queued"


def test_an_interrupted_run_that_was_to_stop_is_stopped(runs: Runs) -> None:
    run = runs.add()
    claim(runs, "c1")
    cancel(runs, run)
    interrupt(runs, run)
    assert runs.status(run) == "cancelled"


def test_the_last_words_of_a_lost_trainer_count_although_the_run_waits_again(runs: Runs) -> None:
    run = runs.add()
    claim(runs, "c1", until=NOW)
    settle(runs, NOW + 1)
    settle(runs, NOW + 3)
    assert runs.status(run) == "queued"
    assert change(runs, lambda c, commit: lease.end(c, run, 1, "succeeded", "", commit, NOW))
    assert runs.status(run) == "succeeded"


def test_time_counts_from_the_first_start(runs: Runs) -> None:
    run = runs.add()
    claim(runs, "c1")
    started = Started(step=0, epoch=0, params=5, environment={"torch": "2"})
    change(runs, lambda c, commit: lease.begin(c, run, 1, started, commit, NOW + 1))
    interrupt(runs, run)
    claim(runs, "c2")
    change(runs, lambda c, commit: lease.begin(c, run, 2, started, commit, NOW + 50))
    found = runs.get(run)
    assert (found.row["started_at"], found.params, found.environment) == (NOW + 1, 5, {"torch": "2"})
