"""The forms to sign in, to create the first administrator, and to sign out."""

from __future__ import annotations

import re

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.actions.people import create_welcome_code
from app.web.dependencies import Parts
from tests.people import ADMINISTRATOR, NAMES, PASSWORD, quick_passwords

FORM = {"name": ADMINISTRATOR, "password": PASSWORD}


@pytest.fixture
def empty(server: FastAPI) -> Parts:
    """The parts of a server where everyone has to sign in, and nobody can."""
    return quick_passwords(server.state.parts, "always")


def test_a_person_signs_in_works_and_signs_out(parts: Parts, client: TestClient) -> None:
    page = client.get("/runs?q=vit")
    assert page.url.path == "/sign-in"
    assert 'name="next" value="/runs?q=vit"' in page.text
    answer = client.post("/sign-in", data=FORM | {"next": "/runs?q=vit"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs?q=vit")
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(r"runyard-session-8000=[\w-]{43}; HttpOnly; Max-Age=7776000; Path=/; SameSite=lax", cookie), (
        cookie
    )
    home = client.get("/")
    assert home.status_code == 200
    assert '<a href="/account">ada</a>' in home.text
    assert client.post("/sign-out", follow_redirects=False).headers["location"] == "/sign-in"
    client.cookies.set("runyard-session-8000", cookie.partition("=")[2].partition(";")[0])
    assert client.get("/", follow_redirects=False).headers["location"] == "/sign-in"


def test_behind_tls_the_cookie_is_secure_and_bound_to_the_host(parts: Parts, client: TestClient) -> None:
    parts.settings = parts.settings.model_copy(update={"trusted_proxies": "127.0.0.1"})
    parts.credentials.settings = parts.settings
    secure = TestClient(client.app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 5000))
    answer = secure.post("/sign-in", data=FORM, headers={"x-forwarded-proto": "https"}, follow_redirects=False)
    assert answer.headers["set-cookie"].startswith("__Host-runyard-session-8000=")
    assert "Secure" in answer.headers["set-cookie"]
    plain = secure.post("/sign-in", data=FORM, follow_redirects=False)
    assert "Secure" not in plain.headers["set-cookie"]


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", "x"])
def test_nobody_is_sent_to_another_server(parts: Parts, client: TestClient, target: str) -> None:
    answer = client.post("/sign-in", data=FORM | {"next": target}, follow_redirects=False)
    assert answer.headers["location"] == "/"
    assert 'name="next" value="/"' in client.get("/sign-in", params={"next": target}).text


def test_a_wrong_password_says_so_and_ten_are_slowed(parts: Parts, client: TestClient) -> None:
    wrong = FORM | {"password": "wrong horse battery"}
    answers = [client.post("/sign-in", data=wrong) for _ in range(10)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 5
    assert "Name or password is wrong." in answers[0].text
    assert 'value="ada"' in answers[0].text
    assert "wrong horse" not in answers[0].text
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert "set-cookie" not in answers[-1].headers
    api = client.post("/api/v1/sign-in", json=FORM)
    assert (api.status_code, api.headers["retry-after"]) == (429, "1")


def test_a_foreign_page_can_neither_sign_someone_in_nor_out(parts: Parts, client: TestClient) -> None:
    for path in ("/sign-in", "/sign-out", "/welcome"):
        for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
            assert client.post(path, data=FORM, headers=headers).status_code == 403


# Welcome --------------------------------------------------------------------------------------------------------------


def welcome(client: TestClient, code: str | None, **changes: str) -> int:
    form = {"code": code or "", "name": "ada", "password": PASSWORD, "again": PASSWORD} | changes
    return client.post("/welcome", data=form, follow_redirects=False).status_code


def test_the_link_creates_the_first_administrator_once(empty: Parts, client: TestClient) -> None:
    code = create_welcome_code(empty)
    page = client.get("/welcome", params={"code": code or ""})
    assert page.status_code == 200
    assert "Create the first administrator" in page.text
    assert welcome(client, code, again="another horse battery") == 422
    assert welcome(client, code, password="password12", again="password12") == 422
    assert welcome(client, code, name="A B") == 422
    assert welcome(client, code) == 303
    assert client.get("/admin").status_code == 200
    client.cookies.clear()
    assert welcome(client, code, name="eve") == 409
    assert client.get("/welcome", params={"code": code or ""}).status_code == 410
    assert create_welcome_code(empty) is None


def test_only_the_last_code_works_and_not_for_long(empty: Parts, client: TestClient, runs: object) -> None:
    first, second = create_welcome_code(empty), create_welcome_code(empty)
    assert welcome(client, first) == 409
    assert welcome(client, "") == 409
    assert client.get("/welcome", params={"code": first or ""}).status_code == 410
    assert client.get("/welcome", params={"code": second or ""}).status_code == 200
    assert welcome(client, second) == 303


def test_while_there_is_an_administrator_no_link_works(parts: Parts, client: TestClient) -> None:
    assert client.get("/welcome?code=x").status_code == 410
    client.post("/sign-in", data={"name": NAMES["administrator"], "password": PASSWORD})
    assert client.post("/api/v1/welcome").status_code == 409


def test_an_expired_code_is_refused(empty: Parts, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    code = create_welcome_code(empty)
    import time

    now = time.time()
    monkeypatch.setattr("app.actions.people.time.time", lambda: now + 3601)
    assert welcome(client, code) == 409
