"""The picture of the learning rate: where it begins, turns and ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.routes.launch.lr_preview import draw_rate
from tests.conftest import config


def test_a_cosine_falls_from_the_rate_to_its_end() -> None:
    found = draw_rate(config(schedule="cosine", lr=1e-3, lr_min=1e-5, epochs=20), 1000)
    assert found.summary == "decays from 0.001 to 1e-5"
    points = [tuple(map(float, point.split(","))) for point in found.points.split()]
    assert points[0] == (0, 0)
    assert points[-1] == pytest.approx((1000, 990))
    assert [y for _, y in points] == sorted(y for _, y in points)
    assert [tick.label for tick in found.x_ticks] == ["0", "5", "10", "15", "20"]
    assert found.x_ticks[-1].at == "100.00%"
    assert "0" in [tick.label for tick in found.y_ticks]
    assert found.note == ""


def test_one_cycle_rises_to_its_peak_and_says_so() -> None:
    found = draw_rate(config(schedule="one_cycle", lr=0.1, lr_min=0.0, warmup=0.3), 100)
    assert found.summary == "warms up from 0.004 to 0.1, then decays to 0"
    assert min(float(point.split(",")[1]) for point in found.points.split()) == 0


def test_the_end_is_the_final_learning_rate_unless_the_last_step_is_far_from_it() -> None:
    assert draw_rate(config(schedule="cosine", lr=5e-3, lr_min=1e-6), 195).summary == "decays from 0.005 to 1e-6"
    assert draw_rate(config(schedule="cosine", lr=1e-3, lr_min=0.0), 3000).summary == "decays from 0.001 to 0"
    assert draw_rate(config(schedule="cosine", lr=1e-3, lr_min=0.0), 4).summary == "decays from 0.001 to 0.000146"


def test_a_plateau_is_a_flat_line_that_depends_on_the_validation() -> None:
    found = draw_rate(config(schedule="plateau", plateau_factor=0.5, plateau_patience=3), 100)
    assert found.summary == "constant 0.001"
    assert {point.split(",")[1] for point in found.points.split()} == {"0.0"}
    assert (
        found.note == "The learning rate is multiplied by 0.5 after more than 3 epochs without lower validation loss."
    )
    at_once = draw_rate(config(schedule="plateau", plateau_patience=0), 100)
    assert at_once.note == "The learning rate is multiplied by 0.1 after each epoch without lower validation loss."


def test_a_warm_up_begins_low() -> None:
    assert draw_rate(config(schedule="constant", warmup=0.5), 9).summary == "warms up from 0.0002 to 0.001"


def test_a_run_of_one_step_has_a_line_too() -> None:
    assert draw_rate(config(schedule="constant", epochs=1), 1).points == "0.0,0.0 1000.0,0.0"


@given(
    steps=st.integers(1, 10_000_000),
    epochs=st.integers(1, 100_000),
    lr=st.floats(1e-12, 1000),
    warmup=st.floats(0, 0.999),
    schedule=st.sampled_from(["constant", "plateau", "cosine", "one_cycle"]),
)
def test_any_schedule_stays_inside_its_picture(
    steps: int, epochs: int, lr: float, warmup: float, schedule: str
) -> None:
    found = draw_rate(config(schedule=schedule, lr=lr, lr_min=0.0, warmup=warmup, epochs=epochs), steps)
    for point in found.points.split():
        x, y = map(float, point.split(","))
        assert 0 <= x <= 1000
        assert 0 <= y <= 1000
    for tick in found.x_ticks + found.y_ticks:
        assert -0.01 <= float(tick.at.rstrip("%")) <= 100.01
    assert all(float(tick.label).is_integer() for tick in found.x_ticks)
