"""The checker finds what is planted: a lost point, a double one, a hang and all the rest."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from app.store.curve import Curve
from app.store.database import writing
from app.store.metric import add_points, merge_chunks
from tests.chaos.checker import check
from tests.chaos.history import Curves, History, Points
from tests.chaos.observed import Observed, ObservedRun, read_sqlite
from tests.conftest import Runs

LOSSES: Points = [(step, 1 / step) for step in range(1, 9)]
REFERENCE: Curves = {"train/loss": LOSSES, "val/acc": [(4, 0.5), (8, 0.75)], "train/lr": [(3, 0.1)]}
POOR: Curves = {"train/loss": LOSSES, "val/acc": [(4, 0.5), (8, 0.625)]}
MEDIAN = "pruned at epoch 2: val/acc 62.5% is below the median (75.0%) of 2 other runs"


def history() -> History:
    """Runs that were launched, stopped, continued, swept, pruned and logged, a command, and one fault."""
    found = History()
    found.reference("mlp", REFERENCE)
    found.reference("poor", POOR)
    found.launched("a", "mlp")
    found.launched("b", "mlp")
    found.stopped("b")
    found.swept("s", ["mlp", "mlp"])
    found.swept("p", ["mlp", "mlp", "poor"], prunes=True)
    found.continued("d", "b", "mlp")
    found.unsure("e", "mlp")
    found.launched("e", "mlp")
    found.stopped("e")
    found.logged("c", {"loss": LOSSES})
    found.commanded("x", {"loss": LOSSES})
    found.noted("x", 1, 3)
    found.noted("x", 2, 8)
    found.fault("kill recorder", True, "it died")
    found.calm()
    return found


def observed() -> Observed:
    """What is there if everything went well."""
    begun = {"train/loss": LOSSES[:5], "val/acc": [(4, 0.5)]}
    runs = [
        ObservedRun("a", 1, "succeeded", attempt=2, fence=2, curves=dict(REFERENCE)),
        ObservedRun("b", 2, "cancelled", curves=begun),
        ObservedRun("s1", 3, "succeeded", sweep="s", curves=dict(REFERENCE)),
        ObservedRun("s2", 4, "succeeded", sweep="s", curves=dict(REFERENCE)),
        ObservedRun("c", 5, "succeeded", curves={"loss": LOSSES}),
        ObservedRun("p1", 6, "succeeded", sweep="p", curves=dict(REFERENCE)),
        ObservedRun("p2", 7, "succeeded", sweep="p", curves=dict(REFERENCE)),
        ObservedRun("p3", 8, "cancelled", MEDIAN, sweep="p", curves=dict(POOR)),
        ObservedRun("d", 9, "succeeded", parent="b", parent_step=5, curves=dict(REFERENCE)),
        ObservedRun("e", 10, "cancelled", curves=dict(begun)),
        ObservedRun("f", 11, "succeeded", parent="e", parent_step=0, curves=dict(REFERENCE)),
        ObservedRun(
            "x", 12, "succeeded", attempt=2, fence=2, curves={"attempt 1/loss": LOSSES[:4], "attempt 2/loss": LOSSES}
        ),
    ]
    return Observed({run.id: run for run in runs}, {"s": "finished", "p": "finished"})


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert check(history(), observed()) == []


def curve_of(run: str) -> str:
    return {"c": "loss", "x": "attempt 2/loss"}.get(run, "train/loss")


@given(st.sampled_from(["a", "s1", "s2", "p1", "c", "d", "f", "x"]), st.integers(0, 7))
def test_a_lost_point_is_found_wherever_it_was(run: str, place: int) -> None:
    found = observed()
    name = curve_of(run)
    found.runs[run].curves[name] = LOSSES[:place] + LOSSES[place + 1 :]
    expected = [f"lost: step {place + 1} of {name} of run {run}"]
    expected += ["lost: 1 points of attempt 2/loss of run x, which were on its disk"] if run == "x" else []
    assert [str(each) for each in check(history(), found)] == expected


@given(st.sampled_from(["a", "b", "s2", "p3", "c", "d", "f", "x"]), st.integers(0, 4))
def test_a_double_point_is_found_wherever_it_was(run: str, place: int) -> None:
    found = observed()
    name = curve_of(run)
    points = found.runs[run].curves[name]
    found.runs[run].curves[name] = sorted([*points, points[place]])
    assert [str(each) for each in check(history(), found)] == [f"double: step {place + 1} of {name} of run {run}"]


@given(
    st.sampled_from(["a", "b", "s1", "p2", "c", "d", "f", "x"]),
    st.sampled_from(["queued", "running", "cancelling", "lost"]),
)
def test_a_hang_is_found(run: str, status: str) -> None:
    found = observed()
    found.runs[run].status = status
    assert f"hanging: run {run} is still {status}" in [str(each) for each in check(history(), found)]


def _lost_run(found: Observed) -> None:
    del found.runs["a"]


def _lost_trial(found: Observed) -> None:
    del found.runs["s2"]


def _lost_curve(found: Observed) -> None:
    del found.runs["a"].curves["val/acc"]


def _lost_child(found: Observed) -> None:
    del found.runs["d"]


def _lost_command(found: Observed) -> None:
    del found.runs["x"]


def _lost_sweep(found: Observed) -> None:
    del found.sweeps["s"]


def _gap_before_a_stop(found: Observed) -> None:
    found.runs["b"].curves["train/loss"] = LOSSES[:2] + LOSSES[3:5]


def _last_bit(found: Observed) -> None:
    bits = struct.unpack("<q", struct.pack("<d", LOSSES[2][1]))[0]
    value = struct.unpack("<d", struct.pack("<q", bits + 1))[0]
    found.runs["a"].curves["train/loss"] = [*LOSSES[:2], (3, value), *LOSSES[3:]]


def _step_too_many(found: Observed) -> None:
    found.runs["a"].curves["train/loss"] = [*LOSSES, (9, 0.1)]


def _strange_curve(found: Observed) -> None:
    found.runs["a"].curves["val/other"] = [(1, 0.1)]


def _failure(found: Observed) -> None:
    found.runs["a"] = replace(found.runs["a"], status="failed", reason="exit code 1")


def _stopped_by_nobody(found: Observed) -> None:
    found.runs["a"].status = "cancelled"


def _trial_stopped_by_nobody(found: Observed) -> None:
    found.runs["p1"] = replace(found.runs["p1"], status="cancelled", reason="stop requested")


def _trial_pruned_where_nothing_prunes(found: Observed) -> None:
    found.runs["s1"] = replace(found.runs["s1"], status="cancelled", reason=MEDIAN)


def _best_pruned(found: Observed) -> None:
    found.runs["p1"] = replace(found.runs["p1"], status="cancelled", reason=MEDIAN)


def _equal_pruned(found: Observed) -> None:
    found.runs["p3"].reason = MEDIAN.replace("epoch 2", "epoch 1")


def _pruned_too_early(found: Observed) -> None:
    found.runs["p3"].curves["val/acc"] = [(4, 0.5)]


def _compared_with_too_few(found: Observed) -> None:
    found.runs["p3"].reason = MEDIAN.replace("2 other runs", "1 other run")


def _pruned_run_with_a_gap(found: Observed) -> None:
    found.runs["p3"].curves["train/loss"] = LOSSES[:1] + LOSSES[2:]


def _hanging_sweep(found: Observed) -> None:
    found.sweeps["s"] = "running"


def _stopped_sweep(found: Observed) -> None:
    found.sweeps["p"] = "stopped"


def _swept_twice(found: Observed) -> None:
    found.sweeps["q"] = "finished"


def _continued_twice(found: Observed) -> None:
    found.runs["g"] = replace(found.runs["f"], id="g", number=13)


def _continued_another_time(found: Observed) -> None:
    found.runs["g"] = replace(found.runs["d"], id="g", number=13)


def _continued_another(found: Observed) -> None:
    found.runs["d"].parent = "a"


def _began_anew(found: Observed) -> None:
    found.runs["d"].parent_step = None


def _stopped_child(found: Observed) -> None:
    found.runs["d"].status = "cancelled"


def _failed_command(found: Observed) -> None:
    found.runs["x"] = replace(found.runs["x"], status="failed", reason="exited with status 1")


def _gap_of_an_attempt(found: Observed) -> None:
    found.runs["x"].curves["attempt 1/loss"] = LOSSES[:2] + LOSSES[3:4]


def _noted_points_lost(found: Observed) -> None:
    found.runs["x"].curves["attempt 1/loss"] = LOSSES[:2]


def _points_of_no_attempt(found: Observed) -> None:
    found.runs["x"].curves["attempt 3/loss"] = LOSSES[:2]


def _attempt_that_is_not_counted(found: Observed) -> None:
    found.runs["x"] = replace(found.runs["x"], attempt=1, fence=1, curves={"attempt 1/loss": LOSSES})


def _launched_twice(found: Observed) -> None:
    found.runs["z"] = ObservedRun("z", 9, "succeeded", curves=dict(REFERENCE))


def _trained_twice(found: Observed) -> None:
    found.runs["a"].fence = 3


def _too_many_attempts(found: Observed) -> None:
    found.runs["a"] = replace(found.runs["a"], attempt=3, fence=3)


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        (_lost_run, "lost: run a was launched, and is not there"),
        (_lost_trial, "lost: sweep s has 1 of 2 runs"),
        (_lost_child, "lost: run d was launched, and is not there"),
        (_lost_command, "lost: command x was launched, and is not there"),
        (_lost_sweep, "lost: sweep s is missing, not finished"),
        (_lost_curve, "lost: 2 steps from 4 to 8 of val/acc of run a"),
        (_gap_before_a_stop, "lost: step 3 of train/loss of run b"),
        (_last_bit, "wrong: step 3 of train/loss of run a has another value"),
        (_step_too_many, "wrong: step 9 of train/loss of run a is not in its reference"),
        (_strange_curve, "wrong: run a has a curve val/other, which its reference has not"),
        (_failure, "failed: run a: exit code 1"),
        (_stopped_by_nobody, "wrong: run a was cancelled by nobody ()"),
        (_trial_stopped_by_nobody, "wrong: run p1 of a sweep was cancelled by nobody (stop requested)"),
        (_trial_pruned_where_nothing_prunes, f"wrong: run s1 was cancelled by nobody ({MEDIAN})"),
        (_best_pruned, "wrong: run p1 was pruned at epoch 2, although it is as good as the others"),
        (_equal_pruned, "wrong: run p3 was pruned at epoch 1, although it is as good as the others"),
        (_pruned_too_early, "wrong: run p3 was pruned at epoch 2, which it has not reached"),
        (_compared_with_too_few, "wrong: run p3 was pruned after a comparison with 1 of 2 runs"),
        (_pruned_run_with_a_gap, "lost: step 2 of train/loss of run p3"),
        (_hanging_sweep, "hanging: sweep s is running, not finished"),
        (_stopped_sweep, "wrong: sweep p is stopped, not finished"),
        (_swept_twice, "double: sweep q was acknowledged to nobody"),
        (_continued_twice, "double: 2 runs continue run e after one request"),
        (_continued_another_time, "double: run g (succeeded) was acknowledged to nobody"),
        (_continued_another, "wrong: run d continues a, not run b"),
        (_began_anew, "wrong: run d began from the start, not where run b ended"),
        (_stopped_child, "wrong: run d was cancelled by nobody ()"),
        (_failed_command, "failed: command x: exited with status 1"),
        (_gap_of_an_attempt, "lost: step 3 of attempt 1/loss of run x"),
        (_noted_points_lost, "lost: 1 points of attempt 1/loss of run x, which were on its disk"),
        (_points_of_no_attempt, "wrong: run x has a curve attempt 3/loss, which none of its attempts logged"),
        (_attempt_that_is_not_counted, "wrong: attempt 2 of run x was started, but is not counted"),
        (_launched_twice, "double: run z (succeeded) was acknowledged to nobody"),
        (_trained_twice, "double: run a was granted 3 times for 2 attempts"),
        (_too_many_attempts, "double: run a had 3 attempts, with 1 faults in all"),
    ],
)
def test_each_other_thing_that_is_wrong_is_found(plant: Callable[[Observed], None], expected: str) -> None:
    found = observed()
    plant(found)
    assert [str(each) for each in check(history(), found)] == [expected]


def test_a_request_without_an_answer_is_found() -> None:
    found = history()
    found.unanswered("POST /runs")
    assert [str(each) for each in check(found, observed())] == ["unanswered: POST /runs"]


# The reading of the database, with Runyard's own tables ---------------------------------------------------------------


@pytest.fixture
def written(engine: Engine, runs: Runs) -> Path:
    """An SQLite database with a run of 300 points in merged chunks and new ones."""
    if engine.dialect.name != "sqlite":
        pytest.skip("it looks at the file of SQLite")
    run = runs.add()
    for first in range(0, 300, 10):
        with writing(engine) as connection:
            steps = np.arange(first, first + 10)
            add_points(connection, run, "loss", Curve(steps, steps / np.float64(7), steps * np.float64(1)), first + 1)
            if first == 200:
                merge_chunks(connection, run, first + 1, ended=True)
    path = engine.url.database
    assert path is not None
    return Path(path)


def test_every_point_is_read_from_chunks_of_any_kind(written: Path) -> None:
    found = read_sqlite(written)
    assert found.damage == []
    [run] = found.runs.values()
    assert run.curves == {"loss": [(step, step / 7) for step in range(300)]}


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM metric_chunk WHERE id = (SELECT max(id) FROM metric_chunk)",
        "UPDATE metric_chunk SET point_values = substr(point_values, 2)",
        "UPDATE metric_series SET last = 0.5",
        "UPDATE metric_series SET points = points + 1",
        "DELETE FROM run",
        "DELETE FROM metric_series",
    ],
)
def test_a_database_that_contradicts_itself_is_found(written: Path, damage: str) -> None:
    with closing(sqlite3.connect(written)) as connection:
        connection.execute(damage)
        connection.commit()
    assert read_sqlite(written).damage
