"""Jobs wait in the order of their requests, once each, and end once."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, text

from app.store.database import writing
from app.store.model_job import (
    add_job,
    begin_job,
    end_job,
    find_job,
    jobs_of,
    newest_of,
    next_job,
    put_back,
    requeue_jobs,
    runs_with,
    set_share,
)
from tests.conftest import Runs


def test_a_job_that_waits_already_is_not_queued_again_whatever_the_order_of_its_options(
    runs: Runs, engine: Engine
) -> None:
    run, other = runs.add(), runs.add()
    with writing(engine) as connection:
        first = add_job(connection, run, "export", {"format": "onnx", "preprocessing": True}, 1.0)
        assert add_job(connection, run, "export", {"preprocessing": True, "format": "onnx"}, 2.0) == first
        others: list[tuple[str, str, dict[str, Any]]] = [
            (run, "export", {"format": "onnx", "preprocessing": False}),
            (run, "evaluate", {}),
            (other, "export", {"format": "onnx", "preprocessing": True}),
        ]
        ids = {first.id, *(add_job(connection, *said, 3.0).id for said in others)}
        assert len(ids) == 4
        assert end_job(connection, first.id, "failed", 4.0, reason="no room")
        assert add_job(connection, run, "export", first.options, 5.0).id not in ids
        assert [job.created_at for job in jobs_of(connection, run, "export")] == [5.0, 3.0, 1.0]
        assert [job.kind for job in jobs_of(connection, run)].count("evaluate") == 1


def test_the_one_that_waits_longest_is_next_and_those_of_deleted_runs_wait(runs: Runs, engine: Engine) -> None:
    run, deleted = runs.add(), runs.add()
    with writing(engine) as connection:
        gone = add_job(connection, deleted, "evaluate", {}, 1.0)
        first, second = (
            add_job(connection, run, kind, {}, 2.0 + i) for i, kind in enumerate(("robustness", "evaluate"))
        )
        connection.execute(text("UPDATE run SET deleted_at = 1 WHERE id = :id"), {"id": deleted})
        order = []
        while (job := next_job(connection)) is not None:
            order.append(job.id)
            assert begin_job(connection, job.id, 5.0)
            assert not begin_job(connection, job.id, 6.0), "it has begun"
        assert order == [first.id, second.id]
        connection.exec_driver_sql("UPDATE run SET deleted_at = NULL")
        waiting = next_job(connection)
        assert waiting is not None
        assert waiting.id == gone.id


def test_what_has_ended_stays_as_it_ended(runs: Runs, engine: Engine) -> None:
    run = runs.add()
    with writing(engine) as connection:
        job = add_job(connection, run, "evaluate", {}, 1.0)
        begin_job(connection, job.id, 2.0)
        set_share(connection, job.id, 1.7)
        assert end_job(connection, job.id, "succeeded", 3.0, result={"accuracy": float("nan")})
        assert not end_job(connection, job.id, "cancelled", 4.0)
        set_share(connection, job.id, 0.1)
        put_back(connection, job.id)
        requeue_jobs(connection, 1, 5.0)
        found = find_job(connection, job.id)
    assert found is not None
    assert (found.status, found.share, found.ended_at, found.live) == ("succeeded", 1.0, 3.0, False)
    assert found.result == {"accuracy": None}, "JSON has no word for NaN"


@pytest.mark.parametrize(("starts", "status"), [(1, "queued"), (2, "failed")])
def test_what_ran_when_the_server_ended_is_queued_again_but_not_forever(
    runs: Runs, engine: Engine, starts: int, status: str
) -> None:
    run = runs.add()
    with writing(engine) as connection:
        job = add_job(connection, run, "evaluate", {}, 1.0)
        for again in range(starts):
            if again:
                requeue_jobs(connection, 2, 2.0)
            begin_job(connection, job.id, 2.0)
        set_share(connection, job.id, 0.5)
        requeue_jobs(connection, 2, 3.0)
        found = find_job(connection, job.id)
    assert found is not None
    assert (found.status, found.starts) == (status, starts)
    assert found.reason == ("" if status == "queued" else "the server ended 2 times during this job")


def test_a_job_that_is_put_back_has_not_been_started(runs: Runs, engine: Engine) -> None:
    run = runs.add()
    with writing(engine) as connection:
        job = add_job(connection, run, "evaluate", {}, 1.0)
        begin_job(connection, job.id, 2.0)
        put_back(connection, job.id)
        found = find_job(connection, job.id)
    assert found is not None
    assert (found.status, found.starts, found.share) == ("queued", 0, 0.0)


def test_the_newest_success_of_each_run_is_found(runs: Runs, engine: Engine) -> None:
    run, bare, deleted = runs.add(), runs.add(), runs.add()
    with writing(engine) as connection:
        for each, now, status in ((run, 1.0, "succeeded"), (run, 2.0, "succeeded"), (run, 3.0, "failed")):
            job = add_job(connection, each, "robustness", {"seed": int(now)}, now)
            end_job(connection, job.id, status, now + 0.5, result={"now": now})
        end_job(connection, add_job(connection, bare, "evaluate", {}, 1.0).id, "succeeded", 2.0)
        end_job(connection, add_job(connection, deleted, "robustness", {}, 1.0).id, "succeeded", 2.0)
        connection.execute(text("UPDATE run SET deleted_at = 1 WHERE id = :id"), {"id": deleted})
        found = newest_of(connection, [run, bare], "robustness")
        assert {each: job.result for each, job in found.items()} == {run: {"now": 2.0}}
        assert [each for each, _, _ in runs_with(connection, "robustness", "digits", 9)] == [run]
        assert runs_with(connection, "robustness", "mnist", 9) == []
