"""Learning-rate schedules compared with torch's, and properties of all schedules."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from app.contract.schedules import ONE_CYCLE_START, curve, rate_at, warmup_steps
from app.contract.spec import RunConfig
from tests.worker.conftest import make_config

RATES = st.floats(1e-6, 10)
SCHEDULES = ("constant", "plateau", "cosine", "one_cycle")


def planned(schedule: str, **changes: Any) -> RunConfig:
    return make_config(schedule=schedule, **changes)


@given(RATES, st.floats(0, 1), st.integers(1, 3000))
def test_cosine_starts_at_lr_falls_throughout_and_ends_at_lr_min_over_the_run_s_own_steps(
    lr: float, part: float, steps: int
) -> None:
    config = planned("cosine", lr=lr, lr_min=lr * part)
    rates = [rate_at(config, step, steps) for step in range(steps + 1)]
    assert rates[0] == pytest.approx(lr)
    assert rates[-1] == pytest.approx(lr * part, abs=1e-12)
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(rates))
    assert rate_at(config, steps + 10, steps) == pytest.approx(lr * part, abs=1e-12)


@pytest.mark.parametrize("steps", [1, 7, 300])
def test_cosine_is_torch_s(steps: int) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=0.01)
    config = planned("cosine", lr=0.3, lr_min=0.01)
    for step in range(steps + 1):
        assert rate_at(config, step, steps) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        if step < steps:
            optimizer.step()
            theirs.step()


@pytest.mark.parametrize("steps", [10, 300])
def test_one_cycle_is_torch_s_a_step_apart_at_its_turn_and_end(steps: int) -> None:
    # Torch reaches its peak at 0.3·steps - 1 and its end at steps - 1; ours at 0.3·steps and at the end of the run.
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.3)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.3, total_steps=steps, pct_start=0.3, div_factor=25, final_div_factor=100, cycle_momentum=False
    )
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(found) < steps:
            theirs.step()
    config = planned("one_cycle", lr=0.3, lr_min=0.3 / 25 / 100, warmup=0.3)
    ours = [rate_at(config, step, steps) for step in range(steps)]
    largest_step = max(abs(b - a) for a, b in itertools.pairwise(found))
    assert max(abs(a - b) for a, b in zip(ours, found, strict=True)) <= largest_step


@given(st.sampled_from(SCHEDULES), RATES, st.floats(0, 1), st.floats(0, 0.99), st.integers(1, 400))
def test_every_schedule_stays_between_zero_and_lr_and_rises_only_while_it_warms_up(
    name: str, lr: float, part: float, warmup: float, steps: int
) -> None:
    config = planned(name, lr=lr, lr_min=lr * part, warmup=warmup)
    rates = [rate_at(config, step, steps) for step in range(steps)]
    assert all(0 <= rate <= lr * (1 + 1e-12) for rate in rates)
    rising = warmup_steps(config, steps)
    assert all(later >= earlier for earlier, later in itertools.pairwise(rates[: rising + 1]))
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in itertools.pairwise(rates[rising:]))


def test_a_warm_up_rises_in_a_straight_line_and_one_cycle_from_a_twenty_fifth() -> None:
    rates = [rate_at(planned("constant", lr=1.0, warmup=0.3), step, 10) for step in range(10)]
    assert rates == pytest.approx([0.25, 0.5, 0.75] + [1.0] * 7)
    assert rate_at(planned("one_cycle", lr=1.0, warmup=0.3), 0, 10) == pytest.approx(ONE_CYCLE_START)
    assert rate_at(planned("one_cycle", lr=1.0, warmup=0.3), 3, 10) == pytest.approx(1.0)


@given(st.sampled_from(SCHEDULES), st.floats(0, 0.99), st.integers(1, 5000), st.integers(2, 200))
def test_a_drawn_schedule_has_the_first_step_the_last_and_the_peak(
    name: str, warmup: float, steps: int, points: int
) -> None:
    config = planned(name, lr=0.1, warmup=warmup)
    drawn = dict(curve(config, steps, points))
    assert len(drawn) <= points + 1
    assert {0, steps - 1} <= set(drawn)
    assert max(drawn.values()) == max(rate_at(config, step, steps) for step in range(steps))
