from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.contract.events import Checkpoint
from app.store import lineage
from app.store.curve import Curve
from app.store.database import next_commit, reading, writing
from app.store.metric import add_points, merge_chunks, read_curves, read_summaries
from app.store.run import Origin, insert_run
from tests.conftest import config

if TYPE_CHECKING:
    from tests.conftest import Runs

NOW = 1_700_000_000.0


def child(runs: Runs, parent: str, relation: str = "resume", step: int | None = None) -> str:
    with writing(runs.engine) as connection:
        return insert_run(connection, config(), {}, None, NOW, origin=Origin(parent, relation, step))


# Curves --------------------------------------------------------------------------------------------------------------


def curve_of(steps: Any, values: Any) -> Curve:
    """Points with times derived from their steps."""
    return Curve(steps, values.astype(np.float64), NOW + steps.astype(np.float64))


def with_curves(runs: Runs, merged: bool) -> str:
    """A run of 100 steps, validated every ten steps and tested at its end, in chunks of seven points."""
    run = runs.add()
    with writing(runs.engine) as connection:
        commit = next_commit(connection)
        for first in range(1, 101, 7):
            steps = np.arange(first, min(first + 7, 101), dtype=np.int64)
            add_points(connection, run, "train/loss", curve_of(steps, 100.0 / steps), commit)
        steps = np.arange(10, 101, 10, dtype=np.int64)
        add_points(connection, run, "val/acc", curve_of(steps, steps / 100), commit)
        add_points(connection, run, "test/acc", curve_of(steps[-1:], np.array([0.9])), commit)
        if merged:
            assert merge_chunks(connection, run, commit, ended=True)
    return run


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("step", [0, 1, 7, 50, 55, 99, 100])
def test_a_new_run_has_its_parent_s_curves_up_to_where_it_goes_on(runs: Runs, merged: bool, step: int) -> None:
    parent = with_curves(runs, merged)
    run = child(runs, parent, step=step)
    with writing(runs.engine) as connection:
        lineage.copy_points(connection, parent, run, step, next_commit(connection))
    with reading(runs.engine) as connection:
        before, mine = read_curves(connection, parent, None, 0), read_curves(connection, run, None, 0)
        figures = read_summaries(connection, [run])[run]
    assert set(mine) == {name for name in ("train/loss", "val/acc") if before[name].steps[0] <= step}
    for name, curve in mine.items():
        there = before[name].steps <= step
        assert curve.steps.tolist() == before[name].steps[there].tolist()
        assert curve.values.tolist() == before[name].values[there].tolist()
        assert curve.times.tolist() == before[name].times[there].tolist()
        assert figures[name].points == there.sum()
        assert figures[name].last == curve.values[-1]
        assert figures[name].best == (curve.values.max() if name == "val/acc" else curve.values.min())
    assert len(before["train/loss"].steps) == 100


def test_the_copy_outlives_the_parent_and_the_child_s_own_points_follow_it(runs: Runs) -> None:
    parent = with_curves(runs, merged=True)
    run = child(runs, parent, step=50)
    with writing(runs.engine) as connection:
        commit = next_commit(connection)
        lineage.copy_points(connection, parent, run, 50, commit)
        add_points(
            connection, run, "train/loss", Curve(np.array([51], "<u4"), np.array([7.0]), np.array([NOW])), commit
        )
    runs.set(parent, status="cancelled")
    with writing(runs.engine) as connection:
        connection.exec_driver_sql(f"DELETE FROM run WHERE id = '{parent}'")
    with reading(runs.engine) as connection:
        assert read_curves(connection, run, None, 0)["train/loss"].steps.tolist() == list(range(1, 52))


def test_what_was_tested_is_forgotten_and_nothing_else(runs: Runs) -> None:
    run = with_curves(runs, merged=False)
    with writing(runs.engine) as connection:
        assert lineage.delete_test_metrics(connection, run)
        assert not lineage.delete_test_metrics(connection, run)
    with reading(runs.engine) as connection:
        assert set(read_curves(connection, run, None, 0)) == {"train/loss", "val/acc"}


# Checkpoints and captures --------------------------------------------------------------------------------------------


def test_kept_checkpoints_are_told_by_step_and_a_newer_one_takes_the_place_of_the_older(runs: Runs) -> None:
    run = runs.add()
    with writing(runs.engine) as connection:
        for path, epoch, step, within in (("b", 4, 40, 0), ("a", 2, 20, 0), ("c", 2, 25, 5), ("new", 4, 40, 0)):
            said = Checkpoint(path=path, epoch=epoch, step=step, within=within, kept=True)
            lineage.save_checkpoint(connection, run, said)
    with reading(runs.engine) as connection:
        found = lineage.saved_checkpoints(connection, run)
        assert lineage.saved_checkpoints(connection, runs.add()) == []
    assert [(each.path, each.epoch, each.step, bool(each.within)) for each in found] == [
        ("a", 2, 20, False),
        ("c", 2, 25, True),
        ("new", 4, 40, False),
    ]


def test_a_capture_is_that_of_the_newest_attempt(runs: Runs) -> None:
    run = runs.add()
    with writing(runs.engine) as connection:
        lineage.save_capture(connection, run, {"command": "first"})
        lineage.save_capture(connection, run, {"command": "second", "figure": float("nan")})
    with reading(runs.engine) as connection:
        assert lineage.read_capture(connection, run) == {"command": "second", "figure": None}
        assert lineage.read_capture(connection, runs.add()) == {}


def test_a_batch_size_that_was_found_is_the_run_s_from_then_on(runs: Runs) -> None:
    run = runs.add(find_batch=True)
    with writing(runs.engine) as connection:
        lineage.set_batch_size(connection, run, 640)
    found = runs.get(run)
    assert (found.batch_size, found.config.batch_size, found.config.find_batch) == (640, 640, True)


# The family ----------------------------------------------------------------------------------------------------------


def test_a_family_is_every_ancestor_and_every_descendant_and_no_sibling(runs: Runs) -> None:
    first = runs.add()
    second = child(runs, first, "resume", 12)
    sibling = child(runs, first, "retry")
    third = child(runs, second, "fork", 30)
    fourth = child(runs, third, "verify")
    runs.add()
    with reading(runs.engine) as connection:
        found = lineage.family(connection, third)
        assert [each.id for each in lineage.family(connection, first)] == [first, second, sibling, third, fourth]
    assert [(each.id, each.parent, each.relation, each.parent_step) for each in found] == [
        (first, None, "", None),
        (second, first, "resume", 12),
        (third, second, "fork", 30),
        (fourth, third, "verify", None),
    ]
    assert [each.step for each in found] == [0, 12, 30, 0]
    assert sibling not in [each.id for each in found]


def test_a_parent_in_the_trash_is_marked_and_one_that_is_gone_is_left_out(runs: Runs) -> None:
    parent = runs.add()
    run = child(runs, parent)
    runs.set(parent, deleted_at=NOW)
    with reading(runs.engine) as connection:
        assert [(each.id, each.deleted) for each in lineage.family(connection, run)] == [(parent, True), (run, False)]
    with writing(runs.engine) as connection:
        connection.exec_driver_sql(f"DELETE FROM run WHERE id = '{parent}'")
    with reading(runs.engine) as connection:
        assert [(each.id, each.parent) for each in lineage.family(connection, run)] == [(run, parent)]


def test_of_a_run_s_reruns_the_newest_counts(runs: Runs) -> None:
    run = runs.add()
    with reading(runs.engine) as connection:
        assert lineage.newest_rerun(connection, run) is None
    child(runs, run, "verify")
    newest = child(runs, run, "verify")
    child(runs, run, "retry")
    with reading(runs.engine) as connection:
        assert lineage.newest_rerun(connection, run) == newest
