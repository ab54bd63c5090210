"""Which files of predictions a run has: histories while it trains, and one file at the end."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Engine, text

from app.contract.events import PredictionsKept
from app.store.database import reading, writing
from app.store.prediction_file import KeptFile, kept_files, record_file
from tests.conftest import Runs


def kept(path: str, epoch: int, kind: Literal["final", "history"] = "history", amount: int = 10) -> PredictionsKept:
    return PredictionsKept(path=path, kind=kind, epoch=epoch, step=9 * epoch, bytes=amount)


def files(engine: Engine, run: str) -> list[KeptFile]:
    with reading(engine) as connection:
        return kept_files(connection, run)


def test_histories_are_in_the_order_of_training_and_a_rewritten_one_counts_once(runs: Runs, engine: Engine) -> None:
    run, other = runs.add(), runs.add()
    with writing(engine) as connection:
        record_file(connection, run, 2, kept("2/history-3", 4), 30.0)
        record_file(connection, run, 1, kept("1/history-1", 2), 10.0)
        record_file(connection, run, 1, kept("1/history-3", 3), 20.0)
        record_file(connection, run, 1, kept("1/history-3", 5, amount=70), 25.0)
        record_file(connection, other, 1, kept("1/history-1", 9), 11.0)
    found = files(engine, run)
    assert [(each.path, each.epoch, each.fence) for each in found] == [
        ("1/history-1", 2, 1),
        ("1/history-3", 5, 1),
        ("2/history-3", 4, 2),
    ]
    assert found[1] == KeptFile("1/history-3", "history", 1, 5, 45, 70, 25.0)
    assert [each.epoch for each in files(engine, other)] == [9]


def test_the_final_file_replaces_all_others_of_its_run_only(runs: Runs, engine: Engine) -> None:
    run, other = runs.add(), runs.add()
    with writing(engine) as connection:
        for each in (run, other):
            record_file(connection, each, 1, kept("1/history-1", 2), 10.0)
        record_file(connection, run, 1, kept("1/predictions", 2, "final"), 20.0)
        record_file(connection, run, 2, kept("2/predictions", 1, "final"), 30.0)
    assert [(each.path, each.kind) for each in files(engine, run)] == [("2/predictions", "final")]
    assert [(each.path, each.kind) for each in files(engine, other)] == [("1/history-1", "history")]


def test_files_are_forgotten_with_their_run(runs: Runs, engine: Engine) -> None:
    run = runs.add()
    with writing(engine) as connection:
        record_file(connection, run, 1, kept("1/history-1", 2), 10.0)
        connection.execute(text("DELETE FROM run WHERE id = :id"), {"id": run})
    assert files(engine, run) == []
