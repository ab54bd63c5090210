from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from app.contract.schedules import curve
from tests.worker.conftest import make_config
from worker.training.schedule import Plateau, Schedule, make_schedule


def plateau(**changes: Any) -> Schedule:
    return make_schedule(make_config(schedule="plateau", **changes), 100)


LOSSES = st.lists(
    st.one_of(st.floats(0, 3), st.sampled_from([0.5, 0.5 * (1 - 1e-4), 0.49999, 1.0, math.nan, math.inf])), max_size=60
)


@given(st.floats(1e-4, 1), LOSSES)
@settings(max_examples=200, deadline=None)
def test_plateau_is_torch_s_given_the_same_losses(lr: float, losses: list[float]) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=10)
    ours = plateau(lr=lr)
    for step, loss in enumerate(losses):
        ours.after_validation(loss)
        theirs.step(loss)
        # Torch stops lowering where a step would change the rate by less than 1e-8.
        assert ours.rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9, abs=2e-8)


def test_plateau_falls_by_its_factor_after_more_validations_than_its_patience_without_a_lower_loss() -> None:
    patient, hasty = plateau(lr=1.0), plateau(lr=1.0, plateau_factor=0.5, plateau_patience=1)
    rates: dict[Schedule, list[float]] = {patient: [], hasty: []}
    for _ in range(24):
        for schedule, seen in rates.items():
            schedule.after_validation(0.5)
            seen.append(schedule.rate(0))
    assert rates[patient] == pytest.approx([1.0] * 11 + [0.1] * 11 + [0.01] * 2)
    assert rates[hasty][:7] == pytest.approx([1.0] * 2 + [0.5] * 2 + [0.25] * 2 + [0.125])


def test_plateau_goes_on_from_a_checkpoint_of_the_first_version() -> None:
    schedule = plateau(lr=0.5)
    schedule.restore({"rate": 0.05, "best": 0.3, "bad": 2})
    assert schedule.rate(7) == pytest.approx(0.05)


@given(LOSSES, LOSSES, st.sampled_from(["constant", "plateau", "cosine", "one_cycle"]))
@settings(max_examples=100, deadline=None)
def test_a_schedule_that_was_kept_as_json_goes_on_as_if_it_had_not_stopped(
    before: list[float], after: list[float], kind: str
) -> None:
    def fresh() -> Schedule:
        return make_schedule(make_config(schedule=kind, lr=0.1, lr_min=0.001), 200)

    whole, first, second = fresh(), fresh(), fresh()
    for loss in before:
        whole.after_validation(loss)
        first.after_validation(loss)
    second.restore(json.loads(json.dumps(first.state())))
    for step, loss in enumerate(after, len(before)):
        whole.after_validation(loss)
        second.after_validation(loss)
        assert second.rate(step) == whole.rate(step)
    assert second.state() == whole.state()


def test_a_schedule_trains_as_the_launch_form_draws_it() -> None:
    for name in ("constant", "cosine", "one_cycle", "plateau"):
        config = make_config(schedule=name, lr=0.2, lr_min=0.1, warmup=0.25)
        schedule = make_schedule(config, 40)
        assert isinstance(schedule, Plateau) == (name == "plateau")
        assert [(step, schedule.rate(step)) for step in range(40)] == curve(config, 40, 40)
