"""Addresses of other sites in every field that a redirect or a header could be made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app.web.file_response import attachment
from app.web.rendering import local_path
from tests.app.web.walk import leaves, methods_of, parameters
from tests.corpora.addresses import fill_address
from tests.filled_yard import FilledYard, fill
from tests.people import NAMES, PASSWORD, bearer

ELSEWHERE: Final = (
    *("https://evil.example", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example"),
    *("https:evil.example", "http:/evil.example", "/\t/evil.example", "\t//evil.example", " //evil.example"),
    *("/\n/evil.example", "javascript:x", "/%09/evil.example", "//evil.example/%2f..", "/.//evil.example"),
    *("/runs\r\nset-cookie: a=b", "/runs\0//evil.example", "data:text/html,x", "/\u2028/evil.example"),
    *("1&refused=9", "1#?refused=9", "/runs?q=a&refused=9", "http://127.0.0.1:8000@evil.example"),
    *("//127.0.0.1@evil.example", "evil.example"),
)
HERE: Final = re.compile(r"/(?![/\\])[!-~]*|http://127\.0\.0\.1:8000/[!-~]*")
"""An address on this server, with nothing in it that cannot be seen."""


def forms(app: Any, yard: FilledYard) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Method and address of each page's route with its fields: their places and names."""
    for route in leaves(app):
        if hasattr(route, "dependant") and not route.path.startswith("/api/"):
            fields = [(place, name) for place, name, kind, _ in parameters(route) if place in ("query", "body")]
            for method in sorted(methods_of(route) - {"HEAD"}):
                yield method, fill_address(route.path, yard), fields


def test_no_redirect_of_any_page_leads_elsewhere(server: FastAPI, client: TestClient) -> None:
    yard = fill(server, client)
    headers = bearer(yard.parts, NAMES["administrator"])
    redirects, sent = 0, 0
    for i, (method, address, fields) in enumerate(forms(server, yard)):
        # All payloads where one surely counts, and a few everywhere else.
        named = any(name in ("back", "next", "question") for _, name in fields)
        for evil in ELSEWHERE if named else ELSEWHERE[i % 7 :: 7]:
            query = {name: evil for place, name in fields if place == "query"}
            form = {name: evil for place, name in fields if place == "body"} | {"back": evil, "next": evil}
            values: dict[str, Any] = {"params": query} | ({} if method == "GET" else {"data": form})
            answer = client.request(method, address, headers=headers, follow_redirects=False, **values)
            location = answer.headers.get("location") or answer.headers.get("hx-redirect")
            sent += 1
            if location is not None:
                redirects += 1
                assert HERE.fullmatch(location), (method, address, evil, location)
                # A change whose address says that it was refused would not be in the audit log.
                assert parse_qs(urlsplit(location).query).get("refused") != ["9"], (method, address, evil)
            assert "set-cookie" not in answer.headers or "a=b" not in answer.headers["set-cookie"]
    assert sent > 500
    assert redirects > 40


@pytest.mark.parametrize("evil", ELSEWHERE)
def test_signing_in_leads_to_a_page_of_this_server(server: FastAPI, client: TestClient, evil: str) -> None:
    fill(server, client)
    form = {"name": NAMES["viewer"], "password": PASSWORD, "next": evil}
    answer = client.post("/sign-in", data=form, follow_redirects=False)
    assert answer.status_code == 303
    assert HERE.fullmatch(answer.headers["location"])
    page = client.get("/sign-in", params={"next": evil}, follow_redirects=False)
    assert HERE.fullmatch(page.headers.get("location", "/"))


@given(path=st.text() | st.text("/\\\t\n :@evil.a%?#"))
def test_a_path_that_a_form_asks_for_is_kept_only_if_it_is_one_of_this_server(path: str) -> None:
    found = local_path(path, "/otherwise")
    assert HERE.fullmatch(found.replace(" ", "+"))
    assert found in (path, "/otherwise")


@given(name=st.text(min_size=1) | st.text('"\\%\r\n;=é\0', min_size=1))
def test_whatever_a_file_is_called_its_header_has_one_line_and_one_name(name: str) -> None:
    header = attachment(name)
    header.encode("latin-1")
    assert header.isprintable()
    assert re.fullmatch(r"attachment; filename=\"[^\"\\]*\"; filename\*=UTF-8''[A-Za-z0-9%_.~-]*", header)
