"""What a program may be, and what it must not leave to others."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.contract.errors import to_field_errors
from app.contract.program import ProgramField, ProgramLaunch
from app.contract.program_checks import check_program
from tests.signed_program import COMMAND, FIELDS, program


def complaint(error: ValidationError) -> str:
    return "; ".join(each.message for each in to_field_errors(error.errors()))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "a/b"}, "name"),
        ({"name": ".."}, "name"),
        ({"command": []}, "command must not be empty"),
        ({"command": [" "], "fields": []}, "command must begin with a program"),
        ({"command": ["a\0"], "fields": []}, "command and env must not contain NUL characters"),
        ({"command": ["a", "{"], "fields": []}, "command: '{' in the argument '{' encloses no name"),
        ({"command": ["a", "{rate}"]}, "command has {rate}, but there is no field of that name; fields: lr, epochs"),
        ({"command": ["a", "{rate}"], "fields": []}, "no field of that name; fields: none"),
        ({"command": COMMAND[:-1]}, "field 'seed' stands in no argument; write {seed} in command"),
        ({"fields": [*FIELDS, FIELDS[0]]}, "fields must have different names"),
        ({"folder": "jobs"}, "folder must be an absolute path"),
        ({"environment": {"A": "\0"}}, "command and env must not contain NUL characters"),
        ({"environment": {"A B": "1"}}, "environment"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"shell": True}, "unknown field 'shell'"),
    ],
)
def test_a_program_that_cannot_be_filled_or_started_is_not_valid(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as refused:
        program(**changes)
    assert sentence in complaint(refused.value)


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ({"name": "a b", "type": "int"}, "name"),
        ({"name": "a.b", "type": "int"}, "name"),
        ({"name": "a", "type": "integer"}, "type must be one of int, float, bool, choice, text or path"),
        ({"name": "a", "type": "text", "min": 1}, "field 'a': only int and float can have min"),
        ({"name": "a", "type": "int", "choices": ["1"]}, "field 'a': only choice can have choices"),
        ({"name": "a", "type": "int", "if_true": "x"}, "field 'a': only bool can have if_true"),
        ({"name": "a", "type": "text", "within": "/data"}, "field 'a': only path can have within"),
        ({"name": "a", "type": "choice"}, "field 'a': a choice needs choices"),
        ({"name": "a", "type": "choice", "choices": ["x", "x"]}, "field 'a': choices must be different"),
        ({"name": "a", "type": "choice", "choices": ["x", " "]}, "field 'a': choices must not be empty"),
        ({"name": "a", "type": "choice", "choices": ["x\0"]}, "field 'a' must not contain NUL characters"),
        ({"name": "a", "type": "int", "min": 2, "max": 1}, "field 'a': min must be at most max"),
        ({"name": "a", "type": "float", "min": float("nan")}, "min"),
        ({"name": "a", "type": "path", "within": "data"}, "field 'a': within must be an absolute folder"),
        ({"name": "a", "type": "text", "max_length": 5000}, "max_length must be at most 4000"),
        ({"name": "a", "type": "int", "required": True}, "unknown field 'required'"),
    ],
)
def test_a_field_that_says_nothing_is_not_valid(field: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ProgramField.model_validate(field)
    assert sentence in complaint(refused.value)


def test_choices_can_be_written_as_numbers() -> None:
    assert ProgramField.model_validate({"name": "a", "type": "choice", "choices": [16, 0.5]}).choices == ["16", "0.5"]


@pytest.mark.parametrize("given", [{"seeds": 0}, {"seeds": 1001}, {"seeds": True}, {"device": "gpu"}, {"argv": ["id"]}])
def test_a_launch_with_an_impossible_field_is_not_valid(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(given))):
        ProgramLaunch.model_validate(given)


# What others must not choose -----------------------------------------------------------------------------------------

TEXT = {"name": "x", "type": "text"}


@pytest.mark.parametrize(
    "command",
    [
        ["bash", "-c", "train {x}"],
        ["/bin/sh", "-ec", "{x}"],
        ["bash", "-o", "pipefail", "-c", "train {x}"],
        ["env", "A=1", "bash", "-lc", "echo {x}"],
        ["bash", "{x}"],
        ["python", "-c", "print('{x}')"],
        ["python3.12", "-u", "-W", "ignore", "-c", "{x}"],
        ["uv", "run", "python", "{x}"],
        ["python", "-m", "{x}"],
        ["perl", "-e{x}"],
        ["node", "--eval={x}"],
        ["ssh", "gpu1", "train", "{x}"],
        ["watch", "{x}"],
    ],
)
def test_text_of_others_must_not_be_read_as_code(command: list[str]) -> None:
    with pytest.raises(ValueError, match=r"field 'x' must not stand in an argument that .* reads as code"):
        check_program(program(command=command, fields=[TEXT]))
    with pytest.raises(ValueError, match="field 'x' must not stand"):
        check_program(program(command=command, fields=[{"name": "x", "type": "path"}]))
    # Numbers are numbers in any code, and choices are those of the owner.
    check_program(program(command=command, fields=[{"name": "x", "type": "float"}]))
    check_program(program(command=command, fields=[{"name": "x", "type": "choice", "choices": ["a"]}]))


@pytest.mark.parametrize(
    "command",
    [
        ["bash", "run.sh", "{x}"],
        ["bash", "-c", 'train "$1"', "_", "{x}"],
        ["python", "-u", "train.py", "-c", "{x}"],
        ["python", "-m", "jobs.train", "{x}"],
        ["python", "-X", "dev", "train.py", "--note={x}"],
        ["./train", "-c", "{x}"],
    ],
)
def test_text_of_others_may_be_an_argument_of_a_script(command: list[str]) -> None:
    check_program(program(command=command, fields=[TEXT]))


@pytest.mark.parametrize("command", [["{x}"], ["/bin/{x}"], ["./{x}.sh"]])
@pytest.mark.parametrize("field", [{"type": "text"}, {"type": "choice", "choices": ["a"]}, {"type": "int"}])
def test_a_field_never_chooses_the_program(command: list[str], field: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot contain a field"):
        check_program(program(command=command, fields=[{"name": "x", **field}]))


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ({"type": "int", "default": 1.5}, "x must be a whole number, not '1.5'"),
        ({"type": "float", "default": 2, "max": 1}, "x must be at most 1, not 2.0"),
        ({"type": "bool", "default": "yes"}, "x must be true or false"),
        ({"type": "choice", "choices": ["a"], "default": "b"}, "x must be one of a, not 'b'"),
        ({"type": "path", "default": "/etc/passwd"}, "x must be a path within the program's folder"),
        ({"type": "text", "default": "-v"}, "x would begin an argument with '-'"),
        ({"type": "int", "default": -1}, "x would begin an argument with '-'"),
    ],
)
def test_a_default_must_fit_its_field(field: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match="the default of field 'x' does not fit: ") as refused:
        check_program(program(command=["train", "{x}"], fields=[{"name": "x", **field}]))
    assert sentence in str(refused.value)
