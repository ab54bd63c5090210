"""Uploads: multipart forms of any size, written to disk under names that stay within their folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.errors import Invalid
from app.services.upload import MAX_NAME_BYTES, Upload, safe_path
from tests.conftest import run_apart

Files = list[tuple[str, bytes]]


def form(fields: dict[str, str], files: Files) -> tuple[bytes, str]:
    """The body and the content type of a form, as a real client makes them."""
    request = httpx.Request("POST", "http://127.0.0.1", data=fields, files=[("file", each) for each in files])
    return request.read(), request.headers["content-type"]


def received(folder: Path, body: bytes, content_type: str, size: int = 1000) -> Upload:
    """The upload of a body that arrives in pieces of this size."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    upload = Upload(folder, content_type)
    run_apart(upload.read(pieces()))
    return upload


@pytest.mark.parametrize("size", [1, 7, 1000, 2**22])
def test_fields_and_files_arrive_whole_in_pieces_of_any_size(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * 20
    body, kind = form({"name": "flowers", "keep": "false"}, [("flowers/rose/1.jpg", content), ("flowers/b.txt", b"")])
    upload = received(tmp_path, body, kind, size)
    assert upload.fields == {"name": "flowers", "keep": "false"}
    assert upload.files == ["flowers/rose/1.jpg", "flowers/b.txt"]
    assert (tmp_path / "flowers/rose/1.jpg").read_bytes() == content
    assert (tmp_path / "flowers/b.txt").read_bytes() == b""


def test_a_form_that_is_broken_off_is_refused(tmp_path: Path) -> None:
    body, kind = form({"name": "flowers"}, [("1.jpg", b"x" * 5000)])
    with pytest.raises(Invalid, match="ends before its last part"):
        received(tmp_path, body[:-3000], kind)


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", ""])
def test_anything_but_a_multipart_form_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(Invalid, match="multipart form"):
        received(tmp_path, b"{}", kind)


def test_two_files_with_one_name_both_arrive(tmp_path: Path) -> None:
    body, kind = form({}, [("a/1.jpg", b"one"), ("A/1.JPG", b"two"), ("a/1.jpg", b"three")])
    upload = received(tmp_path, body, kind)
    assert [(tmp_path / name).read_bytes() for name in upload.files] == [b"one", b"two", b"three"]
    assert len({name.casefold() for name in upload.files}) == 3


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("C:\\images\\rose.jpg", "C/images/rose.jpg"),
        ("a/./b//c.png", "a/b/c.png"),
        ("..", "file"),
        ("ばら/薔薇.png", "ばら/薔薇.png"),
        ("new\nline\0.png", "newline.png"),
    ],
)
def test_a_name_stays_within_the_folder(sent: str, kept: str) -> None:
    assert safe_path(sent) == kept


@given(st.text(max_size=400))
def test_every_name_can_be_written_and_leads_nowhere_else(name: str) -> None:
    path = safe_path(name)
    parts = path.split("/")
    assert path
    assert not path.startswith("/")
    assert all(part not in ("", ".", "..") and len(part.encode()) <= MAX_NAME_BYTES for part in parts)
    assert safe_path(path) == path


def test_long_names_that_differ_at_their_end_stay_different() -> None:
    one, other = (safe_path("長" * 300 + end + ".jpg") for end in ("a", "b"))
    assert one != other
    assert one.endswith(".jpg")
