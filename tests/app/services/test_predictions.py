"""The server reads kept predictions: a final file, or the history so far, and keeps the newest in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from app.contract.events import PredictionsKept
from app.contract.predictions import Header, HeadPredictions, History, Predictions, history_file
from app.contract.settings import Settings
from app.services.predictions import PredictionStore, size_of
from app.store.database import writing
from app.store.prediction_file import record_file
from tests.conftest import Runs

IMAGES = 6


def history(*epochs: int, value: int = 0) -> History:
    shape = len(epochs), IMAGES
    return History(
        np.array(epochs, np.int32),
        {"digit": np.full(shape, value, np.uint16)},
        {"digit": np.full(shape, 0.5, np.float16)},
    )


@pytest.fixture
def store(settings: Settings, engine: Engine) -> PredictionStore:
    return PredictionStore(settings, engine)


class Writer:
    """Writes files of a run as its trainers do."""

    def __init__(self, settings: Settings, engine: Engine, run: str) -> None:
        self._root, self._engine, self._run = Path(settings.artifacts), engine, run
        self._now = 0.0

    def put(self, fence: int, name: str, found: History, kind: str = "history") -> PredictionsKept:
        targets = {"digit": tuple("0123456789")}
        header = Header(
            run=self._run,
            fence=fence,
            epoch=int(found.epochs[-1]),
            step=9,
            dataset="digits",
            targets=targets,
            created_at=0,
        )
        head = HeadPredictions.of(np.full((IMAGES, 10), 0.1, np.float32), np.zeros(IMAGES, np.int64))
        parts = {"test": {"digit": head}, "validation": {"digit": head}} if kind == "final" else {}
        content = Predictions(header, parts, found).to_bytes()
        path = f"{self._run}/{fence}/{name}"
        (self._root / path).parent.mkdir(parents=True, exist_ok=True)
        (self._root / path).write_bytes(content)
        kept = PredictionsKept.model_validate(
            {"path": path, "kind": kind, "epoch": header.epoch, "step": 9, "bytes": len(content)}
        )
        self._now += 1
        with writing(self._engine) as connection:
            record_file(connection, self._run, fence, kept, self._now)
        return kept

    def remove(self, kept: PredictionsKept) -> None:
        (self._root / kept.path).unlink()


@pytest.fixture
def run(runs: Runs) -> str:
    return runs.add()


@pytest.fixture
def writer(settings: Settings, engine: Engine, run: str) -> Writer:
    return Writer(settings, engine, run)


def epochs_of(found: Predictions | None) -> list[int]:
    assert found is not None
    assert found.history is not None
    return [int(epoch) for epoch in found.history.epochs]


def test_a_run_without_files_has_no_predictions(store: PredictionStore, run: str) -> None:
    assert store.load(run) is None
    assert (store.version(run), store.bytes_of(run)) == ("", 0)


def test_while_a_run_trains_its_history_grows_and_at_the_end_there_is_one_file(
    store: PredictionStore, writer: Writer, run: str
) -> None:
    first = writer.put(1, history_file(1), history(1, 2))
    assert epochs_of(store.load(run)) == [1, 2]
    seen = store.version(run)
    second = writer.put(1, history_file(3), history(3))
    assert epochs_of(store.load(run)) == [1, 2, 3]
    assert store.version(run) != seen
    assert store.bytes_of(run) == first.bytes + second.bytes
    final = writer.put(1, "predictions.safetensors", history(1, 2, 3, 4), "final")
    found = store.load(run)
    assert epochs_of(found) == [1, 2, 3, 4]
    assert found is not None
    assert set(found.parts) == {"validation", "test"}
    assert store.bytes_of(run) == final.bytes, "what the trainer has merged is gone"
    writer.remove(final)
    assert store.load(run) is found, "read once, and the same for all"


def test_an_attempt_that_resumed_replaces_what_the_killed_one_said_of_its_epochs(
    store: PredictionStore, writer: Writer, run: str
) -> None:
    writer.put(1, history_file(1), history(1, 2, 3, value=1))
    writer.put(2, history_file(3), history(3, value=2))
    found = store.load(run)
    assert found is not None
    assert found.history is not None
    assert found.history.predicted["digit"][:, 0].tolist() == [1, 1, 2]


def test_a_file_that_its_trainer_has_just_merged_is_no_error(store: PredictionStore, writer: Writer, run: str) -> None:
    first = writer.put(1, history_file(1), history(1))
    second = writer.put(1, history_file(2), history(2))
    writer.remove(first)
    assert epochs_of(store.load(run)) == [2]
    writer.remove(second)
    assert PredictionStore(store._settings, store._engine).load(run) is None


def test_memory_is_bounded_but_the_newest_file_stays(settings: Settings, engine: Engine, runs: Runs) -> None:
    small = PredictionStore(settings, engine, most_bytes=1)
    ids = [runs.add(), runs.add()]
    kept = [Writer(settings, engine, each).put(1, history_file(1), history(1)) for each in ids]
    found = [small.load(each) for each in ids]
    assert all(found)
    for each in kept:
        (Path(settings.artifacts) / each.path).unlink()
    assert small.load(ids[1]) is found[1]
    assert small.load(ids[0]) is None
    assert found[0] is not None
    assert size_of(found[0]) == IMAGES * 4


def test_a_fork_inherits_the_epochs_until_its_start(
    store: PredictionStore, writer: Writer, run: str, runs: Runs
) -> None:
    writer.put(1, "predictions.safetensors", history(1, 2, 3), "final")
    child = runs.add()
    kept = store.inherit(run, child, 2)
    assert kept is not None
    assert (kept.path, kept.kind, kept.epoch) == (f"{child}/0/history-1.safetensors", "history", 2)
    with writing(store._engine) as connection:
        record_file(connection, child, 0, kept, 1.0)
    found = store.load(child)
    assert epochs_of(found) == [1, 2]
    assert found is not None
    assert (found.header.run, found.parts) == (child, {})
    assert found.history is not None
    assert found.history.labels["digit"].tolist() == [0] * IMAGES, "of the parent's validation images"
    assert store.inherit(child, "x", 0) is None
