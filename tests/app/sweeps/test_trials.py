"""The runs of a sweep over a signed command: which ones there are, and that each is one that was signed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.command_sweep import CommandSweepRequest
from app.contract.spec import SpecError
from app.store.sweep import SweepRun
from app.sweeps.script_trials import CommandTrials
from app.sweeps.search import Trial, propose

LR = {"low": 1e-4, "high": 0.1, "log": True}
SEED = {"low": 0, "high": 9, "whole": True}


def trials(placeholders: dict[str, Any], **sweep: Any) -> CommandTrials:
    """A sweep over a command that has these placeholders."""
    argv = ["train", *(f"--{name}={{{name}}}" for name in placeholders)]
    command = {"argv": argv, "folder": "/", "url": "http://localhost", "placeholders": placeholders}
    request = CommandSweepRequest.model_validate({"command": command, "sweep": sweep})
    return CommandTrials(request.spec, request.template)


def chosen(found: CommandTrials) -> list[dict[str, Any]]:
    return [each.values for each in found.expand()]


def test_a_grid_is_every_combination_in_the_order_of_the_placeholders() -> None:
    found = trials({"opt": {"choice": ["adam", "sgd"]}, "drop": {"low": 0.0, "high": 0.2, "step": 0.1}})
    assert chosen(found) == [{"opt": opt, "drop": drop} for opt in ("adam", "sgd") for drop in (0.0, 0.1, 0.2)]


def test_every_configuration_comes_once_before_any_repeats_with_another_seed() -> None:
    found = trials({"opt": {"choice": ["adam", "sgd"]}, "seed": SEED}, seeds=2)
    assert chosen(found) == [{"opt": opt, "seed": seed} for seed in (1, 2) for opt in ("adam", "sgd")]
    assert chosen(trials({"seed": SEED}, seeds=3)) == [{"seed": seed} for seed in (1, 2, 3)]


def test_random_draws_are_different_and_the_first_ones_of_more() -> None:
    few = chosen(trials({"lr": LR}, method="random", draws=5))
    assert chosen(trials({"lr": LR}, method="random", draws=9))[:5] == few
    assert len({each["lr"] for each in few}) == 5
    both = trials({"opt": {"choice": ["adam", "sgd"]}}, method="random", draws=9)
    assert sorted(each["opt"] for each in chosen(both)) == ["adam", "sgd"]


@pytest.mark.parametrize(
    ("placeholders", "sweep", "field", "sentence"),
    [
        ({"lr": LR}, {}, "lr", "a grid needs discrete values for lr"),
        ({"opt": {"choice": [1, 2]}}, {"seeds": 2}, "seeds", "several seeds need a placeholder {seed}"),
        ({"seed": SEED}, {"method": "tpe"}, "method", "method tpe needs at least one placeholder"),
        ({"lr": LR, "seed": SEED}, {"method": "tpe", "draws": 600, "seeds": 2}, "command", "would have 1,200 runs"),
        ({"a": {"low": 1, "high": 40, "step": 1}, "b": {"choice": [*range(30)]}}, {}, "command", "have 1,200 runs"),
        ({"seed": SEED}, {"seeds": 20}, "command", "'10' is not one of the values that were signed for 'seed'"),
    ],
)
def test_a_sweep_that_is_not_possible_is_refused(
    placeholders: dict[str, Any], sweep: dict[str, Any], field: str, sentence: str
) -> None:
    with pytest.raises(SpecError) as refused:
        trials(placeholders, **sweep).expand()
    (error,) = refused.value.errors
    assert (error.field, sentence in error.message) == (field, True)


whole = st.booleans()
ranges = st.builds(
    lambda low, more, log, whole: {"low": low, "high": low + more, "log": log, "whole": whole},
    *(st.integers(1, 900), st.integers(0, 5000), whole, whole),
)
stepped = st.builds(
    lambda low, steps, step: {"low": low, "high": low + steps * step, "step": step},
    *(st.integers(-9, 9), st.integers(0, 9), st.sampled_from([0.1, 0.25, 1e-5, 3])),
)
choices = st.builds(
    lambda values: {"choice": values},
    st.lists(st.one_of(st.integers(), st.text(st.characters(exclude_characters="\0"), max_size=5)), min_size=1),
)


@given(st.dictionaries(st.sampled_from(["lr", "depth", "x.y"]), st.one_of(ranges, stepped, choices), min_size=1))
def test_whatever_is_drawn_or_proposed_is_signed(placeholders: dict[str, Any]) -> None:
    found = trials(placeholders, method="random", draws=4)
    drawn = found.expand()
    proposed = propose(found.space, [Trial(each.values, 0.5) for each in drawn], "maximize", 1, 3)
    for values in (*(each.values for each in drawn), proposed):
        assert len(found.request.command.filled(values)) == len(placeholders) + 1


def run(number: int, **values: Any) -> SweepRun:
    nothing: dict[str, Any] = dict.fromkeys(("started_at", "trained_seconds", "ended_at", "metric", "value"))
    said: dict[str, Any] = {
        "id": f"r_{number}",
        "number": number,
        "status": "queued",
        "reason": "",
        "pruned": False,
        "title": "",
    }
    # A script may log another seed than the one of its command.
    return SweepRun(**said, dataset="", seed=42, epochs=0, values=values, **nothing)


def test_only_what_is_missing_is_added_to_an_extended_sweep() -> None:
    found = trials({"opt": {"choice": ["adam", "sgd"]}, "seed": SEED}, seeds=2)
    added = found.missing([run(1, opt="adam", seed=1), run(2, opt="sgd", seed=1), run(3, opt="adam", seed=2)])
    assert [each.values for each in added] == [{"opt": "sgd", "seed": 2}]
    search = trials({"lr": LR, "seed": SEED}, method="tpe", seeds=2)
    added = search.missing([run(1, lr=0.01, seed=1), run(2, lr=0.02, seed=1), run(3, lr=0.02, seed=2)])
    assert [each.values for each in added] == [{"lr": 0.01, "seed": 2}]
    unseeded = trials({"opt": {"choice": ["adam", "sgd"]}})
    assert [each.values for each in unseeded.missing([run(1, opt="sgd")])] == [{"opt": "adam"}]
