from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.worker.conftest import make_config
from worker.schedule import Constant, Cosine, Plateau, Schedule, make_optimizer, make_schedule

RATES = st.floats(1e-6, 10)


@given(RATES, st.floats(0, 1), st.integers(1, 5000))
@settings(deadline=None)
def test_cosine_starts_at_lr_falls_throughout_and_ends_at_lr_min_over_the_run_s_own_steps(
    lr: float, part: float, steps: int
) -> None:
    lowest = lr * part
    cosine = Cosine(lr, lowest, steps)
    rates = [cosine.rate(step) for step in range(steps + 1)]
    assert rates[0] == pytest.approx(lr)
    assert rates[-1] == pytest.approx(lowest, abs=1e-12)
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(rates))
    assert cosine.rate(steps + 10) == pytest.approx(lowest, abs=1e-12)
    if steps % 2 == 0:
        assert cosine.rate(steps // 2) == pytest.approx((lr + lowest) / 2)


@pytest.mark.parametrize("steps", [1, 7, 300])
def test_cosine_is_torch_s(steps: int) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=0.01)
    ours = Cosine(0.3, 0.01, steps)
    for step in range(steps + 1):
        assert ours.rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        if step < steps:
            optimizer.step()
            theirs.step()


LOSSES = st.lists(
    st.one_of(st.floats(0, 3), st.sampled_from([0.5, 0.5 * (1 - 1e-4), 0.49999, 1.0, math.nan, math.inf])), max_size=60
)


@given(st.floats(1e-4, 1), LOSSES)
@settings(max_examples=200, deadline=None)
def test_plateau_is_torch_s_given_the_same_losses(lr: float, losses: list[float]) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=10)
    ours = Plateau(lr)
    for step, loss in enumerate(losses):
        ours.after_validation(loss)
        theirs.step(loss)
        # Torch stops lowering where a step would change the rate by less than 1e-8.
        assert ours.rate(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9, abs=2e-8)


def test_plateau_falls_to_a_tenth_after_more_than_ten_validations_without_a_lower_loss() -> None:
    plateau = Plateau(1.0)
    rates = []
    for _ in range(24):
        plateau.after_validation(0.5)
        rates.append(plateau.rate(0))
    assert rates == pytest.approx([1.0] * 11 + [0.1] * 11 + [0.01] * 2)


@given(LOSSES, LOSSES, st.sampled_from(["constant", "plateau", "cosine"]))
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


def test_a_configuration_gets_the_schedule_it_names() -> None:
    made: dict[str, Any] = {
        name: make_schedule(make_config(schedule=name, lr=0.2, lr_min=0.1), 10)
        for name in ("constant", "plateau", "cosine")
    }
    assert [type(made[name]) for name in ("constant", "plateau", "cosine")] == [Constant, Plateau, Cosine]
    assert [schedule.rate(0) for schedule in made.values()] == [0.2] * 3
    assert made["cosine"].rate(10) == pytest.approx(0.1)
    for _ in range(30):
        made["constant"].after_validation(1.0)
    assert made["constant"].rate(5) == 0.2


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_a_configuration_gets_the_optimiser_it_names_with_its_settings(name: str, kind: type) -> None:
    config = make_config(optimizer=name, lr=0.03, weight_decay=0.02, momentum=0.8)
    optimizer = make_optimizer(nn.Linear(2, 2), config, torch.device("cpu"))
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (0.03, 0.02, 2)
    assert group.get("momentum", 0.8) == 0.8
