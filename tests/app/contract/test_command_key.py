from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.command import Command
from app.contract.command_key import (
    KeyFileError,
    ensure_key,
    is_program_signed,
    is_removal_signed,
    is_signed,
    key_path,
    read_key,
    run_of_token,
    run_token,
    sign,
    sign_program,
    sign_removal,
)
from app.contract.program import Program
from tests.signed_program import program

COMMAND = Command(argv=["train", "--lr", "0.1"], folder="/jobs", environment={"A": "1"}, url="http://127.0.0.1:8000")
KEY = bytes(range(32))
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def signed(command: Command, key: bytes = KEY) -> Command:
    return command.model_copy(update={"signature": sign(key, command)})


def test_a_key_is_created_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    file = ensure_key(tmp_path / "data")
    assert file == key_path(tmp_path / "data")
    assert file.stat().st_mode & 0o777 == 0o600
    key = read_key(file)
    assert ensure_key(tmp_path / "data") == file
    assert read_key(file) == key
    assert list((tmp_path / "data").iterdir()) == [file]
    assert read_key(ensure_key(tmp_path / "other")) != key


def test_a_command_is_signed_by_whoever_has_the_key() -> None:
    assert is_signed(KEY, signed(COMMAND))
    assert not is_signed(KEY, COMMAND)
    assert not is_signed(bytes(32), signed(COMMAND))


@given(st.lists(texts, min_size=1), st.dictionaries(st.from_regex(r"\A[A-Z_]+\Z"), texts), texts)
def test_a_signature_holds_for_no_other_command(argv: list[str], environment: dict[str, str], folder: str) -> None:
    command = signed(COMMAND)
    changes = {"argv": argv, "environment": environment, "folder": f"/{folder}", "url": "http://localhost"}
    for field, value in changes.items():
        other = command.model_copy(update={field: value})
        assert is_signed(KEY, other) == (value == getattr(COMMAND, field))


def test_arguments_cannot_be_moved_between_fields_or_each_other() -> None:
    one = signed(Command(argv=["a", "b"], folder="/", url="http://x"))
    for argv in (["a b"], ["ab"], ["a", "b", ""], ["a,b"]):
        assert not is_signed(KEY, one.model_copy(update={"argv": argv}))


def test_a_key_that_others_can_read_or_that_is_damaged_is_not_used(tmp_path: Path) -> None:
    file = ensure_key(tmp_path)
    file.chmod(0o640)
    with pytest.raises(KeyFileError, match="readable by you alone"):
        read_key(file)
    file.chmod(0o600)
    file.write_text("0" * 63)
    with pytest.raises(KeyFileError, match="damaged"):
        read_key(file)
    file.unlink()
    with pytest.raises(KeyFileError, match="no such file"):
        read_key(file)


def test_no_other_file_is_read_as_a_key(tmp_path: Path) -> None:
    (tmp_path / "id_ed25519").write_text("0" * 64)
    with pytest.raises(KeyFileError, match="not a key of Runyard"):
        read_key(tmp_path / "id_ed25519")
    key_path(tmp_path).symlink_to(tmp_path / "id_ed25519")
    with pytest.raises(KeyFileError, match="cannot read"):
        read_key(key_path(tmp_path))


# Placeholders ---------------------------------------------------------------------------------------------------------

TEMPLATE = Command.model_validate(
    COMMAND.model_dump() | {"argv": ["train", "{lr}"], "placeholders": {"lr": {"low": 0.1, "high": 0.2}}}
)
spaces = st.one_of(
    st.builds(lambda low, more: {"low": low, "high": low + more}, st.floats(0, 9), st.floats(0, 9)),
    st.builds(lambda values: {"choice": values}, st.lists(st.one_of(texts, st.integers(0, 9)), min_size=1)),
)


@given(st.dictionaries(st.sampled_from(["lr", "x"]), spaces))
def test_what_may_stand_in_for_a_placeholder_is_signed(placeholders: dict[str, Any]) -> None:
    command = signed(TEMPLATE)
    other = Command.model_validate(command.model_dump() | {"placeholders": placeholders})
    assert is_signed(KEY, other) == (other.placeholders == TEMPLATE.placeholders)


@given(st.floats(0.1, 0.2))
def test_a_template_is_signed_once_for_all_of_its_values_and_survives_json(value: float) -> None:
    run = signed(TEMPLATE).model_copy(update={"values": {"lr": value}})
    assert is_signed(KEY, Command.model_validate_json(run.model_dump_json()))


def test_the_signature_of_a_plain_command_is_that_of_versions_without_placeholders() -> None:
    fields = {"argv": ["train", "--lr", "0.1"], "folder": "/jobs", "environment": {"A": "1"}}
    text = json.dumps(fields | {"url": "http://127.0.0.1:8000"}, sort_keys=True, separators=(",", ":"))
    assert sign(KEY, COMMAND) == hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()


def test_a_plain_command_with_braces_cannot_be_made_a_template() -> None:
    plain = signed(COMMAND.model_copy(update={"argv": ["train", "{lr}"]}))
    assert not is_signed(KEY, plain.model_copy(update={"placeholders": TEMPLATE.placeholders}))


# Programs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in Program.model_fields if name != "signature"])
def test_a_signature_covers_all_of_a_program(name: str) -> None:
    made = program()
    signed = made.model_copy(update={"signature": sign_program(KEY, made)})
    assert is_program_signed(KEY, signed)
    changes: dict[str, Any] = {
        "folder": "/",
        "command": ["id", *made.command[1:]],
        "environment": {"PATH": "/evil"},
        "url": "http://evil.example",
        "restarts": 3,
        "fields": [field.model_copy(update={"help": "other"}) for field in made.fields],
    }
    assert not is_program_signed(KEY, signed.model_copy(update={name: changes.get(name, "other")}))
    assert not is_program_signed(bytes(32), signed)


def test_the_signature_of_a_program_is_that_of_no_command_and_no_removal() -> None:
    made = program()
    command = Command(argv=made.command, folder=made.folder, environment=made.environment, url=made.url)
    signatures = {sign(KEY, command), sign_program(KEY, made), sign_removal(KEY, made.name, "")}
    assert len(signatures) == 3


def test_a_signature_survives_how_a_program_is_stored() -> None:
    made = program()
    signed = made.model_copy(update={"signature": sign_program(KEY, made)})
    assert is_program_signed(KEY, Program.model_validate_json(signed.model_dump_json()))


@pytest.mark.parametrize("signature", ["", "é" * 64, "\ud800"])
def test_a_signature_of_any_characters_is_only_wrong(signature: str) -> None:
    assert not is_program_signed(KEY, program().model_copy(update={"signature": signature}))
    assert not is_removal_signed(KEY, "tune", "", signature)


@given(st.text(), st.text())
def test_the_token_of_a_run_is_only_that_runs_and_only_with_the_key(run: str, other: str) -> None:
    token = run_token(KEY, "r_1")
    assert run_of_token(KEY, token) == "r_1"
    assert run_of_token(bytes(32), token) is None
    for changed in (run, f"ryr_{run}", f"ryr_{run}.{other}", token.replace("r_1", run), token + other):
        assert run_of_token(KEY, changed) == ("r_1" if changed == token else None)
