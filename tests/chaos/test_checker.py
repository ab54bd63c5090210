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


def history() -> History:
    """A launched run, a stopped one, a sweep of two runs, a logged run and one fault."""
    found = History()
    found.reference("mlp", REFERENCE)
    found.launched("a", "mlp")
    found.launched("b", "mlp")
    found.stopped("b")
    found.swept("s", ["mlp", "mlp"])
    found.logged("c", {"loss": LOSSES})
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
    ]
    return Observed({run.id: run for run in runs})


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert check(history(), observed()) == []


@given(st.sampled_from(["a", "s1", "s2", "c"]), st.integers(0, 7))
def test_a_lost_point_is_found_wherever_it_was(run: str, place: int) -> None:
    found = observed()
    name = "loss" if run == "c" else "train/loss"
    found.runs[run].curves[name] = LOSSES[:place] + LOSSES[place + 1 :]
    assert [str(each) for each in check(history(), found)] == [f"lost: step {place + 1} of {name} of run {run}"]


@given(st.sampled_from(["a", "b", "s2", "c"]), st.integers(0, 4))
def test_a_double_point_is_found_wherever_it_was(run: str, place: int) -> None:
    found = observed()
    name = "loss" if run == "c" else "train/loss"
    points = found.runs[run].curves[name]
    found.runs[run].curves[name] = sorted([*points, points[place]])
    assert [str(each) for each in check(history(), found)] == [f"double: step {place + 1} of {name} of run {run}"]


@given(st.sampled_from(["a", "b", "s1", "c"]), st.sampled_from(["queued", "running", "cancelling", "lost"]))
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
        (_lost_curve, "lost: 2 steps from 4 to 8 of val/acc of run a"),
        (_gap_before_a_stop, "lost: step 3 of train/loss of run b"),
        (_last_bit, "wrong: step 3 of train/loss of run a has another value"),
        (_step_too_many, "wrong: step 9 of train/loss of run a is not in its reference"),
        (_strange_curve, "wrong: run a has a curve val/other, which its reference has not"),
        (_failure, "failed: run a: exit code 1"),
        (_stopped_by_nobody, "wrong: run a was cancelled by nobody ()"),
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
