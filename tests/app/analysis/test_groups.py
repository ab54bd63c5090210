"""Groups of runs of the same variant: titles, mean curves, intervals and ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.analysis.curves import Points, smoothed
from app.analysis.groups import (
    BUCKETS,
    differing_settings,
    group_runs,
    grouping_fields,
    mean_curve,
    settings_varying_within,
    short_titles,
    standings,
    with_distinct_names,
)
from app.analysis.statistics import mean_of
from app.contract.steps import LARGEST_STEP, SMALLEST_STEP
from app.store.database import reading
from app.store.metric import Curve
from app.store.search.query import runs_by_id
from app.web.run_summary import RunSummary, summarize_run
from tests.conftest import Runs


def shown(runs: Runs, *said: dict[str, Any]) -> list[RunSummary]:
    ids = [runs.add(**each) for each in said]
    with reading(runs.engine) as connection:
        return [summarize_run(row) for row in runs_by_id(connection, ids)]


def points(steps: list[int], values: list[float], per_epoch: float = 10.0, started: float = 100.0) -> Points:
    times = np.array(steps, dtype=float) + started
    return Points(
        Curve(np.array(steps, dtype=np.int64), np.array(values, dtype=float), times), per_epoch, ((started, 0.0),)
    )


def test_runs_that_differ_in_their_seed_alone_are_one_group_and_are_named_by_what_differs(runs: Runs) -> None:
    found = shown(runs, {"seed": 1}, {"seed": 2}, {"seed": 1, "lr": 0.5}, {"seed": 1, "family": "vit", "size": "tiny"})
    fields = grouping_fields("", found)
    assert fields is not None
    groups = group_runs(found, fields)
    assert [len(group.runs) for group in groups] == [2, 1, 1]
    assert groups[1].title.endswith("lr 0.5")
    assert groups[2].title.startswith("vit tiny")
    assert [group.number for group in groups] == [1, 3, 4]


FOUR: dict[str, Any] = {"epochs": 3, "cutmix": 1.0, "erasing": 0.25, "ema_decay": 0.99}


def test_a_title_names_all_differing_settings_if_they_are_few(runs: Runs) -> None:
    found = shown(runs, {"label_smoothing": 0.1, "mixup": 0.2, "seed": 1}, {"seed": 2})
    assert [each.suffix for each in with_distinct_names(found)] == [
        "label smoothing 0.1 · mixup 0.2",
        "label smoothing 0 · mixup 0",
    ]
    groups = group_runs(found, grouping_fields("variant", found) or ())
    assert groups[0].title == "simple_mlp base · label smoothing 0.1 · mixup 0.2"
    assert differing_settings(found[:1], found[1:]) == ["label_smoothing", "mixup"]


def test_a_title_names_the_most_telling_of_many_differing_settings_and_counts_the_others(runs: Runs) -> None:
    found = shown(runs, FOUR, {"epochs": 2})
    assert [each.suffix for each in with_distinct_names(found)] == [
        "epochs 3 · erasing 0.25 + 2 more",
        "epochs 2 · erasing 0 + 2 more",
    ]
    # A third run differs from the second by its learning rate alone, which has to be named as well.
    found = shown(runs, FOUR, {"epochs": 2}, {"epochs": 2, "lr": 0.5}, {"epochs": 2, "lr": 0.5, "seed": 7})
    assert [each.suffix for each in with_distinct_names(found)][1:] == [
        "epochs 2 · lr 0.001 + 3 more",
        "epochs 2 · lr 0.5 + 3 more · seed 1",
        "epochs 2 · lr 0.5 + 3 more · seed 7",
    ]


def test_settings_that_vary_within_a_group_do_not_tell_it_from_another(runs: Runs) -> None:
    found = shown(runs, {"lr": 0.1, "mixup": 0.2}, {"lr": 0.3, "mixup": 0.2}, {"lr": 0.1, "epochs": 3})
    assert differing_settings(found[:2], found[2:]) == ["epochs", "mixup"]


@pytest.mark.parametrize(
    ("titles", "short"),
    [
        (["#1 vit tiny · digits · lr 0.1", "#2 vit tiny · digits · lr 0.2"], ["#1 lr 0.1", "#2 lr 0.2"]),
        (["vit tiny · lr 0.1 · mixup 0", "vit tiny · lr 0.1 · mixup 1"], ["mixup 0", "mixup 1"]),
        (["vit tiny · digits", "simple_cnn tiny · digits"], ["vit tiny · digits", "simple_cnn tiny · digits"]),
        (["#1 vit tiny · digits", "#2 vit tiny · digits"], ["#1 vit tiny · digits", "#2 vit tiny · digits"]),
        (["#1 vit tiny", "#2 vit tiny · lr 0.1"], ["#1 vit tiny", "#2 vit tiny · lr 0.1"]),
        (["vit tiny · digits"], ["vit tiny · digits"]),
        ([], []),
    ],
)
def test_a_legend_leaves_out_what_all_titles_share_first(titles: list[str], short: list[str]) -> None:
    assert short_titles(titles) == short


def test_nothing_is_grouped_unasked_where_no_variant_has_several_seeds(runs: Runs) -> None:
    found = shown(runs, {"seed": 1}, {"seed": 1}, {"seed": 2, "lr": 0.5})
    assert grouping_fields("", found) is None
    assert grouping_fields("none", found) is None
    assert len(group_runs(found, grouping_fields("variant", found) or ())) == 2


def test_runs_are_grouped_by_any_setting_and_a_wrong_one_is_answered_with_those_that_exist(runs: Runs) -> None:
    found = shown(runs, {"lr": 0.1}, {"lr": 0.2}, {"lr": 0.1, "batch_size": 32})
    groups = group_runs(found, grouping_fields("lr", found) or ())
    assert [(group.title, len(group.runs)) for group in groups] == [("lr 0.1", 2), ("lr 0.2", 1)]
    with pytest.raises(ValueError, match="cannot group by 'color'; choices: none, variant, family"):
        grouping_fields("color", found)


def test_a_short_curve_s_mean_is_that_of_each_step_with_student_s_interval() -> None:
    found = mean_curve([points([10, 20], [0.5, 0.7]), points([10, 20, 30], [0.7, 0.8, 0.9])])
    assert found is not None
    held, band = found, found.band
    assert band is not None
    assert held.curve.steps.tolist() == [10, 20, 30]
    assert held.curve.values == pytest.approx([0.6, 0.75, 0.9])
    assert band.high[0] - held.curve.values[0] == pytest.approx(mean_of([0.5, 0.7]).half)
    assert np.isnan(band.low[2])
    assert np.isnan(band.high[2])
    assert held.curve.times.tolist() == [10, 20, 30]


def test_the_mean_of_curves_at_the_ends_of_64_bits_has_steps_of_64_bits() -> None:
    found = mean_curve([points([SMALLEST_STEP, 0, LARGEST_STEP], [1.0, 2.0, 3.0])] * 2)
    assert found is not None
    assert found.curve.steps.tolist() == [SMALLEST_STEP, 0, 2**63 - 1024]
    assert found.curve.values.tolist() == [1, 2, 3]


def test_a_long_curve_is_averaged_over_intervals() -> None:
    steps = list(range(1, 30_001))
    found = mean_curve([points(steps, [float(i % 2) for i in steps]), points(steps, [1 + float(i % 2) for i in steps])])
    assert found is not None
    held = found
    assert len(held.curve.steps) == BUCKETS
    assert held.curve.values == pytest.approx(np.full(BUCKETS, 1.0), abs=0.02)


def test_runs_with_different_batch_sizes_are_aligned_by_epoch() -> None:
    found = mean_curve([points([10, 20], [0.2, 0.4], 10.0), points([5, 10], [0.4, 0.8], 5.0)])
    assert found is not None
    assert found.curve.steps.tolist() == [10, 20]
    assert found.curve.values == pytest.approx([0.3, 0.6])


def test_an_interval_of_shares_ends_at_0_and_1_and_one_of_other_figures_does_not() -> None:
    curves = [points([1, 2], [0.9, 0.1]), points([1, 2], [1.0, 0.0])]
    for share, scale, ends in ((True, 1.0, (1.0, 0.0)), (False, 1.0, None), (True, 100.0, None)):
        held = [points([1, 2], [scale * float(value) for value in each.curve.values]) for each in curves]
        mean = mean_curve(held, share=share)
        assert mean is not None
        assert mean.band is not None
        outer = (float(mean.band.high[0]), float(mean.band.low[1]))
        assert outer == ends if ends else outer[0] > scale and outer[1] < 0


def test_what_is_not_finite_is_in_no_mean() -> None:
    found = mean_curve([points([1, 2], [np.nan, 0.5]), points([1, 2], [0.1, np.inf])])
    assert found is not None
    assert found.curve.values == pytest.approx([0.1, 0.5])
    assert mean_curve([points([1], [np.nan])]) is None


@given(
    values=st.integers(2, 5).flatmap(
        lambda runs: st.lists(st.lists(st.floats(-1, 1), min_size=runs, max_size=runs), min_size=1, max_size=40)
    ),
    weight=st.floats(0.05, 0.95),
)
def test_a_smoothed_mean_is_that_of_smoothed_runs_which_is_also_the_mean_smoothed(
    values: list[list[float]], weight: float
) -> None:
    """Smoothing the mean equals the mean of smoothed runs; the interval is that of the smoothed runs."""
    table = np.array(values).T
    steps = list(range(1, table.shape[1] + 1))
    found = mean_curve([points(steps, run.tolist()) for run in table], weight)
    assert found is not None
    assert found.smooth is not None
    assert found.smooth.band is not None
    assert found.smooth.curve.values == pytest.approx(smoothed(found.curve.values, weight), abs=1e-9)
    last = [float(smoothed(run, weight)[-1]) for run in table]
    half = (found.smooth.band.high - found.smooth.band.low)[-1] / 2
    assert half == pytest.approx(mean_of(last).half, abs=1e-9)
    assert found.coarse


def test_a_mean_that_is_not_of_noisy_curves_is_smoothed_nowhere() -> None:
    found = mean_curve([points([1, 2], [0.1, 0.5]), points([1, 2], [0.3, 0.7])])
    assert found is not None
    assert found.smooth is None
    assert not found.coarse


def test_the_best_group_has_the_best_mean_and_others_have_a_gap_to_it(runs: Runs) -> None:
    found = shown(runs, *({"lr": lr, "seed": seed} for lr in (0.1, 0.2, 0.3) for seed in (1, 2)))
    values = dict(zip((each.run.id for each in found), (0.90, 0.92, 0.80, 0.82, 0.5, 0.7), strict=True))
    groups = group_runs(found, grouping_fields("variant", found) or ())
    best, second, third = standings(groups, lambda each: values[each.run.id])
    assert best.best
    assert best.to_best is None
    assert second.to_best is not None
    assert third.to_best is not None
    assert second.to_best.gap.difference == pytest.approx(0.1)
    assert second.to_best.p is not None
    assert second.to_best.gap.welch is not None
    assert second.to_best.p >= second.to_best.gap.welch
    smallest = standings(groups, lambda each: values[each.run.id], better=-1)
    assert [each.best for each in smallest] == [False, False, True]


def test_what_differs_within_a_group_is_named_and_the_seed_with_it(runs: Runs) -> None:
    found = shown(runs, {"seed": 1}, {"seed": 1, "epochs": 9}, {"lr": 0.5}, {"family": "vit", "size": "tiny"})
    assert settings_varying_within(group_runs(found, ("family",))) == {"epochs", "lr", "seed"}
    assert settings_varying_within(group_runs(found[:2], ("epochs",))) == set()


def test_a_repeated_training_is_one_sample_and_the_newest_succeeded_run_counts(runs: Runs) -> None:
    said: list[dict[str, Any]] = [{"seed": 1}, {"seed": 1}, {"seed": 2}, {"seed": 1, "device": "cpu"}, {"seed": 2}]
    ids = [runs.add(**each) for each in said]
    for run in ids[:4]:
        runs.finish(run)
    with reading(runs.engine) as connection:
        found = [summarize_run(row) for row in runs_by_id(connection, ids)]
    (group,) = group_runs(found, grouping_fields("variant", found) or ())
    assert [each.number for each in group.samples] == [3, 4]
    assert group.values(lambda each: float(each.number)) == [3.0, 4.0]
    # Other settings make another training, also where they are not what is grouped by.
    whole = group_runs(shown(runs, {"seed": 1, "lr": 0.1}, {"seed": 1, "lr": 0.2}), ())
    assert len(whole[0].samples) == 2
