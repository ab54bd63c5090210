"""Changes between two steps, which also persist when a run is interrupted and resumes from an earlier step."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from app.contract.events import Change, Changed, PendingChanges
from app.contract.schedules import rate_at
from app.contract.spec import RunConfig
from tests.worker.conftest import Collector, Fitted, StopsAt, fit_run, make_config, until
from worker.active_run import ActiveRun
from worker.job import INTERRUPT, Control
from worker.training.checkpoint_file import State, from_bytes
from worker.training.live_changes import Changes
from worker.training.position import NEVER, Position

PER_EPOCH = 39
CONFIG = make_config(batch_size=32, epochs=3, schedule="cosine", lr_min=1e-5, seed=11)


def lr(id: int, factor: float, step: int | None = None) -> Change:
    return Change(id=id, kind="lr_factor", value=factor, step=step)


def outcomes(*attempts: Fitted) -> list[Changed]:
    return [said for each in attempts for said in each.reporter.events_of("change")]


def last(fitted: Fitted) -> State:
    return from_bytes(fitted.kept(fitted.reporter.last_checkpoint()))


def rates(fitted: Fitted) -> dict[int, float]:
    return dict(fitted.reporter.curves["train/lr"])


def recorded(changes: Sequence[Change], attempts: Sequence[Fitted]) -> list[Change]:
    """The changes as the next attempt receives them."""
    done = {said.id: said for said in outcomes(*attempts)}
    return [
        each.model_copy(update={"step": done[each.id].step, "epochs": done[each.id].epochs, "applied": True})
        if each.id in done
        else each
        for each in changes
    ]


def stop_and_go_on(config: RunConfig, data_dir: Path, pulses: list[int], changes: Sequence[Change]) -> list[Fitted]:
    """Attempts that are killed after the given pulses, each resuming from the checkpoint before its last."""
    attempts: list[Fitted] = []
    resume = None
    for fence, pulse in enumerate([*pulses, 10**9], 1):
        given = recorded(changes, attempts)
        attempts.append(
            fit_run(config, data_dir, shared=StopsAt(pulse, INTERRUPT), resume=resume, fence=fence, changes=given)
        )
        saved = [each for each in attempts[-1].reporter.events_of("checkpoint") if not each.best and not each.kept]
        # The last one is that of an orderly stop, which a killed trainer does not write.
        resume = saved[-2] if len(saved) > 1 else resume
    return attempts


SAME = {
    "a lower learning rate": [lr(1, 0.3, 50)],
    "two rates at one step, and one later": [lr(1, 0.3, 45), lr(2, 0.7, 45), lr(3, 0.1, 100)],
    "more epochs": [Change(id=1, kind="epochs", value=4, step=60)],
    "fewer epochs than are done": [Change(id=1, kind="epochs", value=1, step=45), lr(2, 0.5, 50)],
    "an end after the epoch": [Change(id=1, kind="stop_after_epoch", step=50)],
    "more epochs at the very end": [Change(id=1, kind="epochs", value=4, step=3 * PER_EPOCH)],
}


@pytest.mark.parametrize("name", list(SAME))
def test_a_run_that_is_killed_after_a_change_ends_with_the_weights_of_an_undisturbed_one(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(Collector, "committed_checkpoints", lambda self: 0)  # of a killed one the older ones are needed
    changes = SAME[name]
    whole = fit_run(CONFIG, data_dir, fence=99, changes=changes)
    assert [(each.id, each.outcome, each.step) for each in outcomes(whole)] == [
        (each.id, "applied", each.step) for each in changes
    ]
    # 39 steps and one pulse of a validation an epoch: killed before and after the changes; resumes from before them.
    for pulses in ([66], [52, 30]):
        attempts = stop_and_go_on(CONFIG, data_dir, pulses, changes)
        assert attempts[-1].result.outcome == whole.result.outcome == "succeeded", pulses
        assert [each.id for each in outcomes(*attempts)] == [each.id for each in changes], "told once each"
        assert attempts[-1].result.reason == whole.result.reason
        ours, theirs = last([each for each in attempts if each.reporter.events_of("checkpoint")][-1]), last(whole)
        assert all(torch.equal(value, ours.network[key]) for key, value in theirs.network.items()), pulses
        assert ours.metadata["course"] == theirs.metadata["course"]
        assert ours.metadata["position"] == theirs.metadata["position"]
        tested = attempts[-1].reporter.curves["test/loss"]
        assert tested == whole.reporter.curves["test/loss"], pulses


def test_an_undisturbed_run_without_the_change_comes_out_otherwise(data_dir: Path) -> None:
    plain, changed = (
        fit_run(CONFIG, data_dir),
        fit_run(CONFIG, data_dir, fence=2, changes=SAME["a lower learning rate"]),
    )
    before, after = (dict(each.reporter.curves["train/loss"]) for each in (plain, changed))
    assert all(before[step] == after[step] for step in range(1, 52))
    assert before[53] != after[53]


def test_a_factor_holds_for_every_rate_of_the_schedule_from_its_step_on(data_dir: Path) -> None:
    found = rates(fit_run(CONFIG, data_dir, changes=[lr(1, 0.25, 50), lr(2, 2.0, 90)]))
    for step, rate in found.items():
        factor = 1.0 if step <= 50 else 0.25 if step <= 90 else 0.5
        assert rate == pytest.approx(rate_at(CONFIG, step - 1, 3 * PER_EPOCH) * factor, rel=1e-12), step


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "constant", "plateau"])
def test_with_other_epochs_a_schedule_is_that_of_the_new_number_from_there_on(data_dir: Path, schedule: str) -> None:
    config = CONFIG.model_copy(update={"schedule": schedule, "warmup": 0.2, "plateau_patience": 50})
    fitted = fit_run(config, data_dir, changes=[Change(id=1, kind="epochs", value=5, step=50)])
    assert fitted.result.reason == ""
    assert fitted.reporter.last_checkpoint().step == 5 * PER_EPOCH
    for step, rate in rates(fitted).items():
        assert rate == rate_at(config, step - 1, (3 if step <= 50 else 5) * PER_EPOCH), step
    assert {(each.epochs, each.steps) for each in fitted.reporter.events_of("progress")} <= {(3, 117), (5, 195)}
    assert ("info", "number of epochs changed from 3 to 5 at step 50") in fitted.reporter.lines
    # Who hears of the change finds the new number.
    kinds = [kind for kind, _ in fitted.reporter.order]
    told_before = kinds[: kinds.index("change")].count("progress")
    assert fitted.reporter.events_of("progress")[told_before - 1].epochs == 5


def test_what_a_plateau_has_received_outlives_other_epochs(data_dir: Path) -> None:
    config = CONFIG.model_copy(update={"schedule": "plateau", "plateau_patience": 0, "lr": 0.3, "epochs": 6})
    plain = fit_run(config, data_dir)
    longer = fit_run(config, data_dir, fence=2, changes=[Change(id=1, kind="epochs", value=7, step=3 * PER_EPOCH + 1)])
    common = rates(plain).keys() & rates(longer).keys()
    assert min(rates(plain).values()) < config.lr
    assert all(rates(plain)[step] == rates(longer)[step] for step in common)


def test_a_stop_after_the_epoch_leaves_the_rate_as_it_was_planned_and_says_why_it_ends(data_dir: Path) -> None:
    fitted = fit_run(CONFIG, data_dir, changes=[Change(id=7, kind="stop_after_epoch", step=50)])
    assert (fitted.result.outcome, fitted.result.reason) == ("succeeded", "stopped after epoch 2 of 3, as requested")
    assert fitted.reporter.last_checkpoint().step == 2 * PER_EPOCH
    assert all(rate == rate_at(CONFIG, step - 1, 3 * PER_EPOCH) for step, rate in rates(fitted).items())
    assert "test/acc" in fitted.reporter.curves
    (said,) = outcomes(fitted)
    assert (said.step, said.epochs) == (50, 2)
    assert ("info", "will stop after epoch 2") in fitted.reporter.lines


def test_a_checkpoint_that_is_asked_for_stays_and_is_gone_on_from(data_dir: Path) -> None:
    fitted = fit_run(CONFIG, data_dir, changes=[Change(id=1, kind="checkpoint", step=50)])
    (kept,) = [each for each in fitted.reporter.events_of("checkpoint") if each.kept and each.within]
    assert (kept.step, kept.epoch, kept.within) == (50, 1, 11)
    assert ("info", "saved a checkpoint at step 50") in fitted.reporter.lines
    again = fit_run(CONFIG, data_dir, fence=2, resume=kept)
    assert all(torch.equal(value, last(again).network[name]) for name, value in last(fitted).network.items())


def test_no_checkpoint_is_kept_of_weights_that_are_not_finite(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.training.checkpointing.all_finite", lambda network: False)
    fitted = fit_run(CONFIG, data_dir, changes=[Change(id=1, kind="checkpoint", step=5)])
    (said,) = outcomes(fitted)
    assert (said.outcome, said.reason) == ("refused", "some weights are NaN or infinite")
    sentence = "checkpoint at step 5 not saved: some weights are NaN or infinite"
    assert ("warning", sentence) in fitted.reporter.lines
    tested = [text for _, text in fitted.reporter.lines if text.startswith("test/loss")]
    assert [text.rpartition(" (")[2] for text in tested] == ["current weights)"], "no weights were saved as the best"


def test_a_note_changes_nothing_but_the_log(data_dir: Path) -> None:
    plain = fit_run(CONFIG, data_dir)
    noted = fit_run(CONFIG, data_dir, fence=2, changes=[Change(id=1, kind="note", value="a new dataset", step=7)])
    assert plain.reporter.curves["train/loss"] == noted.reporter.curves["train/loss"]
    assert ("info", "note at step 7: a new dataset") in noted.reporter.lines


def test_a_trainer_is_told_of_a_change_once_however_often_its_worker_hears_of_it() -> None:
    asked, inbox = multiprocessing.Pipe(duplex=False)
    run = ActiveRun("r", 1, 0, Control([0, 0]), inbox, delivered={1})
    for changes in ([lr(1, 0.1), lr(2, 0.2)], [lr(2, 0.2)], [lr(2, 0.2), lr(3, 0.3)]):
        run.deliver(PendingChanges(run="r", changes=changes))
    heard = []
    while asked.poll():
        heard.append(Change.model_validate_json(asked.recv_bytes()).id)
    assert heard == [2, 3]
    asked.close()
    run.deliver(PendingChanges(run="r", changes=[lr(4, 0.4)]))
    assert run.delivered == {1, 2, 3}, "what was not handed over is for the next attempt"
    inbox.close()


class Still:
    """A module with only a position."""

    def __init__(self) -> None:
        from worker.training.position import Course

        self.course = Course(3, 3)
        self.position = Position(1, 5, 44)
        self.change_at: float = NEVER
        self.apply_changes: Any = None

    def plan(self) -> None:
        pass


class Told:
    def __init__(self) -> None:
        self.said: list[Any] = []

    def event(self, kind: str, said: Any) -> None:
        self.said.append(said)

    def log(self, text: str, level: str = "info") -> None:
        pass


def test_changes_come_through_a_pipe_each_once_and_in_their_order() -> None:
    module, told = Still(), Told()
    changes = Changes(module, None, told)  # type: ignore[arg-type]
    asked, inbox = multiprocessing.Pipe(duplex=False)
    changes.listen(asked)
    assert module.change_at == NEVER, "a step looks at nothing while there is nothing"
    for change in (lr(5, 0.5), lr(4, 0.5), lr(5, 0.5), lr(9, 0.5, 50)):
        inbox.send_bytes(change.model_dump_json().encode())
    until(lambda: len(changes._received) == 3, "all are heard")
    assert module.change_at == 0
    changes.apply()
    assert [(said.id, said.step) for said in told.said] == [(4, 44), (5, 44)]
    assert module.course.factor == 0.25
    assert module.change_at == 50
    module.position.step = 50
    changes.apply()
    assert (module.course.factor, module.change_at, module.course.done) == (0.125, NEVER, [4, 5, 9])
    inbox.close()
