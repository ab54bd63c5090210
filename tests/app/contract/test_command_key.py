from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.command import Command
from app.contract.command_key import (
    KeyFileError,
    ensure_key,
    is_signed,
    key_path,
    read_key,
    run_of_token,
    run_token,
    sign,
)

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


@given(st.text(), st.text())
def test_the_token_of_a_run_is_only_that_runs_and_only_with_the_key(run: str, other: str) -> None:
    token = run_token(KEY, "r_1")
    assert run_of_token(KEY, token) == "r_1"
    assert run_of_token(bytes(32), token) is None
    for changed in (run, f"ryr_{run}", f"ryr_{run}.{other}", token.replace("r_1", run), token + other):
        assert run_of_token(KEY, changed) == ("r_1" if changed == token else None)
