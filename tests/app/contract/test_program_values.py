"""Values for the fields of a program: what they can become in an argument, and what is refused."""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.command import LONGEST_TITLE, Command
from app.contract.program import Program, ProgramCall, ProgramField, ProgramValueError
from app.contract.program_values import call_title, check_values, command_of, read_value, shown_values
from tests.signed_program import COMMAND, program

TUNE = program()
PATH = "a path within the program's folder, such as data/train.csv, without '..'"
anything = st.one_of(
    st.text(max_size=30),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.sampled_from(
        ["; touch x", "$(id)", "--config=/etc/passwd", "-x", "a\nb", "a\0b", "../x", "/etc", "{lr}", "1e3"]
    ),
    st.lists(st.integers(), max_size=2),
)


def filled(values: dict[str, Any], made: Program = TUNE) -> Command:
    """The command that values stand for, as the server makes it of a request and the worker of what is stored."""
    checked = check_values(made, values)
    call = ProgramCall.model_validate_json(ProgramCall(program=made, values=checked).model_dump_json())
    return command_of(call)


def errors_of(values: dict[str, Any], made: Program = TUNE) -> dict[str, str]:
    with pytest.raises(ProgramValueError) as refused:
        check_values(made, values)
    return {error.field: error.message for error in refused.value.errors}


@given(st.dictionaries(st.sampled_from([field.name for field in TUNE.fields]), anything))
def test_whatever_is_given_is_refused_or_stays_in_its_arguments(values: dict[str, Any]) -> None:
    try:
        command = filled(values)
    except ProgramValueError:
        errors = errors_of(values)
        assert set(errors) <= set(values)
        assert all(errors.values())
        return
    argv = command.argv
    assert (command.folder, command.environment, command.url) == (TUNE.folder, TUNE.environment, TUNE.url)
    flags = [argument for argument in argv if argument == "--augment"]
    assert len(argv) == len(COMMAND) - 1 + len(flags)
    rest = [argument for argument in argv if argument != "--augment"]
    assert rest[:2] == COMMAND[:2]
    assert math.isfinite(float(rest[2].removeprefix("--lr=")))
    assert rest[3] == "--epochs"
    assert int(rest[4]) >= 1
    assert rest[5] in ("--optimizer=sgd", "--optimizer=adamw")
    assert rest[6].startswith("--note=")
    assert rest[6].isprintable() or all(ord(character) >= 0x20 for character in rest[6])
    assert "\n" not in rest[6]
    path = PurePosixPath(rest[7])
    assert path.is_relative_to("/jobs")
    assert ".." not in path.parts
    int(rest[8].removeprefix("--seed="))


@given(st.text(max_size=200))
def test_text_is_refused_or_arrives_as_it_is(text: str) -> None:
    made = program(command=["train", "--note", "{note}"], fields=[{"name": "note", "type": "text"}])
    try:
        assert filled({"note": text}, made).argv == ["train", "--note", text]
    except ProgramValueError:
        breaking = any(not character.isprintable() for character in text)
        assert breaking or text.startswith("-")


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=0))
def test_a_number_survives_as_text(value: float) -> None:
    field = ProgramField(name="x", type="float")
    assert read_value(field, str(value)) == read_value(field, value) == value


@pytest.mark.parametrize("argument", ["{a}{b}", "{a}--{b}"])
def test_no_value_begins_an_argument_with_a_dash(argument: str) -> None:
    fields = [{"name": "a", "type": "text", "default": ""}, {"name": "b", "type": "text", "default": "x"}]
    made = program(command=["train", argument], fields=fields)
    assert list(errors_of({"a": "-x"}, made)) == ["a"]
    assert filled({"a": "y"}, made).argv[1].startswith("y")


def test_behind_an_empty_value_the_next_one_begins_the_argument() -> None:
    fields = [{"name": "a", "type": "text", "default": ""}, {"name": "b", "type": "text"}]
    made = program(command=["train", "{a}{b}"], fields=fields)
    assert list(errors_of({"b": "--config=/etc/passwd"}, made)) == ["b"]


def test_a_negative_number_may_stand_behind_an_option() -> None:
    field = {"name": "shift", "type": "int"}
    assert filled({"shift": -1}, program(command=["train", "--shift={shift}"], fields=[field])).argv[1] == "--shift=-1"
    errors = errors_of({"shift": -1}, program(command=["train", "--shift", "{shift}"], fields=[field]))
    assert errors == {"shift": "shift would begin an argument with '-', as options do: -1"}


def test_choices_and_switches_may_be_options_because_their_owner_wrote_them() -> None:
    fields: list[dict[str, Any]] = [
        {"name": "how", "type": "choice", "choices": ["-q", "-v"]},
        {"name": "fast", "type": "bool", "default": True, "if_true": "--fast", "if_false": ""},
    ]
    made = program(command=["train", "{how}", "{fast}"], fields=fields)
    assert filled({"how": "-v"}, made).argv == ["train", "-v", "--fast"]
    assert filled({"how": "-v", "fast": "false"}, made).argv == ["train", "-v"]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("lr", "fast", "lr must be a number, not 'fast'"),
        ("lr", "1_000", "lr must be a number, not '1_000'"),
        ("lr", "nan", "lr must be a number, not 'nan'"),
        ("lr", float("inf"), "lr must be a number that is not so large"),
        ("lr", True, "lr must be a number, not 'True'"),
        ("lr", 2, "lr must be at most 1, not 2.0"),
        ("lr", "-1", "lr must be at least 0, not -1.0"),
        ("epochs", 1.0, "epochs must be a whole number, not '1.0'"),
        ("epochs", "1e3", "epochs must be a whole number, not '1e3'"),
        ("epochs", 10**400, "epochs must be a whole number that is not so large"),
        ("epochs", "٣", "epochs must be a whole number, not '٣'"),
        ("optimizer", "adam", "optimizer must be one of sgd, adamw, not 'adam'"),
        ("augment", "yes", "augment must be true or false, not 'yes'"),
        ("note", "a\nb", "note must be one line without control characters"),
        ("note", "a\0", "note must be one line without control characters"),
        ("note", "a\u2028b", "note must be one line without control characters"),
        ("note", "\ud800", "note must be one line without control characters"),
        ("note", "x" * 201, "note can have at most 200 characters, not 201"),
        ("note", 3, "note must be text"),
        (
            "data",
            "/etc/passwd",
            "data must be a path within the program's folder, such as data/train.csv, without '..'",
        ),
        ("data", "a/../../b", "data must be a path within the program's folder, such as data/train.csv, without '..'"),
        ("data", " ", "data must be a path within the program's folder, such as data/train.csv, without '..'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_fits(name: str, value: Any, sentence: str) -> None:
    assert errors_of({name: value}) == {name: sentence}


def test_all_errors_are_told_at_once_and_unknown_names_with_what_exists() -> None:
    made = program(
        command=["train", "{data}", "{how}"],
        fields=[
            {"name": "data", "type": "path"},
            {"name": "how", "type": "choice", "choices": ["a", "b"]},
        ],
    )
    assert errors_of({"lr": 1}, made) == {
        "lr": "program 'tune' has no field 'lr'; fields: data, how",
        "data": "data is required",
        "how": "how is required; choices: a, b",
    }
    assert errors_of({"lr": 1}, program(command=["train"], fields=[])) == {
        "lr": "program 'tune' has no field 'lr'; it has no fields"
    }


def test_null_stands_for_the_default() -> None:
    assert check_values(TUNE, {"lr": None})["lr"] == 0.001


def test_a_path_within_another_folder_becomes_absolute() -> None:
    field = {"name": "data", "type": "path", "within": "/data"}
    made = program(command=["train", "{data}"], fields=[field])
    assert filled({"data": "./-scans//a.png"}, made).argv == ["train", "/data/-scans/a.png"]


def test_the_title_names_the_values_that_differ_from_the_defaults() -> None:
    values = check_values(TUNE, {"lr": 0.01, "epochs": "10", "note": "a b"})
    assert call_title(ProgramCall(program=TUNE, values=values)) == "tune · lr 0.01, note a b"
    assert call_title(ProgramCall(program=TUNE, values=check_values(TUNE, {}))) == "tune"
    long = check_values(TUNE, {"note": "x" * 200})
    assert len(call_title(ProgramCall(program=TUNE, values=long))) == LONGEST_TITLE


def test_values_that_look_like_secrets_are_not_shown() -> None:
    assert shown_values({"api_token": "abc", "lr": 0.1, "url": "redis://me:pw@host"}) == {
        "api_token": "…",
        "lr": "0.1",
        "url": "redis://…@host",
    }
