"""Kept predictions are those of the trainer's own evaluations, and complete whatever happens in between."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contract.events import Checkpoint, PredictionsKept
from app.contract.predictions import Predictions
from app.store.database import writing
from app.store.queue import pause, resume
from tests.worker.conftest import Fitted, StopsAt, fit_run, fit_run_that_ends_worse, make_config, until
from tests.worker.supervised import Worker, Yard
from worker.data.datasets import Part
from worker.job import CANCEL, INTERRUPT
from worker.training import prediction_keeper
from worker.training.checkpoint_file import from_bytes
from worker.training.module import Classifier


def files_of(fitted: Fitted) -> list[PredictionsKept]:
    return list(fitted.reporter.events_of("predictions"))


def final(fitted: Fitted) -> Predictions:
    kept = files_of(fitted)[-1]
    assert kept.kind == "final"
    content = (fitted.artifacts / kept.path).read_bytes()
    assert len(content) == kept.bytes
    return Predictions.from_bytes(content)


def on_disk(artifacts: Path, run: str = "r") -> set[str]:
    return {path.name for path in (artifacts / run).rglob("*") if path.name.startswith(("history", "predictions"))}


def accuracies(found: Predictions, head: str = "digit") -> dict[int, float]:
    """The accuracy of each epoch by its history."""
    assert found.history is not None
    labels = found.parts["validation"][head].labels
    rows = zip(found.history.epochs.tolist(), found.history.predicted[head], strict=True)
    return {epoch: float((predicted == labels).mean()) for epoch, predicted in rows}


def by_epoch(curve: list[tuple[int, float]], steps: int) -> dict[int, float]:
    return {step // steps: value for step, value in curve}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mirror": True, "ema_decay": 0.9},
        {"precision": "bf16"},
        {"family": "simple_cnn", "targets": ["digit", "thickness"], "auxiliary": False},
    ],
    ids=lambda settings: " ".join(settings) or "plain",
)
def test_accuracies_of_what_is_kept_are_those_that_were_reported(data_dir: Path, settings: dict[str, Any]) -> None:
    config = make_config(epochs=3, lr=0.01, **settings)
    fitted = fit_run(config, data_dir)
    found, curves = final(fitted), fitted.reporter.curves
    best = [each for each in fitted.reporter.events_of("checkpoint") if each.best][-1]
    assert (found.header.checkpoint, found.header.epoch, found.header.step) == (best.path, best.epoch, best.step)
    assert list(found.header.targets) == config.targets
    for head in config.targets:
        suffix = "acc" if len(config.targets) == 1 else f"{head}/acc"
        assert accuracies(found, head) == pytest.approx(by_epoch(curves[f"val/{suffix}"], 9))
        tested = found.parts["test"][head]
        assert (tested.predicted == tested.labels).mean() == pytest.approx(curves[f"test/{suffix}"][-1][1])
        validated = found.parts["validation"][head]
        assert (validated.predicted == validated.labels).mean() == pytest.approx(accuracies(found, head)[best.epoch])
        assert found.history is not None
        row = best.epoch - 1
        assert np.array_equal(found.history.predicted[head][row], validated.predicted)
        assert np.array_equal(found.history.confidence[head][row], validated.confidence)


def test_nothing_is_predicted_twice_in_a_run_of_one_attempt(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Part] = []
    score = Classifier._score

    def counted(self: Classifier, part: Part, rows: slice) -> None:
        seen.append(part)
        score(self, part, rows)

    monkeypatch.setattr(Classifier, "_score", counted)
    fit_run(make_config(epochs=2), data_dir)
    kept = list(seen)
    seen.clear()
    plain = fit_run(make_config(epochs=2, keep_predictions=False), data_dir, fence=2)
    assert kept == seen
    assert files_of(plain) == []
    assert on_disk(plain.artifacts) == {"predictions.safetensors"}, "of the other attempt"


def test_training_is_the_same_to_the_last_bit_with_and_without_predictions(data_dir: Path) -> None:
    with_them, without = (
        fit_run(make_config(epochs=2, keep_predictions=keep), data_dir, fence=fence)
        for fence, keep in ((1, True), (2, False))
    )
    assert with_them.reporter.curves["train/loss"] == without.reporter.curves["train/loss"]
    assert with_them.reporter.curves["test/acc"] == without.reporter.curves["test/acc"]


def test_history_files_are_merged_into_the_final_one_and_removed(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_keeper, "CHUNK_SECONDS", 0.0)
    fitted = fit_run(make_config(epochs=4), data_dir)
    assert [each.path for each in files_of(fitted)[:-1]] == [
        f"r/1/history-{epoch}.safetensors" for epoch in range(1, 5)
    ]
    assert on_disk(fitted.artifacts) == {"predictions.safetensors"}
    assert list(accuracies(final(fitted))) == [1, 2, 3, 4]


def test_a_run_that_is_stopped_and_resumed_has_its_whole_history(data_dir: Path) -> None:
    config = make_config(epochs=6, batch_size=64)
    whole = fit_run(config, data_dir, fence=9)
    expected = final(whole)
    (whole.artifacts / "r" / "9" / "predictions.safetensors").unlink()
    first = fit_run(config, data_dir, shared=StopsAt(70, INTERRUPT))
    assert first.result.outcome == "interrupted"
    assert [each.kind for each in files_of(first)] == ["history"]
    second = fit_run(config, data_dir, resume=first.reporter.last_checkpoint(), fence=2)
    found = final(second)
    assert accuracies(found) == accuracies(expected)
    assert np.array_equal(
        found.parts["validation"]["digit"].probabilities, expected.parts["validation"]["digit"].probabilities
    )
    assert on_disk(second.artifacts) == {"predictions.safetensors"}


def test_epochs_in_no_file_travel_in_the_checkpoint(data_dir: Path) -> None:
    config = make_config(epochs=4)
    fitted = fit_run(config, data_dir)
    state = from_bytes(fitted.kept(fitted.reporter.last_checkpoint()))
    assert state.history["epochs"].tolist() == [1, 2, 3, 4]
    (fitted.artifacts / "r" / "1" / "predictions.safetensors").unlink()
    # As if the trainer had been killed after its last epoch.
    again = fit_run(config, data_dir, resume=fitted.reporter.last_checkpoint(), fence=2)
    assert list(accuracies(final(again))) == [1, 2, 3, 4]


def test_the_best_epoch_of_another_attempt_is_predicted_again(data_dir: Path) -> None:
    config, whole = fit_run_that_ends_worse(data_dir)
    expected = final(whole)
    best = expected.header.epoch
    assert best < 6
    again = fit_run(config, data_dir, resume=whole.reporter.last_checkpoint(), fence=2)
    found = final(again)
    assert found.header.epoch == best
    for part in ("validation", "test"):
        mine, theirs = (each.parts[part]["digit"] for each in (found, expected))
        assert np.array_equal(mine.probabilities, theirs.probabilities)


def test_a_fork_keeps_only_what_belongs_to_it(data_dir: Path) -> None:
    config = make_config(epochs=4)
    parent = fit_run(config, data_dir)
    folder = parent.artifacts / "r"
    start = [each for each in parent.reporter.events_of("checkpoint") if each.kept][1]
    content = parent.kept(start)
    expected = final(parent)
    history = expected.history
    assert history is not None
    for path in (folder / "1").glob("*"):
        if not path.name.startswith("best"):
            path.unlink()
    (folder / "0").mkdir()
    (folder / "0" / "last.safetensors").write_bytes(content)
    resume = start.model_copy(update={"path": "r/0/last.safetensors"})
    # What waited in the parent's checkpoint is not taken over: the server gives a fork its part of the history.
    bare = fit_run(config, data_dir, resume=resume, fence=2)
    assert list(accuracies(final(bare))) == [3, 4]
    (folder / "2" / "predictions.safetensors").unlink()
    theirs = Predictions(expected.header, {}, history.until(2))
    (folder / "0" / "history-1.safetensors").write_bytes(theirs.to_bytes())
    given = fit_run(config, data_dir, resume=resume, fence=3)
    assert accuracies(final(given)) == accuracies(expected)


def test_a_cancelled_run_keeps_its_history_so_far(data_dir: Path) -> None:
    fitted = fit_run(make_config(epochs=50), data_dir, shared=StopsAt(60, CANCEL))
    assert fitted.result.outcome == "cancelled"
    (kept,) = files_of(fitted)
    assert kept.kind == "history"
    found = Predictions.from_bytes((fitted.artifacts / kept.path).read_bytes())
    assert found.history is not None
    assert found.history.epochs.tolist() == list(range(1, kept.epoch + 1))
    expected = final(fit_run(make_config(epochs=1), data_dir, fence=2)).parts["validation"]["digit"].labels
    assert np.array_equal(found.history.labels["digit"], expected)


def test_of_very_long_histories_every_second_epoch_is_kept(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_keeper, "MAX_HISTORY_BYTES", 180 * 4 * 4)
    fitted = fit_run(make_config(epochs=8, lr=0.0001), data_dir)
    kept = set(accuracies(final(fitted)))
    best = {each.epoch for each in fitted.reporter.events_of("checkpoint") if each.best}
    assert kept == best | {2, 4, 6, 8}
    assert any("one in 2 epochs" in line for _, line in fitted.reporter.lines)


def test_a_trainer_killed_in_the_middle_leaves_no_gap(worker: Worker, yard: Yard) -> None:
    epochs = 300
    run = yard.launch(make_config(epochs=epochs, batch_size=64, keep_checkpoints=0))
    thread = worker.work()

    def epoch() -> int:
        row = yard.row(run)
        return Checkpoint.model_validate_json(row.checkpoint).epoch if row.checkpoint else 0

    until(lambda: epoch() >= 5, "some epochs are done")
    # Else the slot might take the run again before this test has seen it in the queue.
    with writing(yard.engine) as connection:
        pause(connection, time.time())
    worker.trainer().kill()
    until(lambda: yard.is_(run, "queued"), "the run waits for another attempt")
    thread.join(30)
    with writing(yard.engine) as connection:
        resume(connection)
    second = worker.work()
    until(lambda: yard.is_(run, "succeeded"), "the run ends", 120)
    second.join(30)
    row = yard.row(run)
    assert row.attempt == 2
    found = until(lambda: _final_of(yard, run), "its predictions are recorded")
    assert found.header.fence == row.fence
    assert found.history.epochs.tolist() == list(range(1, epochs + 1))
    assert on_disk(Path(yard.settings.artifacts), run) == {"predictions.safetensors"}


def _final_of(yard: Yard, run: str) -> Predictions | None:
    from app.services.predictions import PredictionStore

    found = PredictionStore(yard.settings, yard.engine).load(run)
    return found if found is not None and found.parts else None
