"""Host headers as DNS rebinding and proxies make them, for routes of every kind."""

from __future__ import annotations

from typing import Any, Final

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.main import API_PREFIX
from tests.app.web.walk import address, leaves, methods_of

FOREIGN: Final = (
    *("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example."),
    *("127.0.0.1@evil.example", "evil.example@127.0.0.1", "127.0.0.1:8000@evil.example", "@127.0.0.1", "a"),
    *("[::2]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.0.0.2", "10.0.0.1:8000", "169.254.169.254", "2130706433"),
    *("0x7f000001", "127.1", "017700000001", "", " ", ":8000", "[::1", "::2", "[", "]", "*", "127.0.0.1:x"),
    *("localhost.", "127.0.0.1.", "127.0.0.1 evil.example", "evil.example/127.0.0.1", "evil.example?127.0.0.1"),
    *("evil.example#@127.0.0.1", "evil.example\\@127.0.0.1", "localhost%00", "localhost,evil.example", "ⓛocalhost"),
)
OWN: Final = ("127.0.0.1", "127.0.0.1:8000", "localhost", "LocalHost:1", "[::1]", "[::1]:8000")
PROXIED: Final[tuple[dict[str, str], ...]] = (
    {"x-forwarded-host": "127.0.0.1"},
    {"forwarded": "host=127.0.0.1"},
    {"x-original-host": "localhost", "x-host": "localhost"},
)


def one_of_each_kind(app: Any) -> list[tuple[str, str]]:
    """A route for each method and first segment of a path."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for route in leaves(app):
        for method in methods_of(route):
            path = address(route)
            first = path.removeprefix(API_PREFIX).split("/")[1]
            found.setdefault((method, f"{path.startswith(API_PREFIX)} {first}"), (method, path))
    return sorted(found.values())


@pytest.mark.parametrize("host", FOREIGN)
def test_a_foreign_name_reaches_no_route_whatever_a_proxy_says(server: FastAPI, client: TestClient, host: str) -> None:
    routes = one_of_each_kind(server)
    assert len(routes) > 60
    for i, (method, path) in enumerate(routes):
        headers = [(b"host", host.encode()), *((k.encode(), v.encode()) for k, v in PROXIED[i % len(PROXIED)].items())]
        assert client.request(method, path, headers=headers).status_code == 421, (method, path)


@pytest.mark.parametrize("host", OWN)
def test_an_own_name_is_served_and_what_a_proxy_says_of_it_changes_no_address(client: TestClient, host: str) -> None:
    for headers in PROXIED:
        evil = {name: value.replace("127.0.0.1", "evil.example") for name, value in headers.items()}
        answer = client.get("/runs/", headers={"host": host, **evil}, follow_redirects=False)
        assert answer.status_code in (200, 307, 404)
        assert "evil" not in answer.headers.get("location", "") + answer.text
