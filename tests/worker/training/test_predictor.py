"""A checkpoint alone predicts what its run tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.worker.conftest import Fitted, fit_run, make_config
from worker.data.datasets import load
from worker.training.checkpoint_file import State, from_bytes
from worker.training.predictor import Predictor


def best(fitted: Fitted) -> State:
    return from_bytes(fitted.kept([each for each in fitted.reporter.events_of("checkpoint") if each.best][-1]))


@pytest.mark.parametrize(
    ("auxiliary", "changes"),
    [(False, {}), (True, {}), (False, {"ema_decay": 0.9, "mirror": True}), (True, {"mirror": True})],
)
def test_the_best_checkpoint_predicts_the_test_set_as_its_run_did(
    data_dir: Path, datasets: Path, auxiliary: bool, changes: dict[str, Any]
) -> None:
    heads: dict[str, Any] = {"targets": ["digit", "thickness"], "auxiliary": auxiliary, "normalization": "half"}
    config = make_config("simple_cnn", epochs=3, **heads | changes)
    fitted = fit_run(config, data_dir)
    predictor = Predictor.of(best(fitted))
    test = load("digits", ["digit", "thickness"], datasets, lambda text: None, auxiliary=auxiliary).test
    found = predictor.probabilities(test.images, test.auxiliary)
    assert list(found) == ["digit", "thickness"]
    for name, probabilities in found.items():
        torch.testing.assert_close(probabilities.sum(1), torch.ones(len(test)))
        hits = (probabilities.argmax(1) == test.targets[name]).double().mean().item()
        assert hits == pytest.approx(fitted.reporter.curves[f"test/{name}/acc"][-1][1])


def test_scalars_are_asked_for_where_the_network_takes_them_and_refused_elsewhere(data_dir: Path) -> None:
    images = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)
    with_scalars = Predictor.of(best(fit_run(make_config("simple_cnn", epochs=1, auxiliary=True), data_dir)))
    with pytest.raises(ValueError, match="takes 5 auxiliary scalars"):
        with_scalars.probabilities(images)
    without = Predictor.of(best(fit_run(make_config(epochs=1), data_dir, fence=2)))
    with pytest.raises(ValueError, match="does not take auxiliary scalars"):
        without.probabilities(images, torch.zeros(2, 5))


def test_a_checkpoint_of_the_first_version_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="lacks a description of its network"):
        Predictor.of(State({}, {}, {}))
