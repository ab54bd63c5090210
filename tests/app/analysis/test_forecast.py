"""Forecasts from the closest successful runs, and their leave-one-out check."""

from __future__ import annotations

import numpy as np
import pytest

from app.analysis.forecast import FEWEST, NEAREST, SHARE, forecast

EPOCHS = 20


def curves(n: int, noise: float, seed: int = 1) -> list[np.ndarray]:
    """Runs that rise to different final values, which their early values predict."""
    random = np.random.default_rng(seed)
    ends = random.uniform(0.7, 0.95, n)
    shape = 1 - np.exp(-np.arange(1, EPOCHS + 1) / 4)
    return [end * shape + random.normal(0, noise, EPOCHS) for end in ends]


def test_too_few_finished_runs_give_no_forecast() -> None:
    found = curves(FEWEST, 0.0)
    assert forecast(found[0][:5], found[1:], EPOCHS) is None
    assert forecast(found[0][:5], [*found[1:], found[1]], EPOCHS) is not None


@pytest.mark.parametrize("own", [[], [0.5, np.nan], [0.1] * EPOCHS])
def test_there_is_none_before_the_first_epoch_nor_after_the_last_nor_of_what_is_not_finite(own: list[float]) -> None:
    assert forecast(np.array(own), curves(30, 0.01), EPOCHS) is None


def test_it_is_near_where_such_runs_end() -> None:
    found = curves(40, 0.002)
    told = forecast(found[0][:8], found[1:], EPOCHS)
    assert told is not None
    assert told.value == pytest.approx(found[0][-1], abs=0.03)
    assert told.low < told.value < told.high
    assert (told.epoch, told.epochs, told.runs) == (8, EPOCHS, 39)


def test_how_often_it_was_right_is_counted_without_the_run_that_is_asked_about() -> None:
    found = curves(24, 0.02, seed=3)
    table = np.array([each[:6] for each in found])
    last = np.array([each[-1] for each in found])

    def error(run: int, others: list[int]) -> float:
        apart = np.abs(table[others, 3:] - table[run, 3:]).mean(1)
        near = [others[i] for i in np.argsort(apart, kind="stable")[:NEAREST]]
        return float(last[run] - table[run, -1] - np.median(last[near] - table[near, -1]))

    right = 0
    for run in range(24):
        others = [each for each in range(24) if each != run]
        errors = sorted(abs(error(each, [one for one in others if one != each])) for each in others)
        right += abs(error(run, others)) <= errors[int(np.ceil(24 * SHARE)) - 1]
    told = forecast(np.array([0.3, 0.4, 0.5, 0.55, 0.6, 0.63]), found, EPOCHS)
    assert told is not None
    assert told.covered == right


def test_its_interval_holds_about_as_often_as_it_says() -> None:
    found = curves(200, 0.02, seed=5)
    held = 0
    for run in range(60, 200):
        told = forecast(found[run][:8], found[:60], EPOCHS)
        assert told is not None
        held += told.low <= found[run][-1] <= told.high
    assert 0.7 < held / 140 < 0.92


def test_a_run_that_stopped_early_ended_where_it_stopped() -> None:
    short = [each[:12] for each in curves(30, 0.0)]
    told = forecast(short[0][:8], short, EPOCHS)
    assert told is not None
    assert told.value == pytest.approx(short[0][-1], abs=0.02)
