"""Many runs are stopped in one transaction, and those that had not started come back to their places."""

from __future__ import annotations

from sqlalchemy import Engine

from app.store import run as run_store
from app.store.bulk import Cancelled, RunSelection, cancel_runs, missing, restorable, restore_queued
from app.store.database import next_commit, reading, writing
from app.store.edit import edit
from app.store.queue import find_place, move, read_queue
from app.store.run import Origin, insert_run
from tests.conftest import Runs, config

NOW = 1_700_000_500.0


def cancel(engine: Engine, which: RunSelection, now: float = NOW) -> Cancelled:
    with writing(engine) as connection:
        return cancel_runs(connection, which, next_commit(connection), now, 25.0)


def restore(engine: Engine, runs: list[str]) -> list[tuple[str, str]]:
    with writing(engine) as connection:
        made = restore_queued(connection, runs, NOW + 1)
    assert not isinstance(made, str)
    return made


def order(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        return [run.id for run in read_queue(connection, 500).runs]


def test_a_stop_of_many_ends_what_waits_and_asks_what_trains(runs: Runs) -> None:
    waits, again, lost, trains, ended = (runs.add() for _ in range(5))
    runs.set(again, attempt=1)
    runs.set(lost, status="lost", attempt=1)
    runs.set(trains, status="running", fence=1, attempt=1)
    runs.finish(ended)
    done = cancel(runs.engine, RunSelection([waits, again, lost, trains, ended]))
    assert (done.cancelled, sorted(done.stopping), done.held) == ([waits], sorted([again, lost, trains]), [trains])
    states = {run: runs.status(run) for run in (waits, again, lost, trains, ended)}
    stopped = dict.fromkeys((waits, again, lost), "cancelled")
    assert states == stopped | {trains: "cancelling", ended: "succeeded"}
    assert runs.get(trains).deadline == NOW + 25
    assert {runs.get(run).status_commit for run in (waits, trains)} == {runs.commit()}


def test_all_that_waits_can_be_cancelled_and_what_trains_is_left_alone(runs: Runs) -> None:
    made = [runs.add() for _ in range(30)]
    runs.set(made[0], status="running", fence=1)
    assert cancel(runs.engine, RunSelection(queued=True)).cancelled == made[1:]
    assert (order(runs.engine), runs.status(made[0])) == ([], "running")
    assert cancel(runs.engine, RunSelection(queued=True)).cancelled == []


def test_a_whole_sweep_is_stopped_and_nothing_else(runs: Runs) -> None:
    other = runs.add()
    with writing(runs.engine) as connection:
        made = [insert_run(connection, config(), {}, 1, NOW, None, Origin(sweep="s_1")) for _ in range(3)]
    runs.set(made[0], status="running", fence=1, attempt=1)
    done = cancel(runs.engine, RunSelection(sweep="s_1"))
    assert (done.cancelled, done.stopping) == (made[1:], made[:1])
    assert order(runs.engine) == [other]


def test_more_ids_than_a_statement_holds_are_stopped_together(runs: Runs) -> None:
    made = [runs.add() for _ in range(3)]
    names = [*made, *(f"r_{i}" for i in range(2500))]
    assert cancel(runs.engine, RunSelection(names)).cancelled == made
    with reading(runs.engine) as connection:
        assert missing(connection, names) == "r_0"
        assert missing(connection, made) is None


def test_what_comes_back_stands_in_its_old_place_and_is_what_it_was(runs: Runs) -> None:
    # Launched at the same moment, as a sweep does: only their numbers order them.
    with writing(runs.engine) as connection:
        made = [
            insert_run(
                connection,
                config(name=f"n{i}", tags=["t"], priority=i % 2),
                {"family": "simple_mlp"},
                7,
                NOW - 9,
                None,
                Origin("r_p", "resume", 5, '{"path":"p","epoch":1,"step":5}', "s_1", {"lr": 0.1 * i}),
            )
            for i in range(6)
        ]
    stood = order(runs.engine)
    assert cancel(runs.engine, RunSelection(made[1:4])).cancelled == made[1:4]
    with reading(runs.engine) as connection:
        assert restorable(connection, NOW) == made[1:4]
        assert restorable(connection, NOW + 1) == []
    new = dict(restore(runs.engine, made[1:4]))
    assert order(runs.engine) == [new.get(run, run) for run in stood]
    for old in made[1:4]:
        before, after = runs.get(old), runs.get(new[old])
        assert before.deleted_at == NOW + 1
        assert (after.config, after.asked, after.params) == (before.config, before.asked, 7)
        for name in ("parent", "relation", "parent_step", "checkpoint", "sweep", "sweep_values", "priority"):
            assert after.row[name] == before.row[name]
        assert after.tags == ["t"]
    with reading(runs.engine) as connection:
        assert restorable(connection, NOW) == []


def test_places_are_kept_when_others_were_moved_meanwhile(runs: Runs) -> None:
    made = [runs.add(1000.0) for _ in range(5)]
    cancel(runs.engine, RunSelection(made[1:3]))
    with writing(runs.engine) as connection:
        place = find_place(connection, made[4])
        assert place is not None
        move(connection, place, "up", 1, NOW)
    new = dict(restore(runs.engine, made[1:3]))
    stood = [run for run in order(runs.engine) if run != made[4]]
    assert stood == [made[0], new[made[1]], new[made[2]], made[3]]
    assert order(runs.engine).index(made[4]) < order(runs.engine).index(made[3])


def test_what_had_started_or_is_unknown_does_not_come_back(runs: Runs) -> None:
    waited, started = runs.add(), runs.add()
    runs.set(started, attempt=1)
    cancel(runs.engine, RunSelection([waited, started]))
    with writing(runs.engine) as connection:
        assert restore_queued(connection, [waited, started], NOW) == started
        assert restore_queued(connection, [waited, "r_none"], NOW) == "r_none"
    assert order(runs.engine) == []


def test_a_run_with_new_words_comes_back_with_them(runs: Runs) -> None:
    run = runs.add(name="old")
    with writing(runs.engine) as connection:
        edit(connection, run, {"name": "new", "tags": ["x"]}, 1)
    cancel(runs.engine, RunSelection([run]))
    [(_, new)] = restore(runs.engine, [run])
    found = runs.get(new)
    assert (found.title, found.name, found.tags, found.status) == ("new", "new", ["x"], "queued")
    assert run_store.TRANSITIONS["cancelled"] == ()
