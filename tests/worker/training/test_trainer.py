from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import models
from app.contract.metric_names import is_share
from app.contract.settings import Settings
from app.contract.spec import RunConfig
from tests.worker.conftest import (
    Collector,
    Fitted,
    StopsAt,
    best_weights,
    fit_run,
    fit_run_that_ends_worse,
    make_config,
)
from worker.data import class_balance
from worker.data.datasets import DatasetError, load
from worker.data.device_dataset import Resident
from worker.job import CANCEL, CONTINUE, INTERRUPT, Control, Job
from worker.training import fit as fit_module
from worker.training import module as module_module
from worker.training import schedule as schedule_module
from worker.training.checkpoint_file import State, from_bytes
from worker.training.trainer import _attempt

CPU = torch.device("cpu")


STEADY = ("train/loss", "val/loss", "test/loss")


def exact(fitted: Fitted) -> dict[str, list[tuple[int, float]]]:
    """The curves whose steps do not depend on the machine's speed."""
    return {name: points for name, points in fitted.reporter.curves.items() if name in STEADY or is_share(name)}


def last(fitted: Fitted) -> State:
    return from_bytes(fitted.kept(fitted.reporter.last_checkpoint()))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def assert_same_state(found: State, expected: State) -> None:
    assert same(found.network, expected.network)
    assert same(found.random, expected.random)
    assert same(found.average, expected.average)
    assert found.optimizer["state"].keys() == expected.optimizer["state"].keys()
    for index, slots in expected.optimizer["state"].items():
        assert same(found.optimizer["state"][index], slots)
    assert found.optimizer["param_groups"] == expected.optimizer["param_groups"]
    for facts in (found.metadata, expected.metadata):
        facts["best"].pop("path")  # names the attempt
    assert found.metadata == expected.metadata


# The same words train the same network -------------------------------------------------------------------------------

CONFIGS = {
    "adam, plateau, dropout": make_config(batch_size=32, epochs=3, lr=0.05, seed=11, plateau_patience=0),
    "adamw, cosine, crop and flip": make_config(
        "simple_cnn", epochs=3, optimizer="adamw", schedule="cosine", lr_min=1e-5, crop_padding=2, flip=True, seed=11
    ),
    "sgd, one cycle, rotation, auxiliary": make_config(
        "simple_cnn", epochs=3, optimizer="sgd", schedule="one_cycle", warmup=0.4, rotation=20, auxiliary=True, seed=11
    ),
    "mixed, erased, averaged, mirrored": make_config(
        "simple_cnn",
        epochs=3,
        schedule="constant",
        mixup=0.4,
        cutmix=1.0,
        erasing=0.5,
        ema_decay=0.9,
        mirror=True,
        auxiliary=True,
        seed=11,
    ),
    "balanced, weighted, resized, jittered": make_config(
        "simple_cnn",
        epochs=3,
        schedule="constant",
        balanced_sampling=True,
        class_weights="balanced",
        random_crop_scale=0.5,
        color_jitter=0.4,
        seed=11,
    ),
}


@pytest.fixture
def touchy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation in three batches, uneven classes, and a plateau after a validation that did not halve the loss."""
    monkeypatch.setattr(class_balance, "UNEVEN", 1.0)
    monkeypatch.setattr(module_module, "EVALUATION_IMAGES", {"cpu": 64})
    monkeypatch.setattr(schedule_module, "PLATEAU_THRESHOLD", 0.5)


@pytest.fixture(params=list(CONFIGS))
def config(request: pytest.FixtureRequest) -> RunConfig:
    return CONFIGS[request.param]


def test_the_same_seed_gives_the_same_weights_and_curves_to_the_last_bit_and_another_seed_does_not(
    data_dir: Path, config: RunConfig
) -> None:
    first, again = (fit_run(config, data_dir, fence=fence) for fence in (1, 2))
    assert exact(first) == exact(again)
    assert_same_state(last(first), last(again))
    assert same(best_weights(first), best_weights(again))
    other = fit_run(config.model_copy(update={"seed": 12}), data_dir, fence=3)
    assert not same(last(first).network, last(other).network)
    assert exact(first)["train/loss"] != exact(other)["train/loss"]


def stop_and_go_on(config: RunConfig, data_dir: Path, pulses: list[int]) -> list[Fitted]:
    """Attempts that are interrupted after the given pulses, and one to the end."""
    attempts: list[Fitted] = []
    resume = None
    for fence, pulse in enumerate([*pulses, 0], 1):
        shared = StopsAt(pulse, INTERRUPT) if pulse else [CONTINUE, 0]
        attempts.append(fit_run(config, data_dir, shared=shared, resume=resume, fence=fence))
        checkpoints = [
            each for each in attempts[-1].reporter.events_of("checkpoint") if not each.best and not each.kept
        ]
        resume = checkpoints[-1] if checkpoints else resume
    return attempts


def joined(attempts: list[Fitted]) -> dict[str, list[tuple[int, float]]]:
    """The curves as the recorder would store them: a later attempt invalidates the points after its start."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for each in attempts:
        (started,) = each.reporter.events_of("started")
        curves = {name: [row for row in rows if row[0] <= started.step] for name, rows in curves.items()}
        for name, rows in exact(each).items():
            curves.setdefault(name, []).extend(rows)
    return curves


# With 39 steps an epoch for the first and 9 for the second, validated in three batches: pulses 1-39 are steps, 40-42
# validation; 1-9 and 10-12. A run has three epochs and a test of six batches.
PULSES = {
    "adam, plateau, dropout": [
        *([1], [17], [23], [39], [40], [42], [43], [82], [126], [127], [130]),
        [20, 30, 25],
    ],
    "adamw, cosine, crop and flip": [[1], [4], [9], [10], [12], [13], [36], [40], [5, 6, 11]],
    "sgd, one cycle, rotation, auxiliary": [[1], [9], [12], [36], [5, 6, 11]],
    "mixed, erased, averaged, mirrored": [[1], [9], [13], [36], [5, 6, 11]],
    "balanced, weighted, resized, jittered": [[4], [13], [5, 6, 11]],
}


@pytest.mark.usefixtures("touchy")
@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_run_that_is_interrupted_anywhere_and_goes_on_ends_as_if_it_had_not_been(data_dir: Path, name: str) -> None:
    config = CONFIGS[name]
    whole = fit_run(config, data_dir, fence=99)
    assert len(exact(whole)["val/f1"]) == len(exact(whole)["val/macro_acc"]) == 3
    if config.schedule == "plateau":
        assert last(whole).optimizer["param_groups"][0]["lr"] < config.lr
    for pulses in PULSES[name]:
        attempts = stop_and_go_on(config, data_dir, pulses)
        assert [each.result.outcome for each in attempts] == ["interrupted"] * len(pulses) + ["succeeded"], pulses
        assert joined(attempts) == exact(whole), pulses
        assert same(best_weights(*attempts), best_weights(whole)), pulses
        resumed = [each for each in attempts if each.reporter.events_of("checkpoint")][-1]
        assert_same_state(last(resumed), last(whole))


@pytest.mark.usefixtures("touchy")
def test_an_interruption_stops_before_the_next_step_and_says_from_where_it_goes_on(data_dir: Path) -> None:
    config = CONFIGS["adam, plateau, dropout"]
    for pulse, step, epoch in ((1, 0, 0), (24, 23, 0), (40, 39, 0), (42, 39, 0), (43, 39, 1)):
        fitted = fit_run(config, data_dir, shared=StopsAt(pulse, INTERRUPT))
        assert fitted.result.reason == f"the worker stopped; the run will resume from step {step}"
        checkpoint = fitted.reporter.last_checkpoint()
        assert (checkpoint.step, checkpoint.epoch) == (step, epoch)
        assert len(exact(fitted).get("train/loss", [])) == step
        assert len(exact(fitted).get("val/loss", [])) == epoch


@pytest.mark.usefixtures("touchy")
def test_an_interrupted_test_leaves_the_last_weights_as_they_were(data_dir: Path) -> None:
    config = CONFIGS["adam, plateau, dropout"].model_copy(update={"schedule": "constant", "seed": 2})
    whole = fit_run(config, data_dir, fence=2)
    assert not same(last(whole).network, best_weights(whole))
    fitted = fit_run(config, data_dir, shared=StopsAt(129, INTERRUPT))
    assert fitted.reporter.events_of("finishing")
    assert "test/acc" not in fitted.reporter.curves
    assert_same_state(last(fitted), last(whole))


def test_long_epochs_are_saved_within_and_no_point_is_missing_where_one_goes_on(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_module, "REPORT_SECONDS", 1000.0)
    config = make_config(batch_size=32, epochs=1)
    fitted = fit_run(config, data_dir, checkpoint_seconds=1e-9)
    reporter = fitted.reporter
    within = [said for said in reporter.events_of("checkpoint") if not said.best and said.epoch == 0]
    # After the last step comes the validation, with a checkpoint of its own: a run that went on from before it would
    # make its points once more.
    assert [said.step for said in within] == list(range(1, 39))
    newest = 0
    for kind, step in reporter.order:
        if kind == "points":
            newest = max(newest, step)
        elif kind == "checkpoint":
            assert newest >= step
    seldom = fit_run(config, data_dir, fence=2)
    assert [(said.epoch, said.best, said.kept) for said in seldom.reporter.events_of("checkpoint")] == [
        (1, True, False),
        (1, False, False),
        (1, False, True),
    ]


# Best, test, accuracy ------------------------------------------------------------------------------------------------


def test_the_test_is_made_once_with_the_best_weights(data_dir: Path, datasets: Path) -> None:
    _, fitted = fit_run_that_ends_worse(data_dir)
    curves = fitted.reporter.curves
    ranked = zip(curves["val/acc"], curves["val/loss"], strict=True)
    step = max((accuracy, -loss, step) for (step, accuracy), (_, loss) in ranked)[2]
    said = [each for each in fitted.reporter.events_of("checkpoint") if each.best]
    assert (said[-1].step, said[-1].epoch) == (step, step // 39)

    network = models.build("simple_mlp", "small", models.Shape(1, 28, {"digit": 10}), {})
    data = Resident(load("digits", ["digit"], datasets, lambda text: None), CPU)
    images, targets = data.batch("test", slice(0, 360))

    def accuracy_of(weights: dict[str, Tensor]) -> float:
        network.load_state_dict(weights)
        with torch.no_grad():
            hits: Tensor = network.eval()(images).argmax(1) == targets["digit"]
        return hits.double().mean().item()

    ((_, tested),) = curves["test/acc"]
    assert tested == pytest.approx(accuracy_of(best_weights(fitted)))
    assert tested != pytest.approx(accuracy_of(last(fitted).network))
    kinds = [kind for kind, _ in fitted.reporter.order if kind != "progress"]
    assert kinds.index("finishing") > max(i for i, kind in enumerate(kinds) if kind == "checkpoint")
    assert fitted.reporter.lines[-1][1].endswith(f"(weights of epoch {said[-1].epoch})")


def test_a_start_tells_what_is_trained_and_on_what(data_dir: Path) -> None:
    (started,) = fit_run(make_config(epochs=1), data_dir).reporter.events_of("started")
    assert (started.step, started.epoch, started.params) == (0, 0, 8_390)
    facts = started.environment
    assert (facts["device"], facts["threads"], facts["steps_per_epoch"]) == ("cpu", 1, 9)
    assert facts["torch"] == torch.__version__


# Ends ----------------------------------------------------------------------------------------------------------------


def attempt(config: RunConfig, data_dir: Path, reporter: Collector) -> Any:
    job = Job("r", 1, 1, config, None, Settings(data_dir=data_dir), "cpu", 1)
    return _attempt(job, reporter, Control([CONTINUE, 0]))


@pytest.mark.usefixtures("touchy")
@pytest.mark.parametrize("pulse", [1, 60, 41, 128])
def test_a_cancelled_run_says_so_and_keeps_a_checkpoint(data_dir: Path, pulse: int) -> None:
    fitted = fit_run(CONFIGS["adam, plateau, dropout"], data_dir, shared=StopsAt(pulse, CANCEL))
    steps = {1: 0, 60: 56, 41: 39, 128: 117}[pulse]
    assert fitted.result.outcome == "cancelled"
    assert fitted.result.reason == f"stopped at step {steps} of 117"
    assert last(fitted).metadata["position"]["step"] == fitted.reporter.last_checkpoint().step == steps
    assert [each.step for each in fitted.reporter.events_of("progress")][-1:] == [steps]


def test_a_run_can_be_stopped_while_its_data_is_fetched(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*arguments: Any, **_: Any) -> Any:
        say = arguments[3]
        for megabytes in range(100):
            say(f"fetching digits: {megabytes} MB of 100")
        raise AssertionError("the download went on after the stop")

    monkeypatch.setattr(fit_module, "load", slow)
    fitted = fit_run(make_config(), data_dir, shared=StopsAt(3, CANCEL))
    assert (fitted.result.outcome, fitted.result.reason) == ("cancelled", "stopped while loading data")
    assert fitted.reporter.events_of("started") == []


def test_data_that_cannot_be_had_is_one_sentence(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise DatasetError("could not download digits (no route); check the network connection, then retry the run")

    monkeypatch.setattr(fit_module, "load", fail)
    reporter = Collector()
    result = attempt(make_config(), data_dir, reporter)
    assert result.outcome == "failed"
    assert result.reason == "could not download digits (no route); check the network connection, then retry the run"
    assert reporter.lines[-1] == ("error", result.reason)
    assert not reporter.events


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"batch_size": 2000}, "must be at most 1,257"), ({"size": "huge"}, "no size 'huge'")],
)
def test_what_cannot_be_trained_is_one_sentence(data_dir: Path, changes: dict[str, Any], words: str) -> None:
    reporter = Collector()
    result = attempt(make_config(**changes), data_dir, reporter)
    assert result.outcome == "failed"
    assert words in result.reason
    assert "Traceback" not in reporter.lines[-1][1]


def test_what_nobody_foresaw_gives_its_first_line_as_reason_and_a_traceback_in_the_log(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ArithmeticError("\n  the numbers are wrong\nand there is more to say" + "!" * 1000)

    monkeypatch.setattr(module_module.Classifier, "_micro_step", fail)
    reporter = Collector()
    result = attempt(make_config(), data_dir, reporter)
    assert (result.outcome, result.reason) == ("failed", "ArithmeticError: the numbers are wrong")
    level, text = reporter.lines[-1]
    assert level == "error"
    assert text.startswith("Traceback")
    assert "and there is more to say" in text
    assert "_micro_step" in text or "test_trainer" in text


def test_a_gpu_that_is_too_small_is_told_with_what_to_do(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(module_module.Classifier, "_micro_step", fail)
    result = attempt(make_config(), data_dir, Collector())
    assert "memory" in result.reason
    assert result.reason.startswith("simple_mlp tiny at batch size 128 does not fit in")
    assert "; try batch size 64" in result.reason


def test_a_fit_shows_life_in_every_step_evaluation_and_sentence_of_a_download(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(name: str, targets: list[str], folder: Path, say: Any, **_: Any) -> Any:
        for percent in range(0, 100, 10):
            say(f"fetching: {percent}%")
        return load(name, targets, folder, say)

    monkeypatch.setattr(fit_module, "load", slow)
    monkeypatch.setattr(module_module, "EVALUATION_IMAGES", {"cpu": 64})
    fitted = fit_run(make_config(), data_dir)
    assert fitted.pulses == 10 + 2 * (9 + 3) + 6


def test_a_fit_warns_of_nothing(data_dir: Path) -> None:
    """Warnings would appear in every run's log."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fit_run(make_config(epochs=1), data_dir)
    assert [str(each.message) for each in found] == []
