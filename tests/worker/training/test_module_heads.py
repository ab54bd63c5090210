"""Networks with several heads: their losses, their accuracies, and which epoch is the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import models
from app.contract.datasets import dataset
from app.contract.system_metrics import HOST_NAMES, IMAGES_PER_SECOND
from tests.worker.conftest import fit_run, last_weights, make_config
from worker.data.datasets import Data, Split
from worker.data.device_dataset import Resident
from worker.training import fit as fit_module
from worker.training.position import Best

CPU = torch.device("cpu")


@pytest.fixture
def small_cifar10(monkeypatch: pytest.MonkeyPatch) -> Data:
    facts = dataset("cifar10")

    def split(n: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(n) % 10
        images = torch.randint(0, 60, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)
        images += (labels * 19).to(torch.uint8)[:, None, None, None]
        targets = {target.name: labels % target.classes for target in facts.targets}
        return Split(images, targets)

    data = Data(facts, split(100, 1), split(40, 2), split(30, 3))

    def fake(name: str, targets: list[str], folder: Path, say: Any, **_: Any) -> Data:
        train, validation, test = (
            Split(part.images, {target: part.targets[target] for target in targets})
            for part in (data.train, data.validation, data.test)
        )
        return Data(facts, train, validation, test)

    monkeypatch.setattr(fit_module, "load", fake)
    return data


def test_several_heads_have_their_own_accuracies_and_a_weighted_loss(data_dir: Path, small_cifar10: Data) -> None:
    config = make_config(dataset="cifar10", targets=["class", "domain"], batch_size=20, size="small", epochs=3)
    fitted = fit_run(config, data_dir)
    curves = fitted.reporter.curves
    figures = ("loss", "class/acc", "class/loss", "domain/acc", "domain/loss")
    expected = {f"{part}/{what}" for part in ("train", "val", "test") for what in figures}
    sampled = {*HOST_NAMES, IMAGES_PER_SECOND}  # only if the fit takes half a second
    assert set(curves) - sampled == expected | {"train/lr", "system/peak_memory_mb"}

    network = models.build("simple_mlp", "small", models.Shape(3, 32, {"class": 10, "domain": 2}), {})
    network.load_state_dict(last_weights(fitted))
    network.eval()
    images, targets = Resident(small_cifar10, CPU).batch("validation", slice(0, 40))
    with torch.no_grad():
        logits = network(images)
    parts = {name: F.cross_entropy(logits[name], targets[name]).item() for name in ("class", "domain")}
    assert curves["val/loss"][-1][1] == pytest.approx(parts["class"] + 0.3 * parts["domain"], rel=1e-5)
    for name in ("class", "domain"):
        assert curves[f"val/{name}/loss"][-1][1] == pytest.approx(parts[name], rel=1e-5)
        hits = (logits[name].argmax(1) == targets[name]).double().mean().item()
        assert curves[f"val/{name}/acc"][-1][1] == pytest.approx(hits)


def test_the_training_loss_of_several_heads_is_their_weighted_sum_at_every_step(
    data_dir: Path, small_cifar10: Data
) -> None:
    config = make_config(dataset="cifar10", targets=["class", "domain", "size"], batch_size=20, label_smoothing=0.1)
    curves = fit_run(config, data_dir).reporter.curves
    parts = zip(*(curves[f"train/{name}/loss"] for name in config.targets), strict=True)
    found = [value for _, value in curves["train/loss"]]
    assert len(found) == 10
    assert found == pytest.approx([a + 0.3 * b + 0.3 * c for (_, a), (_, b), (_, c) in parts], rel=1e-5)


def test_the_best_epoch_goes_by_the_first_head(data_dir: Path, small_cifar10: Data) -> None:
    config = make_config(dataset="cifar10", targets=["domain", "class"], batch_size=20, size="small", epochs=4)
    fitted = fit_run(config, data_dir)
    best = [each for each in fitted.reporter.events_of("checkpoint") if each.best][-1]
    curves = fitted.reporter.curves
    ranked = zip(curves["val/domain/acc"], curves["val/loss"], strict=True)
    accuracy, _, step = max((accuracy, -loss, step) for (step, accuracy), (_, loss) in ranked)
    assert (best.step, best.epoch) == (step, step // 5)
    marked = [text for _, text in fitted.reporter.lines if text.endswith("(best so far)")]
    assert f"val/domain/acc {accuracy:.4f}" in marked[-1]


def test_best_is_by_accuracy_and_between_equals_by_loss() -> None:
    best = Best(0.9, 0.5, 1)
    assert best.beaten_by(0.91, 9.0)
    assert best.beaten_by(0.9, 0.4)
    assert not best.beaten_by(0.9, 0.5)
    assert not best.beaten_by(0.89, 0.1)
    assert Best().beaten_by(0.0, float("nan"))
