"""Kept checkpoints, and how forks and extensions use them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.contract.events import Checkpoint
from tests.worker.conftest import Fitted, fit_run, fit_run_that_ends_worse, make_config
from worker.training import checkpointing
from worker.training.checkpoint_file import State, from_bytes
from worker.training.checkpointing import is_fork_point


@given(st.integers(1, 300), st.integers(0, 40))
def test_so_many_ends_of_epochs_are_kept_evenly_spread_and_the_last_among_them(epochs: int, many: int) -> None:
    kept = [epoch for epoch in range(1, epochs + 1) if is_fork_point(epoch, epochs, many)]
    assert len(kept) == min(many, epochs)
    if kept:
        assert kept[-1] == epochs
        gaps = [later - earlier for earlier, later in zip([0, *kept], kept, strict=False)]
        assert max(gaps) - min(gaps) <= 1


def kept(fitted: Fitted) -> dict[int, Checkpoint]:
    return {each.epoch: each for each in fitted.reporter.events_of("checkpoint") if each.kept}


def state(fitted: Fitted, checkpoint: Checkpoint) -> State:
    return from_bytes(fitted.kept(checkpoint))


def test_kept_checkpoints_are_whole_and_hold_the_best_weights_where_the_last_are_not(data_dir: Path) -> None:
    _, fitted = fit_run_that_ends_worse(data_dir)
    found = kept(fitted)
    assert list(found) == [1, 2, 3, 4, 5, 6]
    best = {epoch: state(fitted, each).metadata["best"]["epoch"] for epoch, each in found.items()}
    assert best[6] < 6
    for epoch, each in found.items():
        assert each.within == 0
        held = state(fitted, each)
        assert held.optimizer["state"]
        if best[epoch] == epoch:
            assert held.best == {}
        else:
            then = state(fitted, found[best[epoch]]).network
            assert all(torch.equal(value, then[name]) for name, value in held.best.items())


def test_few_are_kept_where_they_are_large_and_none_where_none_are_wanted(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kept(fit_run(make_config(epochs=2, keep_checkpoints=0), data_dir)) == {}
    whole = fit_run(make_config(epochs=4), data_dir, fence=2)
    size = len(whole.kept(whole.reporter.last_checkpoint()))
    monkeypatch.setattr(checkpointing, "MAX_KEPT_BYTES", int(2.5 * size))
    fitted = fit_run(make_config(epochs=4), data_dir, fence=3)
    assert list(kept(fitted)) == [2, 4]
    assert len([text for _, text in fitted.reporter.lines if text.startswith("keeping 2 epoch checkpoints")]) == 1


def test_of_the_checkpoints_to_go_on_from_those_stay_that_may_be_asked_for(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.worker.conftest import Collector

    folder = data_dir / "artifacts" / "r"
    fit_run(make_config(epochs=5), data_dir, fence=1)
    assert [path.name for path in (folder / "1").glob("last-*")] == ["last-45.safetensors"]
    # As long as the recorder has not heard of any, all of them stay.
    monkeypatch.setattr(Collector, "committed_checkpoints", lambda self: 0)
    fit_run(make_config(epochs=5), data_dir, fence=2)
    assert len(list((folder / "2").glob("last-*"))) == 5


# Forks and extensions ------------------------------------------------------------------------------------------------


def begun_from(parent: Fitted, checkpoint: Checkpoint, data_dir: Path) -> Checkpoint:
    """A checkpoint of another run, stored where the server would put it; the rest of that run is gone."""
    folder = data_dir / "artifacts"
    content = parent.kept(checkpoint)
    shutil.rmtree(folder / "r")
    (folder / "r" / "0").mkdir(parents=True)
    (folder / "r" / "0" / "last.safetensors").write_bytes(content.replace(b"r/1/best", b"x/1/best"))
    return checkpoint.model_copy(update={"path": "r/0/last.safetensors"})


def losses(fitted: Fitted) -> dict[int, float]:
    return dict(fitted.reporter.curves["train/loss"])


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_fork_with_nothing_changed_ends_as_the_run_itself(data_dir: Path, epoch: int) -> None:
    config = make_config("simple_mlp", "small", batch_size=32, epochs=6, lr=0.03, seed=0)
    whole = fit_run(config, data_dir)
    last = state(whole, whole.reporter.last_checkpoint())
    fork = fit_run(config, data_dir, resume=begun_from(whole, kept(whole)[epoch], data_dir))
    mine = state(fork, fork.reporter.last_checkpoint())
    assert all(torch.equal(value, mine.network[name]) for name, value in last.network.items())
    assert fork.reporter.curves["test/acc"] == whole.reporter.curves["test/acc"]
    assert losses(fork) == {step: loss for step, loss in losses(whole).items() if step > epoch * 39}


@pytest.mark.parametrize("schedule", ["constant", "plateau", "cosine", "one_cycle"])
def test_an_extended_run_follows_the_schedule_of_all_its_epochs(data_dir: Path, schedule: str) -> None:
    config = make_config(batch_size=32, epochs=2, schedule=schedule, lr_min=1e-5, warmup=0.2, plateau_patience=50)
    longer = config.model_copy(update={"epochs": 4})
    short = fit_run(config, data_dir, flush_seconds=0.01)
    extended = fit_run(longer, data_dir, resume=begun_from(short, kept(short)[2], data_dir))
    whole = fit_run(longer, data_dir, fence=7)
    rates, expected = (dict(each.reporter.curves["train/lr"]) for each in (extended, whole))
    assert {step for step in rates if step <= 78} == set()
    common = rates.keys() & expected.keys()
    assert 4 * 39 in common
    assert all(rates[step] == expected[step] for step in common)


CHANGES: list[dict[str, Any]] = [
    {"lr": 0.1},
    {"optimizer": "sgd"},
    {"weight_decay": 0.5},
    {"batch_size": 64},
    {"seed": 99},
    {"schedule": "cosine"},
    {"flip": True},
    {"normalization": "half"},
    {"label_smoothing": 0.3},
    {"mixup": 0.5},
    {"ema_decay": 0.5, "erasing": 0.5},
]


@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: next(iter(changes)))
def test_a_fork_trains_with_what_it_asks_to_be_otherwise(data_dir: Path, changes: dict[str, Any]) -> None:
    config = make_config(batch_size=32, epochs=4, schedule="constant", seed=4)
    whole = fit_run(config, data_dir)
    before = losses(whole)
    start = begun_from(whole, kept(whole)[2], data_dir)
    fork = fit_run(config.model_copy(update=changes), data_dir, resume=start)
    per_epoch = 1257 // (changes.get("batch_size", 32))
    assert fork.result.outcome == "succeeded"
    assert sorted(losses(fork)) == list(range(79, 78 + 2 * per_epoch + 1))
    assert losses(fork)[79 + per_epoch] != before.get(79 + per_epoch)
    again = state(fork, fork.reporter.last_checkpoint())
    group = again.optimizer["param_groups"][0]
    assert group["weight_decay"] == changes.get("weight_decay", config.weight_decay)
    if "lr" in changes:
        assert group["lr"] == 0.1
    # Interrupted, the fork goes on as itself.
    assert again.metadata["config"] == config.model_copy(update=changes).model_dump()
