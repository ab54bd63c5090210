"""Training on classes of different sizes: what is measured, what is drawn, and what counts in the loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score
from torch import nn

import models
from app.contract.datasets import dataset
from tests.worker.conftest import best_weights, fit_run, make_config
from worker.data.datasets import Data, Part, Split, load
from worker.data.device_dataset import Resident, order
from worker.training import fit as fit_module
from worker.training.losses import balanced_weights

CPU = torch.device("cpu")
ADDED = {f"{part}/{metric}" for part in ("val", "test") for metric in ("macro_acc", "f1")}


def changed(data: Data, monkeypatch: pytest.MonkeyPatch) -> Data:
    """Let fits load this data."""
    monkeypatch.setattr(fit_module, "load", lambda *arguments, **_: data)
    return data


@pytest.fixture
def uneven(datasets: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    """Digits of which every higher one is rarer; the test images have no nines."""
    data = load("digits", ["digit"], datasets, lambda text: None)

    def thinned(split: Split, most: int) -> Split:
        labels = split.targets["digit"]
        number = (F.one_hot(labels, 10).cumsum(0) - 1).gather(1, labels[:, None])[:, 0]
        kept = number < most * (10 - labels) // 10
        return Split(split.images[kept], {"digit": labels[kept]})

    test = thinned(data.test, 36)
    nine = test.targets["digit"] == 9
    test = Split(test.images[~nine], {"digit": test.targets["digit"][~nine]})
    return changed(replace(data, train=thinned(data.train, 120), validation=data.validation, test=test), monkeypatch)


def build(family: str, heads: dict[str, int], channels: int = 1, side: int = 28) -> nn.Module:
    return models.build(family, "tiny", models.Shape(channels, side, heads), {})


def test_even_classes_have_no_metrics_of_their_own(data_dir: Path) -> None:
    assert not ADDED & set(fit_run(make_config(epochs=1), data_dir).reporter.curves)


@pytest.mark.parametrize("settings", [{}, {"ema_decay": 0.8, "mirror": True}], ids=["plain", "averaged, mirrored"])
def test_uneven_classes_are_measured_as_scikit_learn_does(
    data_dir: Path, uneven: Data, settings: dict[str, Any]
) -> None:
    fitted = fit_run(make_config("simple_cnn", epochs=2, batch_size=32, **settings), data_dir)
    curves = fitted.reporter.curves
    assert [step for step, _ in curves["val/f1"]] == [step for step, _ in curves["val/acc"]]
    assert not {"val/top5", "test/top5", "train/f1"} & set(curves)
    network = build("simple_cnn", {"digit": 10})
    network.load_state_dict(best_weights(fitted))
    images, targets = Resident(uneven, CPU).batch("test", slice(None))
    with torch.no_grad():
        logits = network.eval()(images)
        if settings:
            logits = (logits + network(images.flip(3))) / 2
    labels, predicted = targets["digit"], logits.argmax(1)
    assert 9 not in labels
    f1 = f1_score(labels, predicted, labels=torch.unique(labels), average="macro")
    recalls = [(predicted[labels == i] == i).double().mean().item() for i in range(9)]
    assert curves["test/f1"][0][1] == pytest.approx(f1)
    assert curves["test/macro_acc"][0][1] == pytest.approx(sum(recalls) / 9)
    assert any("val/macro_acc" in text and "val/f1" in text for _, text in fitted.reporter.lines)


def test_a_dataset_of_the_user_s_own_is_always_measured_by_class(
    data_dir: Path, datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load("digits", ["digit"], datasets, lambda text: None)
    changed(replace(data, dataset=replace(data.dataset, version="0123456789ab")), monkeypatch)
    assert set(fit_run(make_config(epochs=1), data_dir).reporter.curves) >= ADDED


def test_heads_with_many_classes_have_a_top_5_accuracy(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = dataset("cifar100")

    def split(n: int, seed: int) -> Split:
        images = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        return Split(images, {"fine": torch.arange(n) % 100, "coarse": torch.arange(n) % 20})

    data = changed(Data(facts, split(200, 1), split(100, 2), split(100, 3)), monkeypatch)
    config = make_config(dataset="cifar100", targets=["fine", "coarse"], batch_size=20, epochs=1)
    fitted = fit_run(config, data_dir)
    curves = fitted.reporter.curves
    assert "val/fine/f1" not in curves
    network = build("simple_mlp", {"fine": 100, "coarse": 20}, 3, 32)
    network.load_state_dict(best_weights(fitted))
    parts: tuple[tuple[Part, str], ...] = (("validation", "val"), ("test", "test"))
    for part, name in parts:
        images, targets = Resident(data, CPU).batch(part, slice(None))
        with torch.no_grad():
            logits = network.eval()(images)
        for head in ("fine", "coarse"):
            hits = (logits[head].argsort(1, descending=True)[:, :5] == targets[head][:, None]).any(1)
            assert curves[f"{name}/{head}/top5"][0][1] == pytest.approx(hits.double().mean().item())


def test_the_first_step_takes_a_balanced_batch_and_weighs_it(data_dir: Path, uneven: Data) -> None:
    config = make_config(epochs=1, balanced_sampling=True, class_weights="balanced")
    loss = fit_run(config, data_dir).reporter.curves["train/loss"]
    labels = uneven.train.targets["digit"]
    assert len(loss) == len(labels) // 128
    torch.manual_seed(1)
    network = build("simple_mlp", {"digit": 10}).train()
    rows = order(1, 0, len(labels), 128, CPU, balance=labels)[0]
    images, targets = Resident(uneven, CPU).batch("train", rows)
    each = F.cross_entropy(network(images), targets["digit"], reduction="none")
    expected = (each * balanced_weights(labels, 10)[targets["digit"]]).mean()
    assert loss[0][1] == pytest.approx(expected.item(), rel=1e-5)


def test_both_make_rare_classes_better_known(data_dir: Path, uneven: Data) -> None:
    def macro(fence: int, **settings: Any) -> float:
        curves = fit_run(
            make_config(epochs=4, batch_size=32, seed=3, **settings), data_dir, fence=fence
        ).reporter.curves
        return max(value for _, value in curves["val/macro_acc"])

    plain = macro(1)
    assert macro(2, balanced_sampling=True) > plain
    assert macro(3, class_weights="balanced") > plain
