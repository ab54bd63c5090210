"""Which values of placeholders a worker refuses to start a command with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.contract.command import Command
from app.contract.command_key import ensure_key, read_key, sign
from worker.commands.refusal import Refused, checked_command

TEMPLATE = Command.model_validate(
    {
        "argv": ["train", "--lr", "{lr}", "{opt}"],
        "folder": "/jobs",
        "url": "http://127.0.0.1:8000",
        "placeholders": {"lr": {"low": 1e-4, "high": 0.1, "log": True}, "opt": {"choice": ["adam", "sgd"]}},
    }
)
GOOD: dict[str, Any] = {"lr": 0.001, "opt": "sgd"}


def refusal(data_dir: Path, **changes: Any) -> str:
    """Why a worker does not start the signed template after these changes; "" if it does."""
    command = TEMPLATE.model_copy(update={"signature": sign(read_key(ensure_key(data_dir)), TEMPLATE)})
    try:
        checked_command(command.model_copy(update=changes), data_dir)
    except Refused as refused:
        return str(refused)
    return ""


def test_values_within_the_signed_ones_are_started(tmp_path: Path) -> None:
    assert refusal(tmp_path, values=GOOD) == ""


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (GOOD | {"opt": "; touch x"}, "'; touch x' is not one of the values that were signed for 'opt'"),
        (GOOD | {"opt": "--config=/etc/passwd"}, "is not one of the values that were signed for 'opt'"),
        (GOOD | {"lr": 1.0}, "'1.0' is not one of the values that were signed for 'lr'"),
        (GOOD | {"lr": "0.001"}, "is not one of the values that were signed for 'lr'"),
        (GOOD | {"url": "x"}, "the command has no placeholder 'url'"),
        ({"lr": 0.001}, "no value for 'opt'"),
        ({}, "no value for 'lr'"),
    ],
)
def test_a_forged_value_is_not(values: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    found = refusal(tmp_path, values=values)
    assert found.startswith("this worker does not start this command: ")
    assert sentence in found


@pytest.mark.parametrize(
    "change",
    [
        {"argv": ["rm", "{lr}", "{opt}"]},
        {"placeholders": {**TEMPLATE.placeholders, "opt": TEMPLATE.placeholders["lr"]}},
        {"placeholders": {}},
        {"folder": "/"},
    ],
)
def test_a_forged_template_is_not(change: dict[str, Any], tmp_path: Path) -> None:
    assert "it is not signed with the key" in refusal(tmp_path, values=GOOD, **change)
