"""Every refusal is a problem that says in a sentence what is wrong, and never repeats what was sent."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis.exceptions import ResponseError
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from app.contract.errors import Conflict, Invalid, NotFound, RunyardError, Unavailable, to_field_errors
from app.contract.spec import FieldError
from app.main import build_app
from app.web.error_responses import problem
from app.web.security import HEADERS
from tests.conftest import ADDRESS, errors_of


class Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")

    whole: int = Field(1, ge=1, le=9)
    number: float = Field(1.0, gt=0, lt=1, allow_inf_nan=False)
    words: str = Field("ab", min_length=1, max_length=3)
    many: list[int] = Field([], max_length=2)
    yes: bool = True
    must: str


@pytest.mark.parametrize(
    ("said", "field", "message"),
    [
        ({}, "must", "must is missing"),
        ({"color": 1}, "color", "unknown field 'color'"),
        ({"whole": 0}, "whole", "whole must be at least 1"),
        ({"whole": 10}, "whole", "whole must be at most 9"),
        ({"whole": 1.5}, "whole", "whole must be a whole number"),
        ({"whole": "x"}, "whole", "whole must be a whole number"),
        ({"whole": "9" * 5000}, "whole", "whole must be a whole number"),
        ({"number": 0}, "number", "number must be greater than 0"),
        ({"number": 1}, "number", "number must be less than 1"),
        ({"number": "x"}, "number", "number must be a number"),
        ({"number": float("nan")}, "number", "number must be a finite number, not NaN or infinity"),
        ({"words": ""}, "words", "words must not be empty"),
        ({"words": "abcd"}, "words", "words can have at most 3 characters"),
        ({"words": 1}, "words", "words must be text"),
        ({"words": "\ud800"}, "words", "words must be text"),
        ({"many": [1, 2, 3]}, "many", "many can have at most 2 entries"),
        ({"many": [1, "x"]}, "many", "many.1 must be a whole number"),
        ({"yes": "perhaps"}, "yes", "yes must be true or false"),
        ({"must": None}, "must", "must must be text"),
    ],
)
def test_a_wrong_field_is_one_sentence(said: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Sent.model_validate(said if field == "must" else {"must": "x"} | said)
    assert to_field_errors(caught.value.errors()) == [FieldError(field, message)]


def test_a_problem_names_title_status_and_detail_and_can_always_be_sent() -> None:
    answer = problem(404, "Not found", "half a \ud800", [FieldError("\udfff", "\ud800")])
    assert answer.media_type == "application/problem+json"
    assert answer.body == (
        b'{"type":"about:blank","title":"Not found","status":404,"detail":"half a ?",'
        b'"errors":[{"field":"?","message":"?"}]}'
    )


def test_a_path_that_does_not_exist_in_the_api_is_answered_as_a_problem(client: TestClient) -> None:
    answer = client.get("/api/v1/nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not found",
        "status": 404,
        "detail": "nothing found at /api/v1/nothing",
    }


def test_a_path_that_does_not_exist_among_the_pages_is_answered_as_a_page(client: TestClient) -> None:
    answer = client.get("/nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "othing found at /nothing" in answer.text


def test_a_method_that_a_path_does_not_take_is_said(client: TestClient) -> None:
    answer = client.put("/api/v1/runs", json={})
    assert (answer.status_code, answer.json()["status"]) == (405, 405)
    assert answer.json()["detail"] == "this address does not accept PUT requests"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("no such run"), 404),
        (Conflict("still running"), 409),
        (Invalid("wrong", [FieldError("lr", "lr is wrong")]), 422),
        (Unavailable("Redis is away"), 503),
        (OSError(errno.ENOSPC, "No space left on device"), 507),
        (ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), 507),
        (RunyardError("oh"), 500),
        (ZeroDivisionError("the password is hunter2"), 500),
        (ExceptionGroup("two", [ValueError("hunter2")]), 500),
    ],
)
def test_every_error_is_a_problem_with_the_headers_of_every_answer(
    server: FastAPI, error: Exception, status: int
) -> None:
    def fail() -> None:
        raise error

    app = build_app()
    app.state.parts = server.state.parts
    app.add_api_route("/api/fail", fail)
    answer = TestClient(app, base_url=ADDRESS, raise_server_exceptions=False).get("/api/fail")
    assert answer.status_code == status
    said = answer.json()
    assert said["status"] == status
    assert said["title"]
    assert said["detail"]
    assert "hunter2" not in answer.text
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert ("errors" in said) == (status == 422)


@pytest.mark.parametrize("reader", ["app.web.credentials.any_user", "app.web.run_numbers.resolve_run"])
@pytest.mark.parametrize("path", ["/api/v1/runs/12", "/runs/12"])
def test_a_database_that_does_not_respond_to_what_is_asked_before_the_route_is_named(
    server: FastAPI, monkeypatch: pytest.MonkeyPatch, reader: str, path: str
) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("SELECT", {}, ConnectionError("server closed the connection unexpectedly"))

    monkeypatch.setattr(reader, away)
    server.state.parts.credentials.people_changed()
    answer = TestClient(server, base_url=ADDRESS).get(path)
    assert answer.status_code == 503
    assert "he database does not respond; nothing was changed; try again" in answer.text
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"seed": ' + b"9" * 10_000 + b"}",
        b"null",
        b"[]",
        b'"x"',
    ],
)
def test_a_body_that_is_no_json_object_is_refused_in_a_sentence(client: TestClient, body: bytes) -> None:
    answer = client.post("/api/v1/runs", content=body, headers={"content-type": "application/json"})
    (message,) = errors_of(answer).values()
    assert len(message) < 200


def test_a_body_that_is_not_called_json_is_refused(client: TestClient) -> None:
    answer = client.post("/api/v1/runs", content=b'{"family":"vit"}', headers={"content-type": "text/plain"})
    assert list(errors_of(answer)) == ["body"]


def test_a_method_that_a_page_does_not_accept_is_named_in_a_sentence(client: TestClient) -> None:
    answer = client.post("/architectures")
    assert answer.status_code == 405
    assert "<h1>Method not allowed</h1>" in answer.text
    assert "This page does not accept POST requests." in answer.text
    problem_details = client.put("/api/v1/runs").json()
    assert problem_details["title"] == "Method not allowed"
    assert problem_details["detail"] == "this address does not accept PUT requests"
