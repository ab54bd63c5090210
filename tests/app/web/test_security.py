"""Only Runyard's own pages and programs of this machine may change anything, and no answer may be used elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from app.contract.settings import Settings
from app.main import create_app
from app.web.security import HEADERS, MAX_BODY_BYTES, SAFE_METHODS, BindError, Guard, check_bind
from tests.conftest import Runs

OWN = "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "a@127.0.0.1",
        "10.0.0.1",
        "[::1",
    ],
)
def test_a_foreign_host_name_is_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/healthz", "/api/v1/runs", "/static/runyard.css"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 421, path
        assert "RUNYARD_ALLOWED_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:9", "LOCALHOST", "[::1]:8000"])
def test_the_names_of_this_machine_are_served(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


def test_a_name_that_was_allowed_is_served(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"allowed_hosts": "Yard.local, other"}))
    client = TestClient(app, base_url="http://yard.local:8000")
    assert client.get("/api/v1/datasets").status_code == 200
    assert client.get("/api/v1/datasets", headers={"host": "third"}).status_code == 421
    app.state.parts.engine.dispose()


FOREIGN: list[dict[str, str]] = [
    {"origin": "http://evil.example"},
    {"origin": "http://127.0.0.1:9000"},
    {"origin": "http://localhost:8000"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "http://["},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "origin": OWN},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_foreign_page_can_neither_launch_nor_stop_nor_delete(
    client: TestClient, runs: Runs, headers: dict[str, str]
) -> None:
    run, ended = runs.add(), runs.add()
    runs.finish(ended)
    before = runs.sql("SELECT * FROM run")
    tries = [
        client.post("/api/v1/runs", json={"family": "vit"}, headers=headers),
        client.post(f"/api/v1/runs/{run}/cancel", headers=headers),
        client.delete(f"/api/v1/runs/{ended}", headers=headers),
        client.post(f"/runs/{run}/cancel", data={"back": "/"}, headers=headers),
    ]
    assert [answer.status_code for answer in tries] == [403] * 4
    assert runs.sql("SELECT * FROM run") == before


@pytest.mark.parametrize(
    "headers", [{}, {"origin": OWN}, {"sec-fetch-site": "same-origin", "origin": OWN}, {"sec-fetch-site": "none"}]
)
def test_our_own_pages_and_scripts_may(client: TestClient, runs: Runs, headers: dict[str, str]) -> None:
    run = runs.add()
    assert client.post(f"/api/v1/runs/{run}/cancel", headers=headers).status_code == 200
    assert runs.status(run) == "cancelled"


def routes(app: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every path of the application with every method it takes."""
    for route in app.routes:
        if isinstance(route, Mount):
            # Files of a folder; one of them stands for all.
            yield "GET", prefix + route.path + "/runyard.css"
        elif isinstance(route, Route):
            for method in route.methods or ():
                yield method, prefix + re.sub(r"{[^}]+}", "x", route.path)
        elif hasattr(route, "effective_candidates"):
            yield from included(route, prefix)
        else:
            raise AssertionError(f"a kind of route that this walk does not know: {route!r}")


def included(router: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for route in router.effective_candidates():
        if hasattr(route, "effective_candidates"):
            yield from included(route, prefix)
            continue
        for method in route.methods or ():
            yield method, prefix + re.sub(r"{[^}]+}", "x", route.path)


def test_every_route_that_changes_something_refuses_a_foreign_page(server: FastAPI, client: TestClient) -> None:
    found = sorted(set(routes(server)))
    unsafe = [(method, path) for method, path in found if method not in SAFE_METHODS]
    assert {("POST", "/api/v1/runs"), ("DELETE", "/api/v1/runs/x"), ("POST", "/launch")} <= set(unsafe)
    for method, path in unsafe:
        for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
            assert client.request(method, path, headers=headers).status_code == 403, (method, path)


def test_every_route_refuses_a_foreign_host(server: FastAPI, client: TestClient) -> None:
    found = sorted(set(routes(server)))
    assert len(found) > 25
    for method, path in found:
        assert client.request(method, path, headers={"host": "evil.example"}).status_code == 421, (method, path)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/api/v1/datasets", {}, 200),
        ("GET", "/static/runyard.css", {}, 200),
        ("GET", "/api/v1/nothing", {}, 404),
        ("GET", "/nothing", {}, 404),
        ("PUT", "/api/v1/runs", {}, 405),
        ("POST", "/api/v1/runs", {}, 422),
        ("POST", "/api/v1/runs", {"origin": "http://evil.example"}, 403),
        ("GET", "/", {"host": "evil.example"}, 421),
    ],
)
def test_every_answer_carries_the_security_headers(
    client: TestClient, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = client.request(method, path, headers=headers)
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS


def test_the_policy_lets_no_foreign_or_inline_code_run() -> None:
    policy = HEADERS["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy


def test_a_body_that_is_too_large_is_refused_before_it_is_read(client: TestClient, runs: Runs) -> None:
    answer = client.post("/api/v1/runs", content=b"x" * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413
    assert "4 MiB" in answer.json()["detail"]


def test_a_body_that_does_not_say_how_large_it_is_is_refused_when_it_becomes_too_large(client: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 2**18 + 1):
            yield b" " * 2**18

    for path, kind in (("/api/v1/runs", "application/json"), ("/launch", "application/x-www-form-urlencoded")):
        answer = client.post(path, content=pieces(), headers={"content-type": kind})
        assert answer.status_code == 413, path
    assert "<h1>Request too large</h1>" in answer.text


@pytest.mark.parametrize("length", ["x", "-1", "", "²", "1e9"])
def test_a_length_that_is_no_number_is_refused(client: TestClient, length: str) -> None:
    answer = client.post("/api/v1/runs", content=b"{}", headers={b"content-length": length.encode()})
    assert answer.status_code == 400


def test_a_length_that_is_absurd_is_refused(client: TestClient) -> None:
    answer = client.post("/api/v1/runs", content=b"{}", headers={"content-length": "9" * 5000})
    assert answer.status_code == 413


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "10.0.0.1", "8.8.8.8", "fe80::1", "::ffff:10.0.0.1"])
def test_on_an_address_that_others_can_reach_everyone_signs_in(host: str) -> None:
    check_bind(host)
    assert Settings(host=host).everyone_signs_in
    assert not Settings(host=host, behind_loopback_publish=True).everyone_signs_in


@pytest.mark.parametrize(
    ("listening", "host", "status"),
    [
        ("192.0.2.7", "192.0.2.7:8000", 200),
        ("2001:db8::7", "[2001:db8:0::7]:8000", 200),
        ("192.0.2.7", "192.0.2.8", 421),
        ("192.0.2.7", "rebound.example", 421),
        ("192.0.2.7", "192.0.2.7.rebound.example", 421),
    ],
)
def test_beyond_loopback_the_address_of_the_connection_is_a_name_of_the_server(
    listening: str, host: str, status: int
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("yes")(scope, receive, send)

    async def arriving(scope: Scope, receive: Receive, send: Send) -> None:
        await Guard(app, by_address=True)(dict(scope) | {"server": (listening, 8000)}, receive, send)

    assert TestClient(arriving).get("/", headers={"host": host}).status_code == status


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_an_address_of_this_machine_alone_is_listened_on(host: str) -> None:
    check_bind(host)
    assert not Settings(host=host).everyone_signs_in


@pytest.mark.parametrize("host", ["yard.local", "", "127.0.0.1:80", "localhost.evil.example"])
def test_a_name_that_could_mean_anything_is_not_listened_on(host: str) -> None:
    with pytest.raises(BindError, match="use 127"):
        check_bind(host)
