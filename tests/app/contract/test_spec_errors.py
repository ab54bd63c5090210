"""Errors beside a field that cannot be parsed: all that are certain, and none that is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.catalog import Catalog
from app.contract.spec import RunSpec, SpecError, resolve
from app.contract.spec_errors import remaining_errors


@pytest.mark.parametrize(
    ("body", "wrong", "fields"),
    [
        ({"family": "vit", "size": "hug", "epochs": "many"}, "epochs", ["size"]),
        ({"family": "vit", "size": "hug", "recipe": "slow", "epochs": "many"}, "epochs", ["recipe", "size"]),
        ({"epochs": "many"}, "epochs", ["family"]),
        ({"family": "vit", "lr": "small", "lr_min": 1.0, "schedule": "cosine"}, "lr", []),
        ({"family": "vit", "dataset": 5, "batch_size": 30_000, "targets": ["fine"]}, "dataset", []),
        ({"family": 5, "size": "hug"}, "family", []),
        ({"family": 5, "size": "hug", "dataset": "nothing"}, "family", ["dataset"]),
        ({"family": "vit", "epochs": "many"}, "epochs", []),
    ],
)
def test_only_errors_that_are_certain_are_named(
    catalog: Catalog, body: dict[str, Any], wrong: str, fields: list[str]
) -> None:
    assert sorted(error.field for error in remaining_errors(body, {wrong}, catalog)) == fields


CHOICES: dict[str, list[Any]] = {
    "family": ["vit", "simple_mlp", "none"],
    "size": ["tiny", "base", "none"],
    "dataset": ["mnist", "digits", "cifar100", "none"],
    "recipe": ["default", "cifar", "none"],
    "targets": [["digit"], ["fine"], ["none"]],
    "batch_size": [2, 256, 30_000],
    "schedule": ["cosine", "plateau"],
    "lr": [1e-3, 0.1],
    "lr_min": [1e-5, 0.05],
}


@given(
    chosen=st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in CHOICES.items()}),
    hidden=st.sampled_from(sorted(CHOICES)),
)
def test_no_error_is_named_that_the_right_value_of_the_hidden_field_makes_untrue(
    catalog: Catalog, chosen: dict[str, Any], hidden: str
) -> None:
    told = {error.field for error in remaining_errors(chosen, {hidden}, catalog)}
    for value in CHOICES[hidden]:
        try:
            resolve(RunSpec.model_validate({**chosen, hidden: value}), catalog)
        except SpecError:
            continue
        assert told == set()
