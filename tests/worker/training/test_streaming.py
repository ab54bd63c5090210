"""Runs whose images are streamed: the same weights and curves as with images in memory, and no thread left behind."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from app.contract.datasets import DATASETS
from app.contract.spec import RunConfig
from tests.worker.conftest import Fitted, StopsAt, best_weights, fit_run, last_weights, make_config
from tests.worker.own_dataset import make_own_dataset
from worker.job import CANCEL, INTERRUPT
from worker.training import module as module_module
from worker.training.module import Classifier

CONFIGS = {
    "digits": make_config("simple_cnn", batch_size=64, crop_padding=2, flip=True, seed=3),
    "digits, auxiliary, mixed": make_config("simple_cnn", auxiliary=True, mixup=0.4, seed=3),
    "own": make_config("simple_cnn", dataset="flowers@0123456789ab", targets=["class"], batch_size=32, rotation=10),
}


@pytest.fixture(autouse=True)
def small_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation and test in several batches, and a registry of this test alone."""
    monkeypatch.setattr(module_module, "EVALUATION_IMAGES", {"cpu": 64})
    monkeypatch.setattr(DATASETS, "_own", None)


def image_threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("images")]


def curves(fitted: Fitted) -> dict[str, list[tuple[int, float]]]:
    names = ("train/loss", "train/acc", "val/loss", "val/acc", "test/loss", "test/acc")
    return {name: fitted.reporter.curves[name] for name in names}


def said(fitted: Fitted) -> list[str]:
    return [text for _, text in fitted.reporter.lines if text.startswith("images:")]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_streamed_run_trains_the_same_network_to_the_last_bit(tmp_path: Path, config: RunConfig) -> None:
    make_own_dataset(tmp_path / "datasets")
    resident, streamed = (fit_run(config, tmp_path, fence=1 + (share == 0), resident_share=share) for share in (0.5, 0))
    assert streamed.reporter.events_of("started")[0].capture["dataset"]["name"] == config.dataset
    assert curves(streamed) == curves(resident)
    for weights in (last_weights, best_weights):
        one, other = weights(resident), weights(streamed)
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert image_threads() == []


def test_the_log_and_the_environment_say_where_the_images_are(data_dir: Path) -> None:
    resident, streamed = (
        fit_run(make_config(epochs=1), data_dir, fence=1 + (share == 0), resident_share=share) for share in (0.5, 0)
    )
    assert said(resident) == ["images: in memory (1.41 MB)"]
    assert said(streamed) == ["images: streamed from disk (1.41 MB; RUNYARD_RESIDENT_SHARE is 0)"]
    for each in (resident, streamed):
        (started,) = each.reporter.events_of("started")
        assert f"images: {started.environment['images']}" in said(each)


def test_a_streamed_run_goes_on_where_it_was_interrupted(data_dir: Path) -> None:
    config = CONFIGS["digits"]
    whole = fit_run(config, data_dir)
    first = fit_run(config, data_dir, shared=StopsAt(8, INTERRUPT), fence=2, resident_share=0)
    assert first.result.outcome == "interrupted"
    assert image_threads() == []
    second = fit_run(config, data_dir, resume=first.reporter.last_checkpoint(), fence=3, resident_share=0)
    one, other = last_weights(whole), last_weights(second)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_no_thread_is_left_after_a_stop_or_an_error(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    during: list[str] = []
    step = Classifier._micro_step

    def failing(self: Classifier, indices: Any) -> None:
        step(self, indices)
        during.extend(image_threads())
        if self.position.step == 3:
            raise ValueError("a fault")

    stopped = fit_run(make_config(), data_dir, shared=StopsAt(3, CANCEL), resident_share=0)
    assert stopped.result.outcome == "cancelled"
    assert image_threads() == []
    monkeypatch.setattr(Classifier, "_micro_step", failing)
    with pytest.raises(ValueError, match="a fault"):
        fit_run(make_config(), data_dir, fence=2, resident_share=0)
    assert during
    assert image_threads() == []


def test_the_largest_batch_is_found_without_images_in_memory(data_dir: Path) -> None:
    config = make_config(epochs=1, find_batch=True)
    resident, streamed = (fit_run(config, data_dir, fence=1 + (share == 0), resident_share=share) for share in (0.5, 0))
    sizes = [each.reporter.events_of("started")[0].batch_size for each in (resident, streamed)]
    assert sizes[0] == sizes[1] == 1257
