"""Curves as SVG: which charts there are, and that nothing in a curve can break its picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.charts import Chart, Series, charts_of_run
from app.drawing import Controls, Points, draw, smoothed, spark, ticks
from app.store.metric import Curve


def curve(values: list[float]) -> Curve:
    """A curve with a value at every step."""
    steps = np.arange(len(values), dtype=np.uint32)
    return Curve(steps, np.array(values, dtype=float), steps.astype(float))


def test_curves_with_the_same_last_part_share_a_box() -> None:
    charts = charts_of_run(["val/digit/acc", "train/loss", "val/loss", "test/acc", "system/gpu_percent", "train/lr"], 3)
    assert [(chart.key, [each.id for each in chart.series]) for chart in charts] == [
        ("loss", ["train/loss", "val/loss"]),
        ("acc", ["val/digit/acc"]),
        ("lr", ["train/lr"]),
        ("system/gpu_percent", ["system/gpu_percent"]),
    ]


def test_validation_has_the_colour_of_the_run_and_training_is_grey() -> None:
    loss = charts_of_run(["train/loss", "val/loss"], 3)[0]
    assert [each.css for each in loss.series] == ["train d0", "c3 d0"]


def test_the_first_of_several_heads_has_the_colour_of_the_run() -> None:
    accuracy = charts_of_run(["train/acc", "val/class/acc", "val/size/acc"], 8)[1]
    assert [each.css for each in accuracy.series] == ["train d0", "c8 d0", "c1 d0"]


def test_smoothing_is_not_drawn_towards_the_start() -> None:
    assert smoothed(np.array([5.0, 5.0, math.nan, 5.0]), 0.9)[[0, 1, 3]].tolist() == pytest.approx([5.0, 5.0, 5.0])


@given(
    st.lists(st.floats(width=32), max_size=50),
    st.sampled_from(["step", "epoch", "time"]),
    st.booleans(),
    st.floats(0, 0.99),
)
def test_any_curve_has_a_picture(values: list[float], axis: str, log: bool, weight: float) -> None:
    chart = Chart("loss", "loss", "plain", True, [Series("a", "a", "c1 d0", True)])
    picture = draw(chart, {"a": Points(curve(values), 10.0, None)}, Controls(axis, weight, log))
    for line in picture.lines:
        for pair in line.points.split():
            x, y = map(float, pair.split(","))
            assert -1 <= x <= 1001
            assert math.isfinite(y)
    assert spark(curve(values)) is not None


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_round_and_in_sight(low: float, width: float) -> None:
    found = ticks(low, low + width, 5)
    assert len(found) <= 12
    # Far from zero, what a float can tell apart is coarser than a millionth of a narrow window.
    slack = width * 1e-6 + 4 * math.ulp(abs(low) + width)
    assert all(low - slack <= tick <= low + width + slack for tick in found)
