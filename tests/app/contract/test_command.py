from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contract.command import LONGEST_TITLE, Command, CommandRequest, command_line, command_title, hide_secrets

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
