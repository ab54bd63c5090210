from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contract.command import (
    LONGEST_TITLE,
    Command,
    CommandRequest,
    command_line,
    command_title,
    hide_secrets,
    template_line,
)
from app.contract.command_template import fill
from app.contract.sweep import Choice, Range

URL = "http://127.0.0.1:8000"
words = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=6)


@given(words)
def test_a_shell_would_read_the_command_line_as_the_arguments(argv: list[str]) -> None:
    assert shlex.split(command_line(argv)) == argv


@given(words)
def test_a_title_is_short_and_on_one_line(argv: list[str]) -> None:
    title = command_title(argv)
    assert len(title) <= LONGEST_TITLE
    assert "\n" not in title


@pytest.mark.parametrize(
    ("argv", "title"),
    [
        (["/venv/bin/python3.11", "jobs/train.py", "--lr", "0.1"], "train.py --lr 0.1"),
        (["python", "-m", "jobs.train"], "python -m jobs.train"),
        (["/usr/bin/bash", "run.sh"], "bash run.sh"),
        (["python", "train.py", "--api-key", "s3cret"], "train.py --api-key …"),
        (["train", "x" * 100], f"train {'x' * 73}…"),
    ],
)
def test_a_title_names_the_script_and_its_arguments(argv: list[str], title: str) -> None:
    assert command_title(argv) == title


def test_secrets_are_not_shown() -> None:
    argv = ["run", "--token=abc", "--password", "def", "redis://me:ghi@host/0", "--lr", "0.1"]
    shown = ["run", "--token=…", "--password", "…", "redis://…@host/0", "--lr", "0.1"]
    assert hide_secrets(argv) == shown


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("argv", []),
        ("argv", [" "]),
        ("argv", ["a\0b"]),
        ("argv", "true"),
        ("folder", "jobs"),
        ("folder", "/a\0b"),
        ("environment", {"A B": "1"}),
        ("environment", {"A": "\0"}),
        ("url", "file:///etc/passwd"),
        ("shell", True),
    ],
)
def test_a_command_that_cannot_be_started_is_not_valid(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        Command.model_validate({"argv": ["true"], "folder": "/", "url": URL} | {field: value})


@pytest.mark.parametrize(
    ("field", "value"), [("restarts", -1), ("restarts", True), ("device", "gpu"), ("priority", 1e9)]
)
def test_a_request_with_an_impossible_field_is_not_valid(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        CommandRequest.model_validate({"command": {"argv": ["true"], "folder": "/", "url": URL}, field: value})


# Placeholders ---------------------------------------------------------------------------------------------------------

PLACEHOLDERS: dict[str, Any] = {
    "lr": {"low": 1e-4, "high": 0.1, "log": True},
    "layers": {"low": 1, "high": 8, "whole": True},
    "drop": {"low": 0.0, "high": 0.5, "step": 0.1},
    "opt": {"choice": ["adam", "sgd", 3]},
}
ARGV = ["train", "--lr={lr}", "{layers}", "{drop}/{drop}", "{opt}", "{{opt}}"]
GOOD: dict[str, Any] = {"lr": 0.001, "layers": 3, "drop": 0.3, "opt": "sgd"}
anything = st.one_of(
    st.integers(), st.floats(), st.text(max_size=8), st.booleans(), st.sampled_from(["adam", 3, 3.0, "3"])
)


def template(**changes: Any) -> Command:
    fields = {"argv": ARGV, "folder": "/", "url": URL, "placeholders": PLACEHOLDERS}
    return Command.model_validate(fields | changes)


def test_placeholders_are_filled_with_values_that_are_signed() -> None:
    assert template(values=GOOD).filled() == ["train", "--lr=0.001", "3", "0.3/0.3", "sgd", "{opt}"]
    assert template().filled(GOOD) == template(values=GOOD).filled()


@given(st.sampled_from(sorted(GOOD)), anything)
def test_any_other_value_is_refused(name: str, value: Any) -> None:
    values = GOOD | {name: value}
    allowed = {
        "lr": type(value) is float and 1e-4 <= value <= 0.1,
        "layers": type(value) is int and 1 <= value <= 8,
        "drop": type(value) is float and value in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
        "opt": value in ("adam", "sgd") or (type(value) is int and value == 3),
    }
    if allowed[name]:
        assert template().filled(values) == fill(ARGV, values)
    else:
        with pytest.raises(ValueError, match=rf"is not one of the values that were signed for '{name}'"):
            template().filled(values)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_no_value_may_be_missing(name: str) -> None:
    with pytest.raises(ValueError, match=f"no value for '{name}'"):
        template().filled({other: value for other, value in GOOD.items() if other != name})


def test_a_command_without_placeholders_keeps_its_braces_and_takes_no_values() -> None:
    plain = Command(argv=["awk", "{print $1}", "{x}"], folder="/", url=URL)
    assert plain.filled() == plain.argv
    with pytest.raises(ValueError, match="the command has no placeholder 'x'"):
        plain.model_copy(update={"values": {"x": 1}}).filled()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"argv": [*ARGV, "{seed}"]},
            "the command has '{seed}', but there are no values for it; add them with --seeds",
        ),
        ({"argv": [*ARGV, "{b}"]}, "add them with --sweep b=…, or write '{{b}}' for braces"),
        ({"argv": ARGV[:-2]}, "there are values for 'opt', but the command has no '{opt}'"),
        ({"argv": ["{opt}", *ARGV]}, "the program itself cannot vary"),
        ({"argv": [*ARGV, '{"a": 1}']}, "encloses no name"),
    ],
)
def test_placeholders_and_their_values_belong_together(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        template(**changes).check_placeholders()


@pytest.mark.parametrize(
    "allowed",
    [{"choice": [True]}, {"choice": ["a\0"]}, {"choice": [float("nan")]}, {"choice": [["a"]]}, {"choice": []}],
)
def test_values_that_cannot_stand_in_an_argument_are_not_valid(allowed: Any) -> None:
    with pytest.raises(ValidationError, match="placeholders"):
        template(placeholders=PLACEHOLDERS | {"opt": allowed})


def test_a_template_stands_without_quotes_unless_a_shell_would_change_it() -> None:
    assert (
        template_line(["python", "train.py", "--lr={lr}", "a b", "{a,b}"]) == "python train.py --lr={lr} 'a b' '{a,b}'"
    )


# Ranges ---------------------------------------------------------------------------------------------------------------

numbers = st.floats(-1e6, 1e6)


@given(numbers, numbers, numbers, st.booleans(), st.none() | st.floats(0.01, 1e5))
def test_the_nearest_number_of_a_range_is_in_it(one: float, other: float, at: float, whole: bool, step: Any) -> None:
    low, high = sorted((one, other))
    if whole:
        low, high, step = float(round(low)), float(round(high)), step and float(round(step) or 1)
    allowed = Range(low=low, high=high, step=step, whole=whole)
    assert allowed.contains(allowed.nearest(at))
    assert all(allowed.contains(each) for each in allowed.values())
    assert not allowed.contains(high + 1)
    assert not allowed.contains(str(low))


def test_a_choice_tells_types_apart() -> None:
    choice = Choice(choice=[1, "1", 2.0])
    assert [choice.contains(value) for value in (1, "1", 1.0, True, 2, 2.0, "2.0")] == [
        *(True, True, False, False),
        *(False, True, False),
    ]


def test_the_bounds_of_whole_numbers_are_whole() -> None:
    for wrong in ({"low": 0.5}, {"high": 2.5}, {"step": 0.5}):
        with pytest.raises(ValidationError, match="must be whole numbers"):
            Range.model_validate({"low": 0, "high": 2, "whole": True} | wrong)
