"""Static files from memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from app.web.static_files import FilesInMemory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    static = tmp_path / "static"
    (static / "vendor").mkdir(parents=True)
    (static / "page.css").write_text("a { color: red }")
    (static / "vendor" / "font.woff2").write_bytes(b"\0\1")
    (tmp_path / "secret.txt").write_text("secret")
    return static


@pytest.fixture
def browser(folder: Path) -> TestClient:
    return TestClient(Starlette(routes=[Mount("/static", FilesInMemory(folder))]))


NO_FILES = ("9" * 300, "a/" + "b" * 5000, "a%00b", "%00", "..%2f..%2fsecret.txt", "%2e%2e/secret.txt")


@pytest.mark.parametrize("path", NO_FILES)
def test_a_name_that_no_file_can_have_is_not_found(browser: TestClient, path: str) -> None:
    assert browser.get(f"/static/{path}").status_code == 404


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("page.css", b"a { color: red }", "text/css; charset=utf-8"),
        ("vendor/font.woff2", b"\0\1", "font/woff2"),
    ],
)
def test_a_file_comes_with_its_type_and_is_revalidated_at_each_use(
    browser: TestClient, path: str, content: bytes, kind: str
) -> None:
    for _ in range(2):
        answer = browser.get(f"/static/{path}")
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, content, kind)
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["content-length"] == str(len(content))
    again = browser.get(f"/static/{path}", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    head = browser.head(f"/static/{path}")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", answer.headers["etag"])


def test_a_file_that_has_changed_is_read_again(browser: TestClient, folder: Path) -> None:
    before = browser.get("/static/page.css")
    fresh = folder / "fresh.css"
    # Written anew or replaced, with the time of the former one, as an installation may do.
    fresh.write_text("a { color: tan }")
    then = (folder / "page.css").stat()
    os.utime(fresh, ns=(then.st_atime_ns, then.st_mtime_ns))
    os.replace(fresh, folder / "page.css")
    after = browser.get("/static/page.css", headers={"if-none-match": before.headers["etag"]})
    assert (after.status_code, after.text) == (200, "a { color: tan }")
    (folder / "page.css").unlink()
    assert browser.get("/static/page.css").status_code == 404


@pytest.mark.parametrize(
    "path", ["none.css", "vendor", "", "..%2fsecret.txt", "%2e%2e/secret.txt", "vendor/../../secret.txt"]
)
def test_only_files_of_the_folder_are_served(browser: TestClient, path: str) -> None:
    assert browser.get(f"/static/{path}").status_code == 404


def test_files_are_only_read(browser: TestClient) -> None:
    assert browser.post("/static/page.css").status_code == 405
