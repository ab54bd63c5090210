"""A loss that is not finite: detected, reported with the last finite values, and never saved."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from app.contract.spec import RunConfig
from tests.worker.conftest import Collector, Fitted, fit_run, make_config
from worker.training import module as module_module
from worker.training.checkpoint_file import from_bytes
from worker.training.losses import Losses
from worker.training.module import Classifier
from worker.training.nonfinite_guard import Diverged, LossWatch, StepLoss, all_finite, describe_nonfinite
from worker.training.trainer import _attempt


def made(step: int, loss: float, norm: float | None = None) -> StepLoss:
    return StepLoss(step, torch.tensor(loss), 0.5, None if norm is None else torch.tensor(norm))


def test_the_first_loss_that_is_not_finite_is_told_with_the_last_that_was() -> None:
    watch = LossWatch()
    assert watch.check([]) is None
    assert watch.check([made(1, 2.5), made(2, 1.83, 310.0)]) is None
    said = watch.check([made(412, math.nan), made(413, math.inf)])
    assert said == (
        "loss became NaN at step 412; last finite loss: 1.83 at step 2"
        " (learning rate 0.5, gradient norm 310 before clipping)"
    )
    assert watch.settle() is None


def test_a_first_step_that_is_not_finite_has_nothing_before_it() -> None:
    assert LossWatch().check([made(1, -math.inf)]) == (
        "loss became -inf at step 1, the first step of this attempt, at learning rate 0.5"
    )
    names = [describe_nonfinite(value) for value in (math.nan, math.inf, -math.inf)]
    assert names == ["NaN", "inf", "-inf"]


class Elsewhere(torch.Tensor):
    """A fake tensor on a GPU."""

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False


class Copied:
    """A fake CUDA event: the copy arrives when the test says so, or when it is waited for."""

    def __init__(self) -> None:
        self.there = False
        self.waited = 0

    def query(self) -> bool:
        return self.there

    def synchronize(self) -> None:
        self.waited += not self.there


def test_losses_of_a_gpu_are_waited_for_only_where_a_validation_is_about_to_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Replaces fetching from a GPU, but not the handling of the values."""
    events: list[Copied] = []

    def fetched(losses: Tensor) -> tuple[Tensor, Copied]:
        events.append(Copied())
        return losses.as_subclass(Tensor), events[-1]

    monkeypatch.setattr("worker.training.nonfinite_guard._fetched", fetched)

    def far(step: int, loss: float) -> StepLoss:
        return StepLoss(step, torch.tensor(loss).as_subclass(Elsewhere), 0.5)

    watch = LossWatch()
    assert watch.check([far(1, 3.0), far(2, 2.0)]) is None
    assert watch.check([far(3, math.nan)]) is None
    assert [event.waited for event in events] == [0, 0]
    events[0].there = True
    assert watch.check([far(4, math.nan)]) is None
    assert sum(event.waited for event in events) == 0
    said = watch.settle()
    assert said is not None
    assert said.startswith("loss became NaN at step 3; last finite loss: 2 at step 2")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_and_buffers_that_are_not_finite_are_seen(value: float) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    assert all_finite(network)
    assert all_finite(torch.nn.ReLU())
    network[1].get_buffer("running_var")[1] = value
    assert not all_finite(network)


class Spoiling:
    """Make the loss NaN at one step, through NaN images as from a faulty division."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.at, self.step = at, 0
        real = Losses.total

        def total(of: Losses, losses: dict[str, Tensor]) -> Tensor:
            loss = real(of, losses)
            self.step += 1
            return loss * math.nan if self.step == self.at else loss

        monkeypatch.setattr(Losses, "total", total)


def run(config: RunConfig, data_dir: Path, **settings: Any) -> tuple[Collector, str]:
    """Train until the loss stops it; returns the log and the reason."""
    with pytest.raises(Diverged) as caught:
        fit_run(config, data_dir, **settings)
    return _reporters[-1], str(caught.value)


_reporters: list[Collector] = []


@pytest.fixture(autouse=True)
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """All reporters created, also that of a fit that raises."""
    _reporters.clear()
    begin = Collector.__init__

    def remember(self: Collector) -> None:
        begin(self)
        _reporters.append(self)

    monkeypatch.setattr(Collector, "__init__", remember)


@pytest.mark.parametrize("at", [1, 40, 45, 78])
def test_a_run_whose_loss_becomes_nan_stops_there_and_keeps_the_checkpoint_from_before(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    Spoiling(monkeypatch, at)
    reporter, said = run(make_config(batch_size=32, clip_norm=1.0), data_dir)
    assert said.startswith(f"loss became NaN at step {at}")
    if at > 1:
        assert f"at step {at - 1} (learning rate 0.001, gradient norm " in said
    assert said.endswith("try a lower learning rate or warmup"), "it clips already"
    losses = [value for _, value in reporter.curves["train/loss"]]
    assert math.isnan(losses[at - 1])
    assert all(math.isfinite(value) for value in losses[: at - 1])
    # It stopped long before the end of the run, and what it would go on from is sound.
    assert len(losses) <= 78
    steps = [each.step for each in reporter.events_of("checkpoint")]
    assert steps == ([39, 39, 39] if at > 39 else [])
    for each in reporter.events_of("checkpoint"):
        state = from_bytes((data_dir / "artifacts" / each.path).read_bytes())
        assert all(value.isfinite().all() for value in state.network.values())


def test_a_checkpoint_within_an_epoch_is_not_overwritten_by_weights_that_are_nan(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Spoiling(monkeypatch, 20)
    # Nothing is read back before the end of the epoch: the weights are NaN when the next checkpoint is due.
    monkeypatch.setattr(module_module, "REPORT_SECONDS", 1000.0)
    monkeypatch.setattr(Classifier, "report_steps", lambda self: None)
    monkeypatch.setattr(LossWatch, "check", lambda *_: None)
    config = make_config(batch_size=32, epochs=1)
    reporter, said = run(config, data_dir, checkpoint_seconds=1e-9)
    assert said.startswith("validation loss became NaN after epoch 1")
    assert max(each.step for each in reporter.events_of("checkpoint")) == 19
    assert [text for level, text in reporter.lines if level == "warning"] == [
        "some weights are NaN or infinite; keeping the previous checkpoint"
    ]


def test_a_run_that_is_asked_to_goes_on_says_so_once_and_saves_nothing_that_is_spoilt(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Spoiling(monkeypatch, 50)
    fitted: Fitted = fit_run(make_config(batch_size=32, epochs=3, on_nonfinite="go_on"), data_dir)
    assert fitted.result.outcome == "succeeded"
    assert len(fitted.reporter.curves["train/loss"]) == 3 * 39
    warned = [text for level, text in fitted.reporter.lines if level == "warning"]
    assert len([text for text in warned if text.endswith("continuing because on_nonfinite is go_on")]) == 1
    assert fitted.reporter.last_checkpoint().step == 39
    assert math.isfinite(fitted.reporter.curves["test/loss"][0][1]), "the best weights are those from before"


def test_the_reason_of_the_run_is_the_sentence(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.contract.settings import Settings
    from worker.job import CONTINUE, Control, Job

    Spoiling(monkeypatch, 5)
    reporter = Collector()
    job = Job("r", 1, 1, make_config(), None, Settings(data_dir=data_dir), "cpu", 1)
    result = _attempt(job, reporter, Control([CONTINUE, 0]))
    assert result.outcome == "failed"
    assert result.reason.startswith("loss became NaN at step 5; last finite loss: ")
    assert result.reason.endswith("try a lower learning rate, warmup or gradient clipping (clip_norm)")
    assert reporter.lines[-1] == ("error", result.reason)
    told = reporter.events_of("progress")[-1]
    assert (told.step, told.epoch) == (max(step for step, _ in reporter.curves["train/acc"]), 1)
