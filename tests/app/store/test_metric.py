"""Every added point can be read however its chunks were merged, and summaries agree with numpy."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from app.store import metric
from app.store.database import next_commit, reading, writing
from app.store.metric import Curve, read_curves, read_one_curve_per_run, read_since, read_summaries
from tests.app.store.curves import VALUES, curve, in_any_order, part, same
from tests.conftest import Runs


def add(runs: Runs, run: str, *parts: Curve, name: str = "train/loss") -> int:
    """Add each part in a separate commit; returns the last one."""
    commit = 0
    for each in parts:
        with writing(runs.engine) as connection:
            commit = next_commit(connection)
            metric.add_points(connection, run, name, each, commit)
    return commit


def merge(connection: Connection, run: str, commit: int) -> None:
    while metric.merge_chunks(connection, run, commit):
        pass


def everything(connection: Connection, run: str, name: str = "train/loss") -> Curve:
    return read_curves(connection, run, [name], 0)[name]


def empty(connection: Connection, run: str) -> None:
    connection.execute(text("DELETE FROM metric_chunk"))
    connection.execute(text("DELETE FROM metric_series WHERE run = :run"), {"run": run})


@pytest.fixture
def run(runs: Runs) -> str:
    return runs.add()


@st.composite
def chunked(draw: st.DrawFn) -> tuple[Curve, list[int], list[bool]]:
    """A curve, the sizes of its chunks, and which of them are followed by a merge."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=45))
    total = sum(sizes)
    values = draw(st.lists(VALUES, min_size=total, max_size=total))
    gaps = draw(st.lists(st.integers(0, 3), min_size=total, max_size=total))
    merges = draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    return in_any_order(np.cumsum(gaps).tolist(), values), sizes, merges


@hypothesis_settings(max_examples=40)
@given(made=chunked())
def test_every_point_comes_back_in_order_however_it_was_chunked_and_merged(
    runs: Runs, run: str, small_fan: None, made: tuple[Curve, list[int], list[bool]]
) -> None:
    whole, sizes, merges = made
    with writing(runs.engine) as connection:
        empty(connection, run)
        at = 0
        for size, merging in zip(sizes, merges, strict=True):
            commit = next_commit(connection)
            metric.add_points(connection, run, "train/loss", part(whole, at, at + size), commit)
            at += size
            if merging:
                merge(connection, run, commit)
            assert same(everything(connection, run), part(whole, 0, at))
        merge(connection, run, next_commit(connection) + 10)
        assert same(everything(connection, run), whole)
        kept = connection.execute(text("SELECT count(*), max(tier) FROM metric_chunk")).one()
        assert kept[0] < 15
        expected = figures(whole)
        assert summary(connection, run) == expected


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=60),
    large=st.sampled_from([8, 20, 2**17]),
    ended=st.booleans(),
)
def test_chunks_grow_to_a_size_and_those_of_an_ended_run_are_as_few_as_that_allows(
    runs: Runs, run: str, small_fan: None, monkeypatch: pytest.MonkeyPatch, sizes: list[int], large: int, ended: bool
) -> None:
    monkeypatch.setattr(metric, "LARGE", large)
    whole = curve(np.sin(np.arange(sum(sizes))))
    with writing(runs.engine) as connection:
        empty(connection, run)
        at = 0
        for size in sizes:
            commit = next_commit(connection)
            metric.add_points(connection, run, "train/loss", part(whole, at, at + size), commit)
            at += size
        while metric.merge_chunks(connection, run, commit if ended else commit + 10, ended):
            pass
        assert same(everything(connection, run), whole)
        chunks = connection.execute(text("SELECT tier, points, length(level_steps) FROM metric_chunk")).all()
        assert all(points <= max(large, *sizes) for _, points, _ in chunks)
        assert all(level > 0 for tier, _, level in chunks if tier)
        if ended and large > sum(sizes):
            assert len(chunks) == 1
        # Only a few chunks of each tier remain unmerged.
        assert sum(tier < metric.TOP for tier, *_ in chunks) < metric.TOP * (2 if ended else metric.FAN)


def test_points_that_share_a_step_stay_in_the_order_in_which_they_came(runs: Runs, run: str, small_fan: None) -> None:
    whole = curve(np.arange(60.0), steps=np.full(60, 7))
    with writing(runs.engine) as connection:
        for at in range(0, 60, 2):
            commit = next_commit(connection)
            metric.add_points(connection, run, "train/loss", part(whole, at, at + 2), commit)
            merge(connection, run, commit)
            assert same(everything(connection, run), part(whole, 0, at + 2))


def figures(whole: Curve, larger: bool = False) -> dict[str, Any]:
    finite = np.isfinite(whole.values)
    good, steps = whole.values[finite], whole.steps[finite]
    last = float(whole.values[-1])
    found: dict[str, Any] = {
        "points": len(whole.steps),
        "last": last if math.isfinite(last) else None,
        "last_step": int(whole.steps[-1]),
        "first_step": int(whole.steps[0]),
        "not_finite": int((~finite).sum()),
        "min": None,
        "max": None,
        "best": None,
        "best_step": 0,
    }
    if len(good):
        best = int(good.argmax() if larger else good.argmin())
        found |= {"min": good.min(), "max": good.max(), "best": good[best], "best_step": int(steps[best])}
    return found


def summary(connection: Connection, run: str, name: str = "train/loss") -> dict[str, Any]:
    return read_summaries(connection, [run])[run][name]._asdict()


@given(parts=st.lists(st.lists(VALUES, min_size=1, max_size=8), min_size=1, max_size=5))
@pytest.mark.parametrize("name", ["val/acc", "train/loss"])
def test_the_figures_of_a_curve_are_those_of_numpy(runs: Runs, run: str, name: str, parts: list[list[float]]) -> None:
    whole = curve([value for each in parts for value in each])
    with writing(runs.engine) as connection:
        empty(connection, run)
        at = 0
        for each in parts:
            metric.add_points(connection, run, name, part(whole, at, at + len(each)), next_commit(connection))
            at += len(each)
        assert summary(connection, run, name) == figures(whole, larger=name == "val/acc")


@given(
    batches=st.lists(
        st.dictionaries(
            st.tuples(st.integers(0, 1), st.sampled_from(["val/acc", "train/loss", "train/lr"])),
            st.lists(VALUES, max_size=5),
            max_size=6,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_curves_that_are_added_together_are_those_that_are_added_one_by_one(
    runs: Runs, run: str, batches: list[dict[tuple[int, str], list[float]]]
) -> None:
    together, apart = [run, runs.add()], [runs.add(), runs.add()]
    with writing(runs.engine) as connection:
        for each in together:
            empty(connection, each)
        at: dict[tuple[int, str], int] = {}
        for batch in batches:
            parts = {key: curve(values, at.get(key, 0)) for key, values in batch.items()}
            at |= {key: at.get(key, 0) + len(values) for key, values in batch.items()}
            commit = next_commit(connection)
            metric.add_curves(connection, {(together[i], name): part for (i, name), part in parts.items()}, commit)
            for (i, name), part in parts.items():
                metric.add_points(connection, apart[i], name, part, commit)
        for one, other in zip(together, apart, strict=True):
            found, expected = read_curves(connection, one, points=0), read_curves(connection, other, points=0)
            assert list(found) == list(expected)
            assert all(same(found[name], expected[name]) for name in found)
            assert read_summaries(connection, [one])[one] == read_summaries(connection, [other])[other]


def test_adding_nothing_makes_no_curve(runs: Runs, run: str) -> None:
    add(runs, run, curve([]))
    with reading(runs.engine) as connection:
        assert read_curves(connection, run) == {}
        assert read_summaries(connection, [run]) == {run: {}}
        assert read_summaries(connection, []) == {}


def test_a_spike_in_a_long_curve_is_seen_from_far_away(runs: Runs, run: str) -> None:
    values = np.sin(np.arange(64_000) / 100)
    values[31_337], values[50_001] = 99.0, -99.0
    whole = curve(values)
    with writing(runs.engine) as connection:
        for begin in range(0, 64_000, 500):
            piece = part(whole, begin, begin + 500)
            metric.add_points(connection, run, "train/loss", piece, next_commit(connection))
        newest = next_commit(connection) + metric.MERGE_AFTER_COMMITS
        merge(connection, run, newest)
        # Unmerged points are included as well.
        metric.add_points(connection, run, "train/loss", curve([7.0, 55.0], first=64_000), newest)
        tiers = set(connection.execute(text("SELECT tier FROM metric_chunk")).scalars())
        statement = "UPDATE metric_chunk SET steps = :none, point_values = :none, times = :none WHERE tier > 0"
        connection.execute(text(statement), {"none": b""})
        far = read_curves(connection, run, points=100)["train/loss"]
    assert tiers == {0, 1}
    assert len(far.steps) <= 100
    shown = dict(zip(far.steps.tolist(), far.values.tolist(), strict=True))
    assert shown[31_337] == 99.0
    assert shown[50_001] == -99.0
    assert shown[64_001] == 55.0
    assert all(time == 1000 + step for step, time in zip(far.steps.tolist(), far.times.tolist(), strict=True))


@given(
    cuts=st.lists(st.integers(1, 399), max_size=6, unique=True).map(sorted),
    first=st.integers(-5, 420),
    last=st.integers(-5, 420),
    merged=st.booleans(),
)
def test_a_part_of_a_curve_is_what_lies_between_two_steps_however_it_was_chunked(
    runs: Runs, small_fan: None, cuts: list[int], first: int, last: int, merged: bool
) -> None:
    run = runs.add()
    whole = curve(np.sin(np.arange(400)))
    commit = add(runs, run, *(part(whole, *ends) for ends in pairwise([0, *cuts, 400])))
    if merged:
        with writing(runs.engine) as connection:
            merge(connection, run, commit + 1000)
    with reading(runs.engine) as connection:
        found = read_curves(connection, run, ["train/loss"], 0, (first, last)).get("train/loss")
    there = (whole.steps >= first) & (whole.steps <= last)
    if not there.any():
        assert found is None
    else:
        assert found is not None
        assert same(found, Curve(whole.steps[there], whole.values[there], whole.times[there]))


def test_the_nearer_one_looks_at_a_long_curve_the_more_of_its_points_are_seen(runs: Runs, run: str) -> None:
    values = np.zeros(300_000)
    values[[150_000, 150_003]] = 5, -7
    add(runs, run, *(part(curve(values), at, at + 10_000) for at in range(0, 300_000, 10_000)))
    with writing(runs.engine) as connection:
        while metric.merge_chunks(connection, run, 10**6, ended=True):
            pass
    with reading(runs.engine) as connection:
        far = read_curves(connection, run, None, 200)["train/loss"]
        near = read_curves(connection, run, None, 200, (149_950, 150_049))["train/loss"]
        middle = read_curves(connection, run, None, 200, (100_000, 200_000))["train/loss"]
    assert len(far.steps) <= 200
    assert near.steps.tolist() == list(range(149_950, 150_050))
    for seen in (far, middle, near):
        assert {5.0, -7.0} <= set(seen.values.tolist())


def test_only_the_curves_asked_for_are_read(runs: Runs, run: str) -> None:
    for name in ("a/x", "b/x", "c/x"):
        add(runs, run, curve([1.0]), name=name)
    with reading(runs.engine) as connection:
        assert list(read_curves(connection, run)) == ["a/x", "b/x", "c/x"]
        assert list(read_curves(connection, run, ["c/x", "a/x", "z/x"])) == ["a/x", "c/x"]


def test_one_curve_of_each_of_many_runs_is_what_each_alone_would_give(runs: Runs, small_fan: None) -> None:
    names = {}
    for i, length in enumerate((1, 3, 40, 200, 400)):
        run = runs.add()
        names[run] = ("val/acc", "val/digit/acc")[i % 2]
        for name in ("val/acc", "val/digit/acc", "val/loss"):
            whole = curve(np.sin(np.arange(length) * (i + 1.0)))
            commit = add(runs, run, *(part(whole, at, at + 7) for at in range(0, length, 7)), name=name)
        with writing(runs.engine) as connection:
            merge(connection, run, commit)
    without = runs.add()
    add(runs, without, curve([1.0]), name="val/loss")
    with reading(runs.engine) as connection:
        for points in (2, 4, 1000):
            found = read_one_curve_per_run(connection, names | {without: "val/acc", "r_none": "val/acc"}, points)
            assert found.keys() == names.keys()
            for run, name in names.items():
                assert same(found[run], read_curves(connection, run, [name], points)[name])
        assert read_one_curve_per_run(connection, {}, 10) == {}


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=20), step=st.integers(0, 60), merging=st.booleans())
def test_an_attempt_that_goes_on_from_a_step_drops_the_points_after_it(
    runs: Runs, run: str, small_fan: None, sizes: list[int], step: int, merging: bool
) -> None:
    whole = curve(np.cos(np.arange(sum(sizes)) * 7.0))
    with writing(runs.engine) as connection:
        empty(connection, run)
        at = 0
        for size in sizes:
            metric.add_points(connection, run, "train/loss", part(whole, at, at + size), next_commit(connection))
            at += size
        commit = next_commit(connection)
        if merging:
            merge(connection, run, commit + 10)
        assert metric.cut_after(connection, run, step, commit) == (len(whole.steps) - 1 > step)
        kept = part(whole, 0, step + 1)
        assert same(everything(connection, run), kept)
        assert summary(connection, run) == figures(kept)
        # The next attempt reports them again.
        again = curve(np.arange(30.0), first=len(kept.steps))
        metric.add_points(connection, run, "train/loss", again, next_commit(connection))
        merge(connection, run, commit + 10)
        joined = everything(connection, run)
        assert joined.steps.tolist() == list(range(len(kept.steps) + 30))
        assert joined.values[len(kept.steps) :].tolist() == list(range(30))


def test_a_curve_that_began_after_the_checkpoint_is_gone(runs: Runs, run: str) -> None:
    add(runs, run, curve([1, 2, 3]), name="a/x")
    add(runs, run, curve([1.0], first=90), name="b/x")
    with writing(runs.engine) as connection:
        assert metric.cut_after(connection, run, 50, next_commit(connection))
        assert list(read_curves(connection, run)) == ["a/x"]
        assert list(read_summaries(connection, [run])[run]) == ["a/x"]


def test_what_came_after_any_commit_is_known_exactly(runs: Runs, run: str) -> None:
    whole = curve(np.arange(60.0))
    commits = [add(runs, run, part(whole, begin, begin + 5)) for begin in range(0, 60, 5)]
    with reading(runs.engine) as connection:
        for i, commit in enumerate(commits):
            found = read_since(connection, run, commit)
            assert found is not None
            if i == len(commits) - 1:
                assert found == {}
            else:
                assert same(found["train/loss"], part(whole, 5 * (i + 1)))
        assert read_since(connection, "r_none", 0) == {}


def test_after_a_merge_older_commits_are_unknown_and_newer_ones_exact(runs: Runs, run: str, small_fan: None) -> None:
    whole = curve(np.arange(24.0))
    commits = [add(runs, run, part(whole, begin, begin + 4)) for begin in range(0, 24, 4)]
    with writing(runs.engine) as connection:
        merge(connection, run, commits[-1])
        for i, commit in enumerate(commits):
            found = read_since(connection, run, commit)
            if i < 2:
                assert found is None
            else:
                assert found is not None
                rest = part(whole, 4 * (i + 1))
                assert found == {} if i == 5 else same(found["train/loss"], rest)


def test_a_merge_leaves_the_newest_commits_to_those_who_watch(runs: Runs, run: str) -> None:
    parts = [curve([float(i)], first=i) for i in range(metric.FAN + 5)]
    last = add(runs, run, *parts)
    with writing(runs.engine) as connection:
        assert metric.merge_chunks(connection, run, last) == 0
        assert metric.merge_chunks(connection, run, last + metric.MERGE_AFTER_COMMITS) == 1


def test_after_points_were_dropped_older_commits_are_unknown(runs: Runs, run: str) -> None:
    before = add(runs, run, curve([1.0, 2, 3]))
    with writing(runs.engine) as connection:
        cut = next_commit(connection)
        metric.cut_after(connection, run, 0, cut)
        assert read_since(connection, run, before) is None
        assert read_since(connection, run, cut) == {}
