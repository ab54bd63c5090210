from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contract.shared_files import SharedFile, describe_contents, describe_file, read_architectures

CONTENTS = st.dictionaries(st.from_regex(r"[a-z]{1,5}\.py", fullmatch=True), st.binary(max_size=20), max_size=4)


@given(CONTENTS, CONTENTS)
def test_the_digest_and_the_signature_stand_for_names_and_contents(
    one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    first, second = describe_contents(one), describe_contents(other)
    assert (first.digest == second.digest) == (one == other)
    assert first.size == sum(map(len, one.values()))
    signed = first.signed(b"key")
    assert signed.is_signed(b"key")
    assert not signed.is_signed(b"another key")
    assert second.model_copy(update={"signature": signed.signature}).is_signed(b"key") == (one == other)


def test_nothing_is_signed_without_a_signature() -> None:
    assert not describe_contents({"a.py": b""}).is_signed(b"key")


@pytest.mark.parametrize("name", ["../up.py", "/etc/passwd", ".hidden.py", "", "a/b.py", "a\\b.py", "a\0.py"])
def test_a_name_that_leaves_its_folder_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        SharedFile(name=name, sha256="0" * 64, bytes=1)


def test_a_file_is_described_as_its_content_is(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_bytes(b"x = 1\n")
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / ".hidden.py").write_text("none")
    (tmp_path / "folder.py").mkdir()
    contents = read_architectures(tmp_path)
    assert contents == {"net.py": b"x = 1\n"}
    assert describe_contents(contents).files == [describe_file(tmp_path / "net.py")]
