"""Charts as SVG: which charts a run has, and drawing of arbitrary curves."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.analysis.curves import MEAN, Points, averaged, smoothed
from app.charts.chart_specs import Chart, Series, charts_of_run, expected_names
from app.charts.svg import AXES, Controls, clock_ticks, draw, spark, ticks, x_label
from app.contract.steps import LARGEST_STEP, SMALLEST_STEP
from app.store.live_change import Mark
from app.store.metric import Curve
from tests.conftest import config


def curve(values: list[float]) -> Curve:
    """A curve with a value at every step."""
    steps = np.arange(len(values), dtype=np.int64)
    return Curve(steps, np.array(values, dtype=float), steps.astype(float))


def test_curves_with_the_same_last_part_share_a_box() -> None:
    charts = charts_of_run(["val/loss", "train/loss", "val/acc", "test/acc", "system/gpu_percent", "train/lr"], 3)
    assert [(chart.group, chart.key, [each.id for each in chart.series]) for chart in charts] == [
        ("Training and validation", "loss", ["train/loss", "val/loss"]),
        ("Training and validation", "acc", ["val/acc"]),
        ("Optimization", "lr", ["train/lr"]),
        ("System", "system/gpu_percent", ["system/gpu_percent"]),
    ]


def test_metrics_besides_the_accuracy_have_charts_of_their_own_with_titles() -> None:
    names = ["val/f1", "val/macro_acc", "val/top5", "val/fine/f1", "test/f1"]
    charts = {chart.key: (chart.group, chart.title, chart.unit) for chart in charts_of_run(names, 1) if chart.series}
    learning = "Training and validation"
    assert charts == {
        "f1": (learning, "F1", "plain"),
        "macro_acc": (learning, "macro accuracy", "percent"),
        "top5": (learning, "top-5 accuracy", "percent"),
        "fine/f1": ("fine", "F1", "plain"),
    }


def test_a_new_run_expects_the_metrics_that_its_dataset_calls_for() -> None:
    assert not {"val/macro_acc", "val/f1", "val/top5"} & set(expected_names(config(), ""))
    several = expected_names(config(dataset="cifar100", targets=["fine", "coarse"]), "")
    assert [name for name in several if name.endswith(("top5", "f1"))] == ["val/fine/top5", "val/coarse/top5"]


def test_each_head_has_charts_of_its_own_and_one_with_all_of_them() -> None:
    names = [f"{stage}/{head}/acc" for stage in ("train", "val") for head in ("digit", "size")]
    charts = charts_of_run([*names, "val/loss", "train/grad_norm", "system/images_per_second"], 1)
    found = {(chart.group, chart.key): [each.label for each in chart.series] for chart in charts}
    assert found == {
        ("Training and validation", "loss"): ["val"],
        ("Training and validation", "acc"): ["val digit", "val size"],
        ("digit", "digit/acc"): ["train", "val"],
        ("size", "size/acc"): ["train", "val"],
        ("Optimization", "lr"): [],
        ("Optimization", "grad_norm"): ["train"],
        ("Throughput", "system/images_per_second"): ["images/s"],
    }


def test_a_plain_loss_has_a_box_beside_that_of_training() -> None:
    charts = charts_of_run(["train/loss", "loss", "lr"], 1)
    found = {chart.key: (chart.group, chart.title, [each.id for each in chart.series]) for chart in charts}
    assert found["loss"] == ("Training and validation", "loss", ["train/loss"])
    assert found["/loss"] == ("Other metrics", "loss", ["loss"])
    assert found["/lr"] == ("Other metrics", "learning rate", ["lr"])
    assert len(found) == len(charts)


def test_custom_metrics_are_grouped_by_their_first_part() -> None:
    charts = charts_of_run(["episode/reward", "episode/length", "reward"], 1)
    assert [(chart.group, chart.key) for chart in charts if chart.series] == [
        ("episode", "episode/length"),
        ("episode", "episode/reward"),
        ("Other metrics", "/reward"),
    ]


def test_validation_has_the_color_of_the_run_and_training_is_gray() -> None:
    loss = charts_of_run(["train/loss", "val/loss"], 3)[0]
    assert [each.css for each in loss.series] == ["train d0", "c3 d0"]


def test_the_first_of_several_heads_has_the_color_of_the_run() -> None:
    accuracy = charts_of_run(["train/acc", "val/class/acc", "val/size/acc"], 8)[1]
    assert [each.css for each in accuracy.series] == ["train d0", "c8 d0", "c1 d0"]


@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=300), st.floats(0.01, 0.99))
def test_an_average_in_blocks_is_the_one_that_is_made_value_by_value(values: list[float], weight: float) -> None:
    total = share = 0.0
    one_by_one = []
    for value in values:
        total, share = total * weight + (1 - weight) * value, share * weight + 1 - weight
        one_by_one.append(total / share)
    found, average = averaged(np.array(values), weight)
    scale = max(abs(value) for value in values)
    assert found.tolist() == pytest.approx(one_by_one, rel=1e-9, abs=1e-9 * scale)
    assert average.weights == pytest.approx(share)


def test_a_long_average_is_carried_from_block_to_block() -> None:
    values = np.random.default_rng(1).normal(size=20_000)
    found, _ = averaged(values, 0.99)
    window = 0.01 * 0.99 ** np.arange(5000)[::-1]
    assert found[-1] == pytest.approx(float(values[-5000:] @ window))


def test_smoothing_is_not_drawn_towards_the_start() -> None:
    assert smoothed(np.array([5.0, 5.0, math.nan, 5.0]), 0.9)[[0, 1, 3]].tolist() == pytest.approx([5.0, 5.0, 5.0])


@given(
    st.lists(st.floats(width=32), max_size=50),
    st.sampled_from(AXES),
    st.booleans(),
    st.floats(0, 0.99),
    st.integers(SMALLEST_STEP, LARGEST_STEP - 49),
    st.integers(1, 2**40),
)
def test_any_curve_has_a_picture(
    values: list[float], axis: str, log: bool, weight: float, first: int, spacing: int
) -> None:
    chart = Chart("loss", "loss", "plain", True, [Series("a", "a", "c1 d0", True)])
    counted = curve(values)
    steps = np.array([min(LARGEST_STEP, first + i * spacing) for i in range(len(values))], np.int64)
    picture = draw(chart, {"a": Points(replace(counted, steps=steps), 10.0)}, Controls(axis, weight, log))
    assert len(picture.x_ticks) <= 12
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


@given(st.floats(0, 4e9), st.floats(1, 1e9))
def test_ticks_of_the_clock_are_round_and_in_sight(low: float, width: float) -> None:
    found = clock_ticks(low, low + width, 6)
    assert len(found) <= 7
    assert all(low <= tick <= low + width for tick in found)
    assert len({tick - before for tick, before in zip(found[1:], found, strict=False)}) <= 1


def test_ticks_of_the_clock_are_times_and_at_midnight_dates() -> None:
    midnight = 1_795_564_800.0
    assert [x_label(each, "clock") for each in clock_ticks(midnight - 3600, midnight + 3600, 5)] == [
        *("23:00", "23:30", "25 Nov", "00:30", "01:00")
    ]
    assert x_label(midnight + 5, "clock") == "00:00:05"


@pytest.mark.parametrize(
    ("first", "spacing", "labels"),
    [
        (0, 200, ["0", "5000", "10k", "15k"]),
        (-19_800, 200, ["−15k", "−10k", "−5000", "0"]),
        (0, 10**16, ["0", "200P", "400P", "600P", "800P"]),
        # Milliseconds and nanoseconds since 1970, in UTC: 100 minutes.
        (1_764_000_000_000, 60_000, ["16:00", "16:30", "17:00", "17:30"]),
        (1_764_000_000_000_000_000, 60_000_000_000, ["16:00", "16:30", "17:00", "17:30"]),
    ],
)
def test_ticks_of_steps_are_short_and_times_where_steps_are_times(first: int, spacing: int, labels: list[str]) -> None:
    chart = Chart("loss", "loss", "plain", True, [Series("a", "a", "c1 d0", False)])
    counted = curve([1.0] * 100)
    steps = first + counted.steps * spacing
    picture = draw(chart, {"a": Points(replace(counted, steps=steps), None)}, Controls())
    assert [tick.label for tick in picture.x_ticks] == labels
    assert all(0 <= float(tick.at.rstrip("%")) <= 100 for tick in picture.x_ticks)


@pytest.mark.parametrize(
    ("value", "distance", "label"),
    [(9999.0, 1.0, "9999"), (12_500.0, 500.0, "12.5k"), (1_000_200_000.0, 1e5, "1.0002G"), (2.5, 0.5, "2.5")],
)
def test_a_step_is_labeled_as_precisely_as_its_neighbors_require(value: float, distance: float, label: str) -> None:
    assert x_label(value, "step", distance) == label


def test_the_mean_of_several_runs_has_no_wall_clock_time() -> None:
    chart = Chart("loss", "loss", "plain", True, [Series("a", "a", "c1 d0", True)])
    picture = draw(chart, {"a": Points(curve([3.0, 2.0, 1.0]), 10.0, MEAN)}, Controls("clock"))
    assert picture.lines == []
    assert picture.points == 3


@pytest.mark.parametrize(("axis", "places"), [(axis, ["25.00%", "100.00%"]) for axis in AXES])
def test_marks_stand_where_the_curve_has_their_step_and_nowhere_else(axis: str, places: list[str]) -> None:
    chart = Chart("loss", "loss", "plain", True, [Series("val/loss", "val", "c1 d0", False)])
    held = Curve(np.array([0, 40], "<u4"), np.array([1.0, 0.5]), np.array([100.0, 140.0]))
    marks = [Mark(1, "note", 10, 110.0, "a"), Mark(2, "best", 40, 140.0, "b"), Mark(3, "note", 41, 141.0, "beyond")]
    found = draw(chart, {"val/loss": Points(held, 10.0, ((100.0, 0.0),))}, Controls(axis, 0.0), marks).marks
    assert [(each.kind, each.at, each.text) for each in found] == [
        ("note", places[0], "a"),
        ("best", places[1], "b"),
    ]


def test_a_crowded_chart_shows_smoothed_curves_alone_and_few_points_of_each() -> None:
    held = Points(curve([math.sin(i / 50) for i in range(5000)]), 10.0)
    found = []
    for many in (12, 13, 50):
        chart = Chart("loss", "loss", "plain", True, [Series(str(i), str(i), "c1 d0", True) for i in range(many)])
        picture = draw(chart, {str(i): held for i in range(many)}, Controls("step", 0.6))
        sizes = {len(line.points.split()) for line in picture.lines}
        found.append((len(picture.lines), {line.faint for line in picture.lines}, max(sizes)))
    assert [(lines, faint) for lines, faint, _ in found] == [(24, {True, False}), (13, {False}), (50, {False})]
    assert [most for *_, most in found] == sorted((most for *_, most in found), reverse=True)
    assert 50 * found[-1][2] <= 6000


@pytest.mark.parametrize(
    ("title", "unit", "values", "top", "bottom"),
    [
        ("disk read, MB/s", "plain", [0.0, 0.0], "0.5", "0"),
        ("disk read, MB/s", "plain", [0.1, 10.0], None, "0"),
        ("CPU, %", "plain", [1.0, 100.0], "100", "0"),
        ("CPU, %", "plain", [50.0, 98.0], "100", None),
        ("val/acc", "percent", [0.2, 1.0], "100%", None),
        ("val/acc", "percent", [0.0, 3.0], None, "0%"),
        ("reward", "plain", [-10.0, 100.0], None, None),
    ],
)
def test_an_axis_goes_neither_below_zero_nor_beyond_all_of_something_if_its_values_do_not(
    title: str, unit: str, values: list[float], top: str | None, bottom: str | None
) -> None:
    chart = Chart("a", title, unit, False, [Series("a", "a", "c1 d0", False)])
    found = draw(chart, {"a": Points(curve(values), 1.0)}, Controls("step", 0.0, False)).y_ticks
    labels = {float(tick.at.removesuffix("%")): tick.label for tick in found}
    assert (labels.get(0.0), labels.get(100.0)) == (top, bottom)
