from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import models
from app.contract.events import Progress
from tests.worker.conftest import StopsAt, best_weights, fit_run, last_weights, make_config
from worker.data.datasets import Data, Part, Split, load
from worker.data.device_dataset import Resident, order
from worker.data.mixing import Mixed, Mixing
from worker.job import INTERRUPT
from worker.training import fit as fit_module
from worker.training import module as module_module
from worker.training import throughput as throughput_module
from worker.training.module import Classifier
from worker.training.position import Best

CPU = torch.device("cpu")


def resident(datasets: Path) -> Resident:
    return Resident(load("digits", ["digit"], datasets, lambda text: None), CPU)


def build(family: str, size: str) -> nn.Module:
    return models.build(family, size, models.Shape(1, 28, {"digit": 10}), {})


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


# Against a loop of one's own -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("simple_mlp", {"batch_size": 32, "schedule": "constant"}),
        ("simple_cnn", {"batch_size": 64, "schedule": "cosine", "lr_min": 1e-5, "optimizer": "adamw"}),
    ],
)
def test_a_run_trains_the_very_weights_of_a_plain_pytorch_loop(
    data_dir: Path, datasets: Path, family: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither Lightning nor the blocks of micro-steps change the result."""
    monkeypatch.setattr(module_module, "BLOCK", 16)
    config = make_config(family, seed=3, epochs=3, **changes)
    fitted = fit_run(config, data_dir)

    data = resident(datasets)
    torch.manual_seed(3)
    network = build(family, "tiny")
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    optimizer = kind(network.parameters(), config.lr, weight_decay=config.weight_decay, fused=True)
    assert 1257 // config.batch_size > module_module.BLOCK
    losses: list[tuple[int, float]] = []
    hits: list[tuple[int, float]] = []
    val_losses: list[float] = []
    val_hits: list[float] = []
    for epoch in range(3):
        network.train()
        for indices in order(3, epoch, 1257, config.batch_size, CPU):
            images, targets = data.batch("train", indices)
            optimizer.zero_grad()
            logits = network(images)
            loss = F.cross_entropy(logits, targets["digit"])
            loss.backward()  # type: ignore[no-untyped-call]
            if config.schedule == "cosine":
                part = len(losses) / (config.epochs * (1257 // config.batch_size))
                optimizer.param_groups[0]["lr"] = 1e-5 + 0.5 * (config.lr - 1e-5) * (1 + math.cos(math.pi * part))
            optimizer.step()
            losses.append((len(losses) + 1, loss.item()))
            hits.append((len(losses), (logits.argmax(1) == targets["digit"]).float().mean().item()))
        network.eval()
        with torch.no_grad():
            images, targets = data.batch("validation", slice(0, 180))
            logits = network(images)
            val_losses.append(F.cross_entropy(logits, targets["digit"]).item())
            val_hits.append((logits.argmax(1) == targets["digit"]).double().mean().item())
    assert_same(last_weights(fitted), network.state_dict())
    curves = fitted.reporter.curves
    assert curves["train/loss"] == losses
    assert curves["train/acc"] == hits
    assert [value for _, value in curves["val/acc"]] == val_hits
    assert [value for _, value in curves["val/loss"]] == pytest.approx(val_losses, rel=1e-5)


@pytest.mark.parametrize("block", [1, 5, 1000])
def test_how_many_steps_a_block_has_changes_nothing(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    config = make_config(batch_size=64)
    expected = fit_run(config, data_dir)
    monkeypatch.setattr(module_module, "BLOCK", block)
    found = fit_run(config, data_dir, fence=2)
    assert_same(last_weights(found), last_weights(expected))
    assert found.reporter.curves["train/loss"] == expected.reporter.curves["train/loss"]


# Evaluation ----------------------------------------------------------------------------------------------------------


class Small(nn.Module):
    """A network for which a fake GPU lacks memory with more than ``most`` images at once, except in training."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network, self.most, self.seen = network, most, list[int]()

    def forward(self, images: Tensor) -> Any:
        if not self.training:
            self.seen.append(len(images))
            if len(images) > self.most:
                raise torch.cuda.OutOfMemoryError("made up")
        return self.network(images)


def test_an_evaluation_that_the_memory_does_not_hold_goes_on_in_halves_and_counts_every_image_once(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(epochs=2)
    expected = fit_run(config, data_dir).reporter.curves
    made: list[Small] = []

    def built(*arguments: Any) -> nn.Module:
        made.append(Small(build("simple_mlp", "tiny"), 50))
        return made[-1]

    monkeypatch.setattr(fit_module, "build_network", built)
    found = fit_run(config, data_dir, fence=2).reporter.curves
    for name in ("val/acc", "test/acc"):
        assert found[name] == expected[name]
    for name in ("val/loss", "test/loss"):
        for (step, value), (expected_step, expected_value) in zip(found[name], expected[name], strict=True):
            assert step == expected_step
            assert value == pytest.approx(expected_value, rel=1e-6)
    # 180 images in validation: 180, 90 and 45 are tried once, and from then on 45 at a time.
    assert made[0].seen[:7] == [180, 90, 45, 45, 45, 45, 45]


def test_an_evaluation_for_which_one_image_is_too_much_fails(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "build_network", lambda *_: Small(build("simple_mlp", "tiny"), 0))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        fit_run(make_config(epochs=1), data_dir)


# What is reported ----------------------------------------------------------------------------------------------------


def test_every_step_has_its_points_and_every_epoch_its_validation(data_dir: Path) -> None:
    fitted = fit_run(make_config(batch_size=50, epochs=3), data_dir)
    curves = fitted.reporter.curves
    steps = 25
    for name in ("train/loss", "train/acc"):
        assert [step for step, _ in curves[name]] == list(range(1, 3 * steps + 1))
    for name in ("val/loss", "val/acc"):
        assert [step for step, _ in curves[name]] == [steps, 2 * steps, 3 * steps]
    for name in ("test/loss", "test/acc"):
        assert [step for step, _ in curves[name]] == [3 * steps]
    rates = curves["train/lr"]
    assert rates[-1] == (3 * steps, 1e-3)
    assert [step for step, _ in rates] == sorted({step for step, _ in rates})


def test_loss_goes_down_and_accuracy_up(data_dir: Path) -> None:
    curves = fit_run(make_config(size="small", batch_size=32, epochs=4), data_dir).reporter.curves
    losses = [value for _, value in curves["train/loss"]]
    accuracies = [value for _, value in curves["train/acc"]]
    assert sum(losses[-20:]) < 0.3 * sum(losses[:20])
    assert sum(accuracies[-20:]) > 2 * sum(accuracies[:20])
    assert curves["val/acc"][-1][1] > 0.85


def test_progress_tells_speed_and_the_time_left(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput_module, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(module_module, "REPORT_SECONDS", 0.0)
    fitted = fit_run(make_config(batch_size=32, epochs=3), data_dir)
    told: list[Progress] = fitted.reporter.events_of("progress")
    steps = [each.step for each in told]
    assert steps == sorted(steps)
    assert set(range(1, 40)) <= set(steps)
    assert all(each.steps == 3 * 39 and each.epochs == 3 for each in told)
    assert all(each.samples_per_second is not None and each.samples_per_second > 0 for each in told)
    assert all(each.eta_seconds is not None for each in told)
    assert [each.epoch for each in told if each.step == 16] == [1]
    last = told[-1]
    assert (last.epoch, last.step, last.eta_seconds) == (3, 117, 0.0)
    assert (told[0].eta_seconds or 0.0) > 0


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def monotonic(self) -> float:
        return self.now


def test_a_slow_validation_counts_for_the_time_left_and_not_for_the_speed(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.01 s per step, 100 s per validation, by a fake clock."""
    clock = Clock()
    for each in (module_module, throughput_module):
        monkeypatch.setattr(each, "time", SimpleNamespace(monotonic=clock.monotonic, time=time.time))
    step, evaluate = Classifier._micro_step, Classifier._evaluate

    def slow_step(self: Classifier, indices: Tensor) -> None:
        clock.now += 0.01
        step(self, indices)

    def slow_evaluate(self: Classifier, *args: Any) -> None:
        clock.now += 100.0
        evaluate(self, *args)

    monkeypatch.setattr(Classifier, "_micro_step", slow_step)
    monkeypatch.setattr(Classifier, "_evaluate", slow_evaluate)
    told: list[Progress] = fit_run(make_config(batch_size=32, epochs=3), data_dir).reporter.events_of("progress")
    assert [each.samples_per_second for each in told] == pytest.approx([3200.0] * len(told))
    assert [each.eta_seconds for each in told if each.step == 39][-1] == pytest.approx(2 * (39 * 0.01 + 100))


# Settings ------------------------------------------------------------------------------------------------------------


def first_batch(datasets: Path, network: nn.Module, size: int, smoothing: float = 0.0) -> float:
    images, targets = resident(datasets).batch("train", order(1, 0, 1257, size, CPU)[0])
    return F.cross_entropy(network(images), targets["digit"], label_smoothing=smoothing).item()


def test_label_smoothing_is_for_training_only(data_dir: Path, datasets: Path) -> None:
    smooth = fit_run(make_config("simple_cnn", label_smoothing=0.3, epochs=1), data_dir).reporter.curves
    torch.manual_seed(1)
    assert smooth["train/loss"][0][1] == first_batch(datasets, build("simple_cnn", "tiny"), 128, 0.3)
    network = build("simple_cnn", "tiny")
    network.load_state_dict(last_weights(fit_run(make_config("simple_cnn", label_smoothing=0.3, epochs=1), data_dir)))
    images, targets = resident(datasets).batch("validation", slice(0, 180))
    with torch.no_grad():
        expected = F.cross_entropy(network.eval()(images), targets["digit"]).item()
    assert smooth["val/loss"][0][1] == pytest.approx(expected, rel=1e-5)


def test_averaged_weights_are_validated_tested_and_saved_as_the_best_and_the_others_go_on_training(
    data_dir: Path, datasets: Path
) -> None:
    plain = fit_run(make_config("simple_cnn", epochs=1), data_dir)
    averaged = fit_run(make_config("simple_cnn", epochs=1, ema_decay=0.9), data_dir, fence=2)
    assert averaged.reporter.curves["train/loss"] == plain.reporter.curves["train/loss"]
    trained, best = last_weights(averaged), best_weights(averaged)
    assert all(torch.equal(value, last_weights(plain)[name]) for name, value in trained.items())
    assert any(not torch.equal(value, best[name]) for name, value in trained.items())
    network = build("simple_cnn", "tiny")
    network.load_state_dict(best)
    images, targets = resident(datasets).batch("validation", slice(0, 180))
    with torch.no_grad():
        logits = network.eval()(images)
    assert averaged.reporter.curves["val/loss"][0][1] == pytest.approx(F.cross_entropy(logits, targets["digit"]).item())
    assert averaged.reporter.curves["test/loss"] != plain.reporter.curves["test/loss"]


def test_mirrored_views_are_averaged_in_validation_and_test(data_dir: Path, datasets: Path) -> None:
    plain = fit_run(make_config("simple_cnn", epochs=1), data_dir)
    mirrored = fit_run(make_config("simple_cnn", epochs=1, mirror=True), data_dir, fence=2)
    assert all(torch.equal(value, last_weights(plain)[name]) for name, value in last_weights(mirrored).items())
    network = build("simple_cnn", "tiny")
    network.load_state_dict(last_weights(plain))
    parts: tuple[tuple[Part, str], ...] = (("validation", "val/loss"), ("test", "test/loss"))
    for part, curve in parts:
        images, targets = resident(datasets).batch(part, slice(0, 360))
        with torch.no_grad():
            logits = (network.eval()(images) + network(images.flip(3))) / 2
        expected = F.cross_entropy(logits, targets["digit"]).item()
        assert mirrored.reporter.curves[curve][0][1] == pytest.approx(expected, rel=1e-5)


def test_a_mixed_batch_is_trained_with_both_labels_in_their_shares(
    data_dir: Path, datasets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Mixed] = []
    mix = Mixing.__call__

    def watched(self: Mixing, images: Tensor, generator: torch.Generator | None = None) -> Mixed:
        seen.append(mix(self, images, generator))
        return seen[-1]

    monkeypatch.setattr(Mixing, "__call__", watched)
    fitted = fit_run(make_config(mixup=1.0, epochs=1), data_dir)
    assert len(seen) == 9
    torch.manual_seed(1)
    network = build("simple_mlp", "tiny").train()
    _, targets = resident(datasets).batch("train", order(1, 0, 1257, 128, CPU)[0])
    labels, first = targets["digit"], seen[0]
    assert first.partners is not None
    logits = network(first.images)
    loss = first.share * F.cross_entropy(logits, labels) + (1 - first.share) * F.cross_entropy(
        logits, labels[first.partners]
    )
    assert fitted.reporter.curves["train/loss"][0][1] == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("clip_norm", [0.0, 0.01])
def test_no_step_is_longer_than_its_clipped_gradient(data_dir: Path, clip_norm: float) -> None:
    """Plain SGD with a rate of 1 moves the weights by the gradient itself; one step per epoch."""
    config = make_config(
        optimizer="sgd", momentum=0.0, weight_decay=0.0, lr=1.0, schedule="constant", batch_size=1257, epochs=1
    )
    fitted = fit_run(config.model_copy(update={"clip_norm": clip_norm}), data_dir)
    torch.manual_seed(1)
    before = build("simple_mlp", "tiny").state_dict()
    after = last_weights(fitted)
    length = torch.stack([(after[name] - value).square().sum() for name, value in before.items()]).sum().sqrt().item()
    if clip_norm:
        assert length == pytest.approx(clip_norm, rel=1e-3)
    else:
        assert length > 0.05


def test_bf16_computes_in_bf16_and_keeps_its_weights_in_float32(data_dir: Path) -> None:
    exact = fit_run(make_config("simple_cnn", batch_size=32), data_dir)
    rough = fit_run(make_config("simple_cnn", batch_size=32, precision="bf16"), data_dir, fence=2)
    kept = last_weights(rough)
    assert {value.dtype for value in kept.values()} <= {torch.float32, torch.int64}
    assert any(not torch.equal(value.bfloat16().float(), value) for value in kept.values() if value.is_floating_point())
    first, other = (each.reporter.curves["train/loss"][0][1] for each in (exact, rough))
    assert first != other
    assert first == pytest.approx(other, abs=0.03)
    assert rough.reporter.curves["val/acc"][-1][1] == pytest.approx(exact.reporter.curves["val/acc"][-1][1], abs=0.06)
    assert rough.reporter.curves["val/acc"][-1][1] > 0.3


def test_batch_size_1_works_for_a_network_without_normalization(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load("digits", ["digit"], data_dir / "datasets", lambda text: None)
    train = Split(data.train.images[:100], {"digit": data.train.targets["digit"][:100]})
    few = Data(data.dataset, train, data.validation, data.test)
    monkeypatch.setattr(fit_module, "load", lambda *_, **__: few)
    fitted = fit_run(make_config(batch_size=1), data_dir)
    assert fitted.result.outcome == "succeeded"
    assert [step for step, _ in fitted.reporter.curves["train/loss"]] == list(range(1, 201))
    assert {value for _, value in fitted.reporter.curves["train/acc"]} == {0.0, 1.0}


def test_augmentation_reaches_training_batches_and_no_others(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []
    batch = Resident.batch

    def watched(self: Resident, part: Any, indices: Any, **how: Any) -> Any:
        augment = how.get("augment")
        seen.append((part, augment is not None and (augment.crop_padding, augment.flip) == (2, True)))
        return batch(self, part, indices, **how)

    monkeypatch.setattr(Resident, "batch", watched)
    fit_run(make_config(crop_padding=2, flip=True), data_dir)
    assert set(seen) == {("train", True), ("validation", False), ("test", False)}


# Early stopping ------------------------------------------------------------------------------------------------------


@pytest.fixture
def stubborn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No validation is better than that of epoch 2."""
    monkeypatch.setattr(Best, "beaten_by", lambda self, accuracy, loss: self.epoch < 2)


def test_a_run_stops_so_many_epochs_after_its_best_and_tests_that_one(data_dir: Path, stubborn: None) -> None:
    fitted = fit_run(make_config(epochs=9, early_stopping=3), data_dir)
    assert fitted.result.outcome == "succeeded"
    assert fitted.result.reason == "stopped early after epoch 5: no improvement on the validation set for 3 epochs"
    assert len(fitted.reporter.curves["val/acc"]) == 5
    assert [each.epoch for each in fitted.reporter.events_of("checkpoint") if each.best] == [1, 2]
    assert any(
        text.startswith("test/loss") and text.endswith("(weights of epoch 2)") for _, text in fitted.reporter.lines
    )


def test_without_early_stopping_a_run_trains_all_its_epochs(data_dir: Path, stubborn: None) -> None:
    fitted = fit_run(make_config(epochs=6), data_dir)
    assert (fitted.result.reason, len(fitted.reporter.curves["val/acc"])) == ("", 6)
    patient = fit_run(make_config(epochs=6, early_stopping=4), data_dir, fence=2)
    assert (patient.result.reason, len(patient.reporter.curves["val/acc"])) == ("", 6)


def test_a_run_that_was_interrupted_while_testing_after_an_early_stop_does_not_train_on(
    data_dir: Path, stubborn: None
) -> None:
    whole = fit_run(make_config(epochs=9, early_stopping=1), data_dir)
    again = fit_run(make_config(epochs=9, early_stopping=1), data_dir, resume=whole.reporter.last_checkpoint(), fence=2)
    assert again.result == whole.result
    assert "train/loss" not in again.reporter.curves
    assert again.reporter.curves["test/acc"] == whole.reporter.curves["test/acc"]


# Auxiliary scalars ---------------------------------------------------------------------------------------------------


def test_auxiliary_scalars_are_standardised_on_the_training_set_and_fed(data_dir: Path, datasets: Path) -> None:
    config = make_config("simple_cnn", auxiliary=True)
    fitted = fit_run(config, data_dir)
    data = load("digits", ["digit"], datasets, lambda text: None, auxiliary=True)
    held = Resident(data, CPU)
    train = held.scalars("train", slice(None))
    assert train is not None
    assert data.validation.auxiliary is not None
    torch.testing.assert_close(train.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(train.std(0, correction=0), torch.ones(5), atol=1e-4, rtol=0)

    network = models.build("simple_cnn", "tiny", models.Shape(1, 28, {"digit": 10}, 5), {})
    network.load_state_dict(last_weights(fitted))
    images, targets = held.batch("validation", slice(0, 180))
    mean, std = (torch.tensor(each) for each in (data.auxiliary_mean, data.auxiliary_std))
    with torch.no_grad():
        fed, shuffled = (
            F.cross_entropy(network.eval()(images, scalars), targets["digit"]).item()
            for scalars in ((data.validation.auxiliary - mean) / std, torch.zeros(180, 5))
        )
    assert fitted.reporter.curves["val/loss"][-1][1] == pytest.approx(fed, rel=1e-5)
    assert fed != pytest.approx(shuffled, rel=1e-3)


def test_a_run_goes_on_with_the_figures_it_began_with(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config("simple_cnn", auxiliary=True)
    whole = fit_run(config, data_dir)
    first = fit_run(config, data_dir, shared=StopsAt(12, INTERRUPT), fence=2)
    real = load

    def measured_anew(*args: Any, **how: Any) -> Data:
        data = real(*args, **how)
        return replace(data, auxiliary_mean=tuple(value + 1 for value in data.auxiliary_mean))

    monkeypatch.setattr(fit_module, "load", measured_anew)
    second = fit_run(config, data_dir, resume=first.reporter.last_checkpoint(), fence=3)
    assert_same(last_weights(second), last_weights(whole))
