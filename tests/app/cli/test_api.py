"""Asking a server: what it refuses is said in its own words, and what is no server is said too."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from app.cli.api import Api, ApiError, server_address
from app.contract.settings import Settings
from tests.conftest import Runs

Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def odd_server() -> Iterator[tuple[str, list[Answer], list[Any]]]:
    """Address of a server that answers as the test says, one answer a request; and the headers that it was sent."""
    answers: list[Answer] = []
    heard: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            heard.append({name.lower(): value for name, value in self.headers.items()})
            answers.pop(0)(self)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", answers, heard
        finally:
            server.shutdown()
            thread.join(10)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.rfile.read(int(handler.headers.get("content-length", 0)))
    handler.close_connection = True


def say(body: bytes, status: int = 200) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.rfile.read(int(handler.headers.get("content-length", 0)))
        handler.send_response(status)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_an_answer_is_read_and_a_list_is_asked_for_as_several_values(url: str, runs: Runs) -> None:
    runs.finish(runs.add())
    runs.add()
    assert [run["status"] for run in Api(url).get("/runs", status=["queued", "failed"])["runs"]] == ["queued"]
    assert Api(f"{url}/").get("/runs", status=None)["total"] == 2


def test_a_refusal_is_told_in_the_servers_words(url: str) -> None:
    with pytest.raises(ApiError, match=r"^no family 'vitt'; families: simple_dense_net, ") as refusal:
        Api(url).post("/runs", {"family": "vitt"}, key="k")
    assert refusal.value.status == 422


def test_a_server_that_is_not_there_is_said_with_how_to_start_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ApiError) as refusal:
        Api(f"http://127.0.0.1:{port}").get("/runs")
    assert str(refusal.value) == (
        f"no Runyard answers at http://127.0.0.1:{port}; start one with `runyard up`, or name another in RUNYARD_URL"
    )
    assert refusal.value.status == 0


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://[::1", "http://a:0", "http://a:99999"]
)
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(ApiError, match="is not the address of a server; it looks like http://"):
        Api(address)


@pytest.mark.parametrize(("body", "status"), [(b"<html>", 200), (b"<html>", 404), (b"[]", 500), (b"{}", 502)])
def test_another_program_at_the_address_is_not_taken_for_runyard(odd_server: Any, body: bytes, status: int) -> None:
    address, answers, _ = odd_server
    answers.append(say(body, status))
    with pytest.raises(ApiError, match=f"what answers at {address} is not Runyard"):
        Api(address).get("/runs")


def test_a_launch_is_sent_again_with_its_key_when_the_connection_broke(odd_server: Any) -> None:
    address, answers, heard = odd_server
    answers += [hang_up, say(b'{"id": "a"}', 201)]
    assert Api(address).post("/runs", {}, key="k-1") == {"id": "a"}
    assert [each.get("idempotency-key") for each in heard] == ["k-1", "k-1"]


def test_a_launch_is_sent_twice_at_most_and_without_a_key_only_once(odd_server: Any) -> None:
    address, answers, heard = odd_server
    answers += [hang_up, hang_up, hang_up]
    with pytest.raises(ApiError, match="no Runyard answers"):
        Api(address).post("/runs", {}, key="k-1")
    with pytest.raises(ApiError, match="no Runyard answers"):
        Api(address).post("/preview", {})
    assert len(heard) == 3


def test_a_refused_launch_is_not_sent_again(odd_server: Any) -> None:
    address, answers, heard = odd_server
    answers.append(say(json.dumps({"detail": "taken"}).encode(), 409))
    with pytest.raises(ApiError, match=r"^taken$"):
        Api(address).post("/runs", {}, key="k")
    assert len(heard) == 1


def test_a_proxy_is_not_asked_for_a_server_of_this_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert Api(url).get("/runs")["runs"] == []


def test_the_lines_of_the_stream_that_say_something_are_changes(odd_server: Any) -> None:
    address, answers, _ = odd_server
    answers.append(say(b"retry: 1000\n\nevent: changed\ndata: {}\n\n: still here\n\n"))
    with Api(address).changes() as changes:
        assert list(changes) == [None, None]


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "0.0.0.0", "port": 9}, "http://127.0.0.1:9"),
        ({"host": "::1"}, "http://[::1]:8000"),
        ({"host": "::"}, "http://[::1]:8000"),
        ({"host": "localhost"}, "http://localhost:8000"),
    ],
)
def test_the_server_is_where_the_settings_say(said: dict[str, Any], address: str) -> None:
    assert server_address(Settings.model_validate({"host": "127.0.0.1", "port": 8000} | said)) == address


def test_any_free_port_is_no_address() -> None:
    with pytest.raises(ApiError, match="RUNYARD_PORT is 0"):
        server_address(Settings(port=0))
