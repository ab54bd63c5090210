"""The fuzzer notices what it looks for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from starlette.testclient import TestClient

from app.store.database import next_commit, writing
from app.web.security import HEADERS
from tests.conftest import Runs
from tests.fuzz.callers import Sender, senders
from tests.fuzz.exchange import Received, Sent
from tests.fuzz.invariants import Invariants
from tests.people import people

SECRET = "the-secret-of-a-webhook"
SAFE = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


@pytest.fixture
def invariants(server: FastAPI, client: TestClient) -> Iterator[Invariants]:
    people(server)
    found = Invariants(server, server.state.parts.engine, [SECRET])
    yield found
    found.close()


@pytest.fixture
def by(server: FastAPI, invariants: Invariants) -> dict[str, Sender]:
    found = {each.name: each for each in senders(server.state.parts)}
    invariants.writes.taken()
    return found


def answer(status: int, body: bytes = b"", **headers: str) -> Received:
    return Received(status, [*SAFE, *((name.encode(), value.encode()) for name, value in headers.items())], body)


def said(invariants: Invariants, sender: Sender, received: Received, method: str = "GET", path: str = "/runs") -> Any:
    sent = Sent(method, path)
    return invariants.broken(sender, sent, received, invariants.route_of(sent))


def test_an_answer_that_keeps_all_promises_is_none_of_its_business(invariants: Invariants, by: Any) -> None:
    assert said(invariants, by["viewer's browser"], answer(200, b"runs")) == []
    assert said(invariants, by["nobody"], answer(303, location="/sign-in?next=%2Fruns")) == []
    assert said(invariants, by["administrator's browser"], answer(200, SECRET.encode())) == []


@pytest.mark.parametrize(
    ("who", "received", "method", "path", "words"),
    [
        ("viewer's browser", answer(500), "GET", "/runs", "status 500"),
        ("viewer's browser", Received(error="KeyError"), "GET", "/runs", "KeyError"),
        ("viewer's browser", answer(200), "POST", "/launch", "the access table denies"),
        ("viewer's browser", answer(303, location="/runs/1"), "POST", "/launch", "the access table denies"),
        ("log token", answer(422), "POST", "/api/v1/runs", "the access table denies"),
        ("nobody", answer(200), "GET", "/runs", "the access table denies"),
        ("member's browser", answer(200, SECRET.encode()), "GET", "/runs", "shows a secret"),
        ("member's browser", answer(200, b"ry_" + b"x" * 43), "GET", "/runs", "shows a secret"),
        ("member's browser", answer(303, location="//evil.example"), "POST", "/launch", "another site"),
        ("member's browser", answer(200, x="a\nb"), "GET", "/runs", "a line break"),
        ("member's browser", Received(200), "GET", "/runs", "without content-security-policy"),
        ("viewer's browser", answer(200, b"abc", **{"content-length": "2"}), "GET", "/runs", "content-length 2"),
    ],
)
def test_a_broken_promise_is_told(
    invariants: Invariants, by: Any, who: str, received: Received, method: str, path: str, words: str
) -> None:
    assert any(words in each for each in said(invariants, by[who], received, method, path))


def test_markup_of_a_request_on_a_page_is_told(invariants: Invariants, by: Any) -> None:
    page = answer(200, b"<p><script>x</script>", **{"content-type": "text/html"})
    assert any("markup" in each for each in said(invariants, by["viewer's browser"], page))


def test_an_error_in_the_log_is_told(invariants: Invariants, by: Any) -> None:
    logging.getLogger("runyard.server").error("it went wrong")
    assert said(invariants, by["viewer's browser"], answer(200)) == ["logged: runyard.server: it went wrong "]


def test_a_refusal_that_has_changed_something_is_told(invariants: Invariants, by: Any, runs: Runs) -> None:
    engine = runs.engine

    def write(statement: str, roll_back: bool = False) -> None:
        with writing(engine) as connection:
            next_commit(connection)
            connection.execute(text(statement))
            if roll_back:
                connection.rollback()

    engine = invariants._engine
    with ThreadPoolExecutor(1, "fuzz") as request:
        runs.add()
        request.submit(write, "UPDATE run SET notes = 'x' WHERE id = 'none'").result()
        assert said(invariants, by["member's browser"], answer(404)) == []
        request.submit(write, "UPDATE run SET notes = 'x'").result()
        assert said(invariants, by["member's browser"], answer(404)) == ["refused with 404, but wrote ['run']"]
        request.submit(write, "UPDATE run SET notes = 'y'").result()
        assert said(invariants, by["member's browser"], answer(200)) == []
        request.submit(write, "UPDATE run SET notes = 'z'", True).result()
        assert said(invariants, by["member's browser"], answer(404)) == []
