"""What a worker starts: what its owner signed, with values that fit, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.contract.command import Command
from app.contract.command_key import ensure_key, read_key, sign, sign_program
from app.contract.program import ProgramCall
from tests.signed_program import COMMAND, program
from worker.commands.refusal import Refused, checked_command

VALUES: dict[str, Any] = {"lr": 0.5, "epochs": 3, "optimizer": "sgd", "augment": True, "note": "a", "data": "x.csv"}


@pytest.fixture
def call(tmp_path: Path) -> Any:
    """A program with values as the server stores it; its folder exists."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "x.csv").touch()

    def make(values: dict[str, Any] | None = None, forged: dict[str, Any] | None = None, **changes: Any) -> ProgramCall:
        made = program(folder=str(tmp_path / "jobs"), **changes)
        made = made.model_copy(update={"signature": sign_program(read_key(ensure_key(tmp_path)), made)})
        return ProgramCall(program=made.model_copy(update=forged or {}), values=VALUES | {"seed": 1} | (values or {}))

    return make


def test_a_signed_program_starts_with_its_values(call: Any, tmp_path: Path) -> None:
    command = checked_command(call(environment={"A": "1"}), tmp_path)
    assert command.argv[2:] == [
        *("--lr=0.5", "--epochs", "3", "--optimizer=sgd", "--augment", "--note=a"),
        *(str(tmp_path / "jobs" / "x.csv"), "--seed=1"),
    ]
    assert (command.folder, command.environment) == (str(tmp_path / "jobs"), {"A": "1"})


@pytest.mark.parametrize(
    "forged",
    [
        {"command": ["id", *COMMAND[1:]]},
        {"folder": "/"},
        {"environment": {"PATH": "/evil"}},
        {"url": "http://evil.example"},
        {"fields": [field.model_copy(update={"max": None}) for field in program().fields]},
        {"signature": ""},
        {"signature": "é"},
    ],
)
def test_a_forged_program_does_not_start(forged: dict[str, Any], call: Any, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="program 'tune': it is not signed with the key in"):
        checked_command(call(forged=forged), tmp_path)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"lr": 7}, "lr must be at most 1"),
        ({"lr": "0.5; id"}, "lr must be a number"),
        ({"epochs": "1\n2"}, "epochs must be a whole number"),
        ({"optimizer": "--help"}, "optimizer must be one of sgd, adamw"),
        ({"augment": "rm -rf /"}, "augment must be true or false"),
        ({"note": "a\nb"}, "note must be one line"),
        ({"data": "/etc/passwd"}, "data must be a path within"),
        ({"more": 1}, "program 'tune' has no field 'more'"),
    ],
)
def test_forged_values_do_not_start_a_signed_program(
    values: dict[str, Any], sentence: str, call: Any, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="does not start program 'tune' with these values") as refused:
        checked_command(call(values), tmp_path)
    assert sentence in str(refused.value)


def test_a_path_does_not_leave_its_folder_by_a_link(call: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    (tmp_path / "jobs" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "jobs" / "inner").symlink_to(tmp_path / "jobs" / "x.csv")
    (tmp_path / "jobs" / "up").symlink_to(tmp_path)
    (tmp_path / "jobs" / "loop").symlink_to(tmp_path / "jobs" / "loop")
    for name in ("link", "up/secret", "up/new"):
        with pytest.raises(Refused, match=f"data '{name}' leads out of"):
            checked_command(call({"data": name}), tmp_path)
    with pytest.raises(Refused, match="cannot read data 'loop'"):
        checked_command(call({"data": "loop"}), tmp_path)
    assert checked_command(call({"data": "inner"}), tmp_path).argv[-2].endswith("/jobs/inner")
    assert checked_command(call({"data": "new/file"}), tmp_path).argv[-2].endswith("/jobs/new/file")


def test_a_program_that_leaves_code_to_others_does_not_start_even_if_it_is_signed(call: Any, tmp_path: Path) -> None:
    made = call(command=["bash", "-c", "{x}"], fields=[{"name": "x", "type": "text"}])
    with pytest.raises(Refused, match="must not stand in an argument"):
        checked_command(ProgramCall(program=made.program, values={"x": "id"}), tmp_path)


def test_a_command_needs_its_own_signature(call: Any, tmp_path: Path) -> None:
    key = read_key(ensure_key(tmp_path))
    command = Command(argv=["true"], folder="/", url="http://localhost")
    signed = command.model_copy(update={"signature": sign(key, command)})
    assert checked_command(signed, tmp_path) == signed
    borrowed = command.model_copy(update={"signature": call().program.signature})
    with pytest.raises(Refused, match="does not start this command"):
        checked_command(borrowed, tmp_path)
    ensure_key(tmp_path).chmod(0o644)
    with pytest.raises(Refused, match=r"this worker starts no commands: .* alone \(chmod 600\)"):
        checked_command(signed, tmp_path)
