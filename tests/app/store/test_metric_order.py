"""Points may come at any 64-bit steps in any order: curves, figures and cuts are those of points sorted by step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.contract.steps import LARGEST_STEP, SMALLEST_STEP
from app.store import lineage, metric
from app.store.database import next_commit, reading, writing
from app.store.metric import Curve, read_curves, read_since
from tests.app.store.curves import STEPS, VALUES, in_any_order, part, same, sorted_by_step
from tests.app.store.test_metric import empty, everything, figures, merge, summary
from tests.conftest import Runs


@pytest.fixture
def run(runs: Runs) -> str:
    return runs.add()


@st.composite
def chunked(draw: st.DrawFn) -> tuple[Curve, list[int], list[bool]]:
    """Points in the order in which they come, the sizes of their chunks, and which of them are followed by a merge."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=25))
    total = sum(sizes)
    steps = draw(st.lists(STEPS, min_size=total, max_size=total))
    values = draw(st.lists(VALUES, min_size=total, max_size=total))
    return in_any_order(steps, values), sizes, draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))


def write(runs: Runs, run: str, made: tuple[Curve, list[int], list[bool]], name: str = "train/loss") -> int:
    whole, sizes, merges = made
    commit = at = 0
    with writing(runs.engine) as connection:
        empty(connection, run)
        for size, merging in zip(sizes, merges, strict=True):
            commit = next_commit(connection)
            metric.add_points(connection, run, name, part(whole, at, at + size), commit)
            at += size
            if merging:
                merge(connection, run, commit)
    return commit


@pytest.mark.parametrize("name", ["val/acc", "train/loss"])
@given(made=chunked(), ended=st.booleans())
def test_a_curve_and_its_figures_are_those_of_its_points_sorted_by_step(
    runs: Runs, run: str, small_fan: None, name: str, made: tuple[Curve, list[int], list[bool]], ended: bool
) -> None:
    commit = write(runs, run, made, name)
    if ended:
        with writing(runs.engine) as connection:
            while metric.merge_chunks(connection, run, commit, ended):
                pass
    expected = sorted_by_step(made[0])
    with reading(runs.engine) as connection:
        assert same(everything(connection, run, name), expected)
        assert summary(connection, run, name) == figures(expected, larger=name == "val/acc")


@given(made=chunked(), ends=st.tuples(STEPS, STEPS))
def test_a_part_is_what_lies_between_two_steps(
    runs: Runs, run: str, small_fan: None, made: tuple[Curve, list[int], list[bool]], ends: tuple[int, int]
) -> None:
    write(runs, run, made)
    low, high = sorted(ends)
    whole = sorted_by_step(made[0])
    inside = (whole.steps >= low) & (whole.steps <= high)
    with reading(runs.engine) as connection:
        found = read_curves(connection, run, ["train/loss"], 0, (low, high)).get("train/loss")
        reduced = read_curves(connection, run, ["train/loss"], 4, (low, high)).get("train/loss")
    if not inside.any():
        assert found is None
        assert reduced is None
        return
    assert found is not None
    assert same(found, Curve(whole.steps[inside], whole.values[inside], whole.times[inside]))
    assert reduced is not None
    assert len(reduced.steps) <= 4
    kept = set(zip(reduced.steps.tolist(), reduced.times.tolist(), strict=True))
    assert kept <= set(zip(found.steps.tolist(), found.times.tolist(), strict=True))


@given(made=chunked(), step=STEPS)
def test_an_attempt_that_goes_on_from_a_step_drops_the_points_after_it(
    runs: Runs, run: str, small_fan: None, made: tuple[Curve, list[int], list[bool]], step: int
) -> None:
    commit = write(runs, run, made)
    whole = sorted_by_step(made[0])
    kept = part(whole, 0, int(np.searchsorted(whole.steps, step, side="right")))
    with writing(runs.engine) as connection:
        assert metric.cut_after(connection, run, step, commit + 1) == (len(kept.steps) < len(whole.steps))
        found = read_curves(connection, run, ["train/loss"], 0).get("train/loss")
        if not len(kept.steps):
            assert found is None
            return
        assert found is not None
        assert same(found, kept)
        assert summary(connection, run) == figures(kept)


@hypothesis_settings(max_examples=10)
@given(made=chunked(), step=STEPS)
def test_a_fork_has_the_points_up_to_its_step(
    runs: Runs, run: str, small_fan: None, made: tuple[Curve, list[int], list[bool]], step: int
) -> None:
    commit = write(runs, run, made)
    child = runs.add()
    whole = sorted_by_step(made[0])
    kept = part(whole, 0, int(np.searchsorted(whole.steps, step, side="right")))
    with writing(runs.engine) as connection:
        lineage.copy_points(connection, run, child, step, commit + 1)
        found = read_curves(connection, child, ["train/loss"], 0).get("train/loss")
    assert (found is None) == (len(kept.steps) == 0)
    assert found is None or same(found, kept)


def test_the_extremes_of_overlapping_chunks_are_seen_from_far_away(runs: Runs, run: str) -> None:
    n = 64_000
    order = np.random.default_rng(1).permutation(n)
    values = np.sin(np.arange(n) / 100)
    values[[31_337, 50_001]] = 99.0, -99.0
    steps = np.arange(n) * 1000 + 1_764_000_000_000
    came = Curve(steps[order], values[order], np.array(1000.0 + order, np.float64))
    with writing(runs.engine) as connection:
        for begin in range(0, n, 500):
            metric.add_points(connection, run, "train/loss", part(came, begin, begin + 500), next_commit(connection))
        merge(connection, run, next_commit(connection) + metric.MERGE_AFTER_COMMITS)
        far = read_curves(connection, run, points=100)["train/loss"]
        near = read_curves(connection, run, None, 100, (int(steps[50_000]), int(steps[50_010])))["train/loss"]
    assert len(far.steps) <= 100
    assert (np.diff(far.steps) > 0).all()
    seen = dict(zip(far.steps.tolist(), far.values.tolist(), strict=True))
    assert seen[int(steps[31_337])] == 99.0
    assert seen[int(steps[50_001])] == -99.0
    assert near.steps.tolist() == steps[50_000:50_011].tolist()
    assert near.values.min() == -99.0


def test_what_a_viewer_lacks_is_sorted_by_step(runs: Runs, run: str) -> None:
    with writing(runs.engine) as connection:
        before = next_commit(connection)
        for steps in ([5, 7], [-2, 7], [LARGEST_STEP, SMALLEST_STEP]):
            metric.add_points(connection, run, "a", in_any_order(steps, [0.0, 1.0]), next_commit(connection))
        since = read_since(connection, run, before)
    assert since is not None
    assert since["a"].steps.tolist() == [SMALLEST_STEP, -2, 5, 7, 7, LARGEST_STEP]


def test_small_steps_take_four_bytes_in_the_database_and_others_eight(runs: Runs, run: str) -> None:
    with writing(runs.engine) as connection:
        commit = next_commit(connection)
        metric.add_points(connection, run, "small", in_any_order([0, 2**32 - 1], [0.0, 1.0]), commit)
        metric.add_points(connection, run, "large", in_any_order([-1, 2**32], [0.0, 1.0]), commit)
    assert runs.sql(
        "SELECT s.name, length(c.steps) FROM metric_chunk c JOIN metric_series s ON s.id = c.series ORDER BY s.name"
    ) == [("large", 16), ("small", 8)]
