"""Reading curves, frames and comparisons with the Python client, and its asynchronous variant."""

from __future__ import annotations

import asyncio
import math
import sys
from typing import assert_type

import numpy as np
import pytest
from redis import Redis
from sqlalchemy import Engine

from app.contract.settings import Settings
from app.services.recorder import Recorder
from runyard import AsyncRun, AsyncRunyard, Point, Run, Runyard, RunyardError
from tests.app.predicted import keep, predictions_of
from tests.client.conftest import end, send
from tests.conftest import Runs, run_apart
from tests.fake_worker import Trainer, Worker
from tests.served import breaking


@pytest.fixture
def run(yard: Runyard, trainer: Trainer, recorder: Recorder, runs: Runs, redis: Redis) -> Run:
    """A run that has ended, with points."""
    send(
        trainer,
        recorder,
        redis,
        train__loss=[(1, 1.0), (2, math.inf)],
        test__acc=[(2, 0.9)],
        val__acc=[(1, 0.8), (2, 0.7)],
    )
    end(trainer.run, runs, redis)
    return yard.run(trainer.run)


def test_curves_are_numpy_arrays(run: Run) -> None:
    curves = run.curves()
    assert set(curves) == {"train/loss", "test/acc", "val/acc"}
    step, value, timestamp = curves["train/loss"]
    assert (step.dtype, value.dtype, timestamp.dtype) == (np.int64, np.float64, np.float64)
    assert step.tolist() == [1, 2]
    assert np.array_equal(value, [1.0, np.nan], equal_nan=True)
    assert set(run.curves(["val/acc"], points=10)) == {"val/acc"}
    with pytest.raises(RunyardError, match="no metric 'val/loss' in this run; metrics: "):
        run.curves(["val/loss"])


def test_curves_are_lists_where_numpy_is_not(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    curves = run.curves(["train/loss"])
    assert curves["train/loss"].step == [1, 2]
    assert curves["train/loss"].value[0] == 1.0
    assert math.isnan(curves["train/loss"].value[1])


def test_a_frame_needs_pandas_and_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"^frame\(\) needs pandas: pip install pandas$"):
        run.frame()


def test_a_frame_has_a_row_a_step_and_a_column_a_metric(run: Run) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is optional and not installed")
    frame = run.frame(["train/loss", "val/acc", "test/acc"])
    assert isinstance(frame, pandas.DataFrame)
    assert frame.index.tolist() == [1, 2]
    assert frame["val/acc"].tolist() == [0.8, 0.7]
    assert frame["test/acc"].isna().tolist() == [True, False]


def test_the_figure_of_a_run_is_the_best_of_validation_and_the_last_of_the_test(run: Run) -> None:
    assert (run.figure("val/acc"), run.figure("test/acc"), run.figure("none")) == (0.8, 0.9, None)


def test_runs_are_compared_as_means_over_their_seeds(
    yard: Runyard, runs: Runs, recorder: Recorder, worker: Worker
) -> None:
    ids = []
    for i, (family, accuracy) in enumerate([("vit", 0.5), ("vit", 0.7), ("simple_cnn", 0.9)]):
        launched = yard.launch(family=family, size="tiny", seed=i)
        trainer = worker.train(recorder)
        trainer.points(test__acc=[(1, accuracy)])
        recorder.step()
        runs.finish(launched.id)
        ids.append(launched.id)
    found = yard.compare([yard.run(ids[0]), *ids[1:]])
    assert [(group.title, group.runs) for group in found.groups] == [
        ("vit tiny", ids[:2]),
        ("simple_cnn tiny", ids[2:]),
    ]
    figure = found.groups[0].figures["test/acc"]
    assert figure.mean == pytest.approx(0.6)
    assert figure.half == pytest.approx(12.7062 * math.sqrt(0.02) / math.sqrt(2), rel=1e-4)
    assert found.groups[1].figures["test/acc"].half is None
    assert found.url == f"{yard.url}/compare?runs={','.join(ids)}&by=variant"
    assert str(found).splitlines()[1].startswith("vit tiny         2  60.00 ± 127.06%  1,000 ")
    assert found.sentence in str(found)


# Asynchronous client -------------------------------------------------------------------------------------------------


def test_everything_can_be_awaited_as_well(
    url: str, trainer: Trainer, recorder: Recorder, runs: Runs, redis: Redis
) -> None:
    send(trainer, recorder, redis, train__loss=[(step, 1 / step) for step in range(1, 30)])

    async def all_of_it(way: str) -> list[Point]:
        async with AsyncRunyard(way) as yard:
            run = await yard.run(trainer.run)
            with pytest.raises(TimeoutError):
                await run.wait(timeout=0.1)
            assert [each.id async for each in yard.runs(status="running")] == [run.id]
            assert list(await run.curves()) == ["train/loss"]
            points: list[Point] = []
            async for point in run.metrics():
                points.append(point)
                if point.step == 29:
                    await asyncio.to_thread(end, run.id, runs, redis)
            assert (await run.wait()).status == "succeeded"
            assert [line async for line in run.logs(follow=True)] == []
            async for _ in yard.changes():
                break
            with pytest.raises(RunyardError, match="no family 'vitt'"):
                await yard.launch(family="vitt")
            other = assert_type(await yard.launch(family="vit"), AsyncRun)
            assert (await other.cancel()).status == "cancelled"
            assert len((await yard.compare([run.id])).groups) == 1
            return points

    with breaking(url, 10**9, 600) as (way, _):
        points = run_apart(all_of_it(way))
    assert [(each.metric, each.step) for each in points] == [("train/loss", step) for step in range(1, 30)]


def test_an_awaited_server_that_is_not_there_is_said() -> None:
    async def ask() -> None:
        async with AsyncRunyard("http://127.0.0.1:9") as yard:
            await yard.workers()

    with pytest.raises(RunyardError, match=r"^cannot connect to a Runyard server at "):
        run_apart(ask())


def test_predictions_say_how_often_each_class_is_right(run: Run, settings: Settings, engine: Engine) -> None:
    with pytest.raises(RunyardError, match="predict"):
        run.predictions()
    keep(settings, engine, predictions_of(run.id))
    found = run.predictions(part="validation", epoch=4)
    assert len(found["matrix"]) == 10
    assert found["epoch"] == 4
    wrong = run.pictures(right=False)
    assert len(wrong) == round(180 * (1 - run.predictions()["accuracy"]))
