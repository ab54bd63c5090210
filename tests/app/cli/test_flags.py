"""Every field of a run has a flag that sets it."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.flags import LISTS, field_names, parameters, read_flags
from app.contract.spec import RunSpec


def test_every_field_of_a_run_has_a_flag_and_no_other_is_there() -> None:
    assert sorted(field_names()) == sorted(RunSpec.model_fields)
    assert [each.name for each in parameters()] == field_names()


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        ({}, {}),
        ({"family": None, "size": "", "tags": " , "}, {}),
        ({"family": "vit, simple_cnn,vit"}, {"family": ["vit", "simple_cnn"]}),
        ({"dataset": "all"}, {"dataset": ["all"]}),
        ({"targets": "digit,thickness"}, {"targets": ["digit", "thickness"]}),
        ({"tags": "a,b,"}, {"tags": ["a", "b"]}),
        (
            {"options": ["swish=learnable", "pool=a=b"]},
            {"options": {"swish": "learnable", "pool": "a=b"}},
        ),
        ({"flip": False, "auxiliary": True}, {"flip": False, "auxiliary": True}),
        ({"batch_size": "64", "name": "a, b"}, {"batch_size": "64", "name": "a, b"}),
        ({"unheard_of": "x"}, {}),
    ],
)
def test_what_a_flag_says(given: dict[str, Any], parsed: dict[str, Any]) -> None:
    assert read_flags(given) == parsed


@pytest.mark.parametrize("option", ["learnable", "=learnable", " = "])
def test_an_option_without_a_name_or_a_value_says_how_it_is_written(option: str) -> None:
    with pytest.raises(ValueError, match=r"--option must be NAME=VALUE, e\.g\. swish=learnable, not '"):
        read_flags({"options": [option]})


def as_flag(name: str, value: Any) -> Any:
    """Return the command-line value of a field."""
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, dict):
        return [f"{key}={each}" for key, each in value.items()]
    return value if isinstance(value, bool) else str(value)


WORDS = st.lists(st.text("abcxyz_-1", min_size=1, max_size=9), min_size=1, max_size=4, unique=True)
SPECS = st.fixed_dictionaries(
    {"family": WORDS.map(lambda words: words[0])},
    optional={
        "targets": WORDS,
        "tags": WORDS,
        "epochs": st.integers(1, 1000),
        "lr": st.floats(1e-6, 10),
        "weight_decay": st.floats(0, 1),
        "flip": st.booleans(),
        "auxiliary": st.booleans(),
        "deterministic": st.booleans(),
        "options": st.dictionaries(st.text("abc", min_size=1), st.text("xyz", min_size=1), min_size=1, max_size=3),
        "schedule": st.sampled_from(["constant", "one_cycle"]),
        "priority": st.integers(-1000, 1000),
        "seed": st.integers(0, 2**32 - 1),
    },
)


@given(SPECS)
def test_a_run_that_is_typed_as_flags_is_the_same_run(fields: dict[str, Any]) -> None:
    parsed = read_flags({name: as_flag(name, value) for name, value in fields.items()})
    parsed = {name: value[0] if name in LISTS else value for name, value in parsed.items()}
    assert RunSpec.model_validate(parsed) == RunSpec.model_validate(fields)
    assert RunSpec.model_validate(parsed).model_fields_set == set(fields)


def test_the_help_of_a_field_with_choices_lists_all_of_them() -> None:
    helps = {each.name: get_args(each.annotation)[1].help for each in parameters()}
    assert helps["compile"].endswith("(auto, on, off).")
    assert helps["schedule"].endswith("(constant, plateau, cosine, one_cycle).")
    assert helps["precision"].count("auto") == 1, "the description explains each choice"
    assert helps["family"].endswith('Comma-separated, or "all". List them with `runyard architectures`.')
    assert helps["preset"].endswith(". List them with `runyard presets`.")


def test_only_fields_that_a_sweep_varies_are_shown_with_several_values() -> None:
    metavars = {each.name: get_args(each.annotation)[1].metavar for each in parameters()}
    assert (metavars["epochs"], metavars["priority"], metavars["keep_checkpoints"]) == ("N,…", "N", "N")
