"""The runs of a sweep over fields of a program: each value is one that a single launch would accept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.program import ProgramCall
from app.contract.program_sweep import ProgramSweepRequest
from app.contract.program_values import check_values, command_of
from app.contract.spec import SpecError
from app.sweeps.script_trials import ProgramTrials
from app.sweeps.search import Trial, propose
from tests.app.sweeps.test_trials import run
from tests.signed_program import program

LR = {"low": 1e-4, "high": 0.1, "log": True}
SEEDLESS: dict[str, Any] = {"command": ["train", "--depth", "{depth}"], "fields": [{"name": "depth", "type": "int"}]}


def trials(values: dict[str, Any] | None = None, changes: dict[str, Any] | None = None, **sweep: Any) -> ProgramTrials:
    """A sweep over a program."""
    request = ProgramSweepRequest.model_validate({"values": values or {}, "sweep": sweep})
    return ProgramTrials(request.sweep, request.template(program(**changes or {})))


def chosen(found: ProgramTrials) -> list[dict[str, Any]]:
    return [each.values for each in found.expand()]


def test_a_grid_has_every_combination_in_the_types_of_the_fields() -> None:
    found = trials({"epochs": 5}, grid={"lr": ["0.1", 0.5, "1e-1"], "augment": ["true", False]})
    assert chosen(found) == [
        {"lr": lr, "augment": augment, "seed": 0} for lr in (0.1, 0.5) for augment in (True, False)
    ]
    stepped = trials(space={"epochs": {"low": 1, "high": 9, "step": 4}})
    assert [type(each["epochs"]) for each in chosen(stepped)] == [int, int, int]


def test_seeds_begin_at_the_value_of_the_field_and_every_configuration_comes_once_before_any_repeats() -> None:
    found = trials({"seed": 7}, grid={"optimizer": ["sgd", "adamw"]}, seeds=2)
    assert chosen(found) == [{"optimizer": name, "seed": seed} for seed in (7, 8) for name in ("sgd", "adamw")]
    assert chosen(trials(changes=SEEDLESS, grid={"depth": [2, 3]})) == [{"depth": 2}, {"depth": 3}]


def test_draws_are_different_and_no_more_than_there_are() -> None:
    assert len({each["lr"] for each in chosen(trials(space={"lr": LR}, method="random", draws=5))}) == 5
    both = trials(grid={"optimizer": ["sgd", "adamw"]}, method="random", draws=900)
    assert sorted(each["optimizer"] for each in chosen(both)) == ["adamw", "sgd"]


@pytest.mark.parametrize(
    ("values", "sweep", "errors"),
    [
        ({}, {"grid": {"lr": [0.1, 2]}}, {"lr": "lr must be at most 1, not 2.0"}),
        ({}, {"grid": {"lr": [0.1, "x; id"]}}, {"lr": "lr must be a number, not 'x; id'"}),
        ({}, {"grid": {"lr": [[1]]}}, {"lr": "lr must be a number"}),
        ({}, {"grid": {"lr": []}}, {"lr": "lr has no values"}),
        ({}, {"grid": {"optimizer": ["sgd", "--config=x"]}}, {"optimizer": "must be one of sgd, adamw"}),
        ({}, {"space": {"lr": {"low": 0, "high": 3}}, "method": "random"}, {"lr": "lr must be at most 1, not 3.0"}),
        ({}, {"space": {"lr": {"low": -1, "high": 1}}, "method": "tpe"}, {"lr": "lr must be at least 0"}),
        ({}, {"space": {"lr": LR}}, {"lr": "a grid needs discrete values for lr"}),
        ({}, {"space": {"epochs": {"low": 1.5, "high": 3}}, "method": "tpe"}, {"epochs": "must be whole numbers"}),
        ({}, {"space": {"augment": {"low": 0, "high": 1}}, "method": "tpe"}, {"augment": "augment is a bool; list"}),
        ({}, {"grid": {"note": ["a", "b"]}}, {"note": "note is a text and cannot have several values"}),
        ({}, {"grid": {"data": ["a", "b"]}}, {"data": "fields that can: lr, epochs, optimizer, augment"}),
        ({}, {"grid": {"depth": [1]}}, {"depth": "has no field 'depth'; fields that can vary: lr, epochs"}),
        ({}, {"grid": {"seed": [1, 2]}}, {"seed": "set seeds to the number of runs"}),
        ({"lr": 0.5}, {"grid": {"lr": [0.1]}}, {"lr": "lr is in both values and sweep"}),
        ({}, {"grid": {"lr": [0.1]}, "space": {"lr": LR}, "method": "tpe"}, {"lr": "lr is in both grid and space"}),
        ({"note": "a\nb"}, {"space": {"lr": LR}, "method": "tpe"}, {"note": "note must be one line"}),
        ({"seed": "x"}, {"grid": {"lr": [0.1]}}, {"seed": "seed must be a whole number"}),
        ({"seed": 2**53}, {"grid": {"lr": [0.1]}, "seeds": 2}, {"seeds": "that is not so large"}),
        ({}, {"method": "tpe"}, {"method": "method tpe needs at least one field with several values"}),
        ({}, {"grid": {"lr": [n / 1000 for n in range(600)]}, "seeds": 2}, {"sweep": "would have 1,200 runs"}),
        ({"data": "/etc"}, {"grid": {"lr": [0.1, 7]}}, {"lr": "at most 1"}),
    ],
)
def test_what_does_not_fit_is_refused_by_field(
    values: dict[str, Any], sweep: dict[str, Any], errors: dict[str, str]
) -> None:
    with pytest.raises(SpecError) as refused:
        trials(values, **sweep).expand()
    found = {error.field: error.message for error in refused.value.errors}
    assert found.keys() == errors.keys()
    assert all(sentence in found[field] for field, sentence in errors.items()), found


def test_a_program_without_a_seed_takes_one_and_an_end_that_begins_an_argument_with_a_dash_is_refused() -> None:
    for sweep, sentence in (
        ({"grid": {"depth": [1, 2]}, "seeds": 2}, "has no field 'seed' for whole numbers"),
        ({"space": {"depth": {"low": -2, "high": 2}}, "method": "random"}, "would begin an argument with '-'"),
    ):
        with pytest.raises(SpecError, match=sentence):
            trials(changes=SEEDLESS, **sweep).expand()


numbers = st.floats(0, 1, allow_nan=False)
spaces = st.fixed_dictionaries(
    {},
    optional={
        "lr": st.tuples(numbers, numbers).map(lambda ends: {"low": min(ends), "high": max(ends)}),
        "epochs": st.tuples(st.integers(1, 50), st.integers(0, 9), st.sampled_from([None, 1, 3])).map(
            lambda given: {"low": given[0], "high": given[0] + given[1], "step": given[2]}
        ),
        "optimizer": st.lists(st.sampled_from(["sgd", "adamw"]), min_size=1).map(lambda names: {"choice": names}),
        "augment": st.lists(st.sampled_from(["true", False]), min_size=1).map(lambda values: {"choice": values}),
    },
).filter(bool)


@given(spaces, st.integers(1, 3))
def test_whatever_is_drawn_or_proposed_is_accepted_as_a_single_launch(space: dict[str, Any], seeds: int) -> None:
    found = trials(space=space, method="random", draws=4, seeds=seeds)
    drawn = found.expand()
    assert len({str(each.values) for each in drawn}) == len(drawn)
    proposed = propose(found.space, [Trial(each.values, 0.5) for each in drawn], "maximize", 1, 3)
    for values in (*(each.values for each in drawn), found.plan(proposed).values):
        complete = check_values(found.template.program, values)
        # Nothing is rounded or read differently by the worker.
        assert values.items() <= complete.items()
        assert [type(complete[name]) for name in values] == [type(value) for value in values.values()]
        assert command_of(ProgramCall(program=found.template.program, values=complete)).argv


def test_only_what_is_missing_is_added_to_an_extended_sweep() -> None:
    found = trials(grid={"lr": [0.1, "0.5"]}, seeds=2)
    added = found.missing([run(1, lr=0.1, seed=0), run(2, lr=0.5, seed=0), run(3, lr=0.1, seed=1)])
    assert [each.values for each in added] == [{"lr": 0.5, "seed": 1}]
    search = trials(space={"lr": LR}, method="tpe", seeds=2)
    assert [each.values for each in search.missing([run(1, lr=0.01, seed=0)])] == [{"lr": 0.01, "seed": 1}]
