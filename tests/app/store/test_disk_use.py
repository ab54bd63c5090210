"""What the files of a run take: each file once, by what was said when it was written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from app.contract.events import Checkpoint, PredictionsKept
from app.store import model_job
from app.store.database import reading, writing
from app.store.disk_use import DiskUse, disk_use
from app.store.lineage import save_checkpoint
from app.store.prediction_file import record_file
from tests.conftest import Runs

size = st.integers(1, 10**10)


def used(engine: Engine, run: str = "") -> DiskUse:
    with reading(engine) as connection:
        return disk_use(connection, run)


def write_checkpoints(runs: Runs, engine: Engine, run: str, last: int, best: int, kept: list[int]) -> None:
    for column, amount in (("checkpoint", last), ("best_checkpoint", best)):
        said = Checkpoint(path=f"{run}/1/{column}", epoch=1, step=9, bytes=amount)
        runs.set(run, **{column: said.model_dump_json()})
    with writing(engine) as connection:
        for step, amount in enumerate(kept):
            path = f"{run}/1/epoch-{step}"
            save_checkpoint(connection, run, Checkpoint(path=path, epoch=step, step=step, kept=True, bytes=amount))


def export(engine: Engine, run: str, options: dict[str, Any], files: dict[str, int]) -> None:
    result = {"files": [{"name": name, "bytes": amount} for name, amount in files.items()]}
    with writing(engine) as connection:
        job = model_job.add_job(connection, run, "export", options, 1.0)
        model_job.end_job(connection, job.id, "succeeded", 2.0, result=result)


@given(size, size, st.lists(size, max_size=3), st.integers(0, 10**9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_runs_together_use_what_each_of_them_uses(
    runs: Runs, engine: Engine, last: int, best: int, kept: list[int], predicted: int
) -> None:
    before, run = used(engine), runs.add()
    assert used(engine, run) == DiskUse(0, 0, 0, 0)
    write_checkpoints(runs, engine, run, last, best, kept)
    with writing(engine) as connection:
        said = PredictionsKept(path=f"{run}/1/p", kind="final", epoch=1, step=9, bytes=predicted)
        record_file(connection, run, 1, said, 1.0)
    found = used(engine, run)
    assert found == DiskUse(last + best + sum(kept), predicted, 0, 0)
    assert found.total == last + best + sum(kept) + predicted
    assert used(engine).total == before.total + found.total


def test_a_checkpoint_to_resume_from_that_is_kept_too_counts_once(runs: Runs, engine: Engine) -> None:
    run = runs.add()
    start = Checkpoint(path=f"{run}/0/last", epoch=1, step=9, kept=True, bytes=500)
    runs.set(run, checkpoint=start.model_dump_json())
    with writing(engine) as connection:
        save_checkpoint(connection, run, start)
    assert used(engine, run).checkpoints == 500


def test_of_a_file_that_was_exported_again_the_newest_counts(runs: Runs, engine: Engine) -> None:
    run = runs.add()
    export(engine, run, {"format": "onnx"}, {"model.onnx": 700})
    export(engine, run, {"format": "onnx"}, {"model.onnx": 900})
    export(engine, run, {"format": "safetensors"}, {"model.safetensors": 50, "model.json": 5})
    with writing(engine) as connection:
        model_job.add_job(connection, run, "export", {"format": "torch_export"}, 3.0)
    assert used(engine, run).exports == 955


@pytest.mark.parametrize("written", ['{"path": "r/1/best", "epoch": 1, "step": 9}', '{"path": "a", "bytes": 0}'])
def test_checkpoints_whose_size_was_not_recorded_are_counted_apart(runs: Runs, engine: Engine, written: str) -> None:
    run = runs.add()
    runs.set(run, best_checkpoint=written)
    assert used(engine, run) == DiskUse(0, 0, 0, 1)
