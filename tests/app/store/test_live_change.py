"""Which live changes related runs inherit, and how changes affect the number of epochs."""

from __future__ import annotations

from typing import Any

from app.contract.events import Changed
from app.store import live_change
from app.store.database import writing
from tests.conftest import Runs

NOW = 1_700_000_000.0


def settled(runs: Runs, run: str, kind: str, value: Any, step: int, epochs: int = 10) -> int:
    with writing(runs.engine) as connection:
        made = live_change.add(connection, run, kind, value, "API", NOW)
        said = Changed(id=made, outcome="applied", step=step, epochs=epochs)
        assert live_change.settle(connection, run, said, 1, NOW)
        assert not live_change.settle(connection, run, said.model_copy(update={"step": 99}), 1, NOW)
    return made


def of(runs: Runs, run: str) -> list[tuple[str, str, int | None, bool]]:
    with writing(runs.engine) as connection:
        return [
            (each.kind, each.state, each.step, each.inherited) for each in live_change.list_changes(connection, run)
        ]


def test_the_last_change_of_its_epochs_says_when_a_run_ends(runs: Runs) -> None:
    run = runs.add()

    def course() -> tuple[int, int]:
        with writing(runs.engine) as connection:
            return live_change.epoch_plan(live_change.list_changes(connection, run), 10)

    assert course() == (10, 10)
    settled(runs, run, "stop_after_epoch", None, 30, 3)
    assert course() == (3, 10)
    settled(runs, run, "epochs", 20, 35, 20)
    assert course() == (20, 20)
    with writing(runs.engine) as connection:
        live_change.add(connection, run, "epochs", 5, "API", NOW)
    assert course() == (20, 20), "what waits has made nothing"


def test_a_run_that_goes_on_from_a_step_shows_what_was_changed_up_to_there_and_tells_no_trainer(runs: Runs) -> None:
    parent, child = runs.add(), runs.add()
    settled(runs, parent, "lr_factor", 0.5, 20)
    settled(runs, parent, "note", "here", 30)
    settled(runs, parent, "lr_factor", 0.5, 40)
    with writing(runs.engine) as connection:
        live_change.inherit(connection, parent, child, 30, 2, True)
        assert live_change.changes_for_attempt(connection, child) == []
        assert [(each.kind, each.step) for each in live_change.list_marks(connection, child)] == [
            ("change", 20),
            ("note", 30),
        ]
    assert of(runs, child) == [("lr_factor", "applied", 20, True), ("note", "applied", 30, True)]


def test_a_rerun_is_changed_at_the_same_steps_from_where_it_begins(runs: Runs) -> None:
    grandparent, run, whole, begun = (runs.add() for _ in range(4))
    settled(runs, grandparent, "lr_factor", 0.5, 20)
    with writing(runs.engine) as connection:
        live_change.inherit(connection, grandparent, run, 30, 2, True)
    settled(runs, run, "epochs", 4, 50, 4)
    settled(runs, run, "note", "not training", 60)
    with writing(runs.engine) as connection:
        live_change.repeat(connection, run, whole, from_checkpoint=False)
        live_change.repeat(connection, run, begun, from_checkpoint=True)
        live_change.inherit(connection, run, begun, 30, 3, False)
        (planned,) = live_change.changes_for_attempt(connection, begun)
    assert (planned.step, planned.epochs, planned.applied) == (50, 4, False)
    assert of(runs, whole) == [("lr_factor", "waiting", 20, False), ("epochs", "waiting", 50, False)]
    assert of(runs, begun) == [("epochs", "waiting", 50, False), ("lr_factor", "applied", 20, True)]


def test_warnings_are_marked_once_each_and_not_without_end(runs: Runs) -> None:
    run = runs.add()
    runs.set(run, progress='{"step": 7}')
    with writing(runs.engine) as connection:
        assert live_change.warn(connection, run, "slow\nvery slow", 1, NOW)
        assert not live_change.warn(connection, run, "slow", 2, NOW)
        assert not live_change.warn(connection, run, "  ", 2, NOW)
        heard = sum(live_change.warn(connection, run, f"warning {i}", 3, NOW) for i in range(100))
        marks = live_change.list_marks(connection, run)
        assert next(each.text for each in live_change.list_marks(connection, run, after_commit=1)) == "warning 0"
    assert heard == live_change.MAX_WARNINGS - 1
    assert (marks[0].kind, marks[0].step, marks[0].text) == ("warning", 7, "slow")


def test_a_best_that_moves_stays_the_same_mark_and_is_told_of_again(runs: Runs) -> None:
    run, other = runs.add(), runs.add()
    with writing(runs.engine) as connection:
        live_change.mark(connection, other, "best", 5, "of another run", 1, NOW)
        live_change.mark(connection, run, "best", 10, "best so far, epoch 1", 1, NOW)
        (first,) = live_change.list_marks(connection, run)
        live_change.mark(connection, run, "best", 20, "best so far, epoch 2", 2, NOW + 1)
        (moved,) = live_change.list_marks(connection, run, after_commit=1)
        assert [each.step for each in live_change.list_marks(connection, other)] == [5]
    assert (moved.id, moved.step, moved.time, moved.text) == (first.id, 20, NOW + 1, "best so far, epoch 2")
