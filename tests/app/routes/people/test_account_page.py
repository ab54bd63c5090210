"""One's own account, and the page of administrators, as forms."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from app.web.dependencies import Parts
from tests.people import ADMINISTRATOR, NAMES, PASSWORD, session

NEW = "another horse battery"


def enter(parts: Parts, client: TestClient, name: str) -> None:
    client.cookies.clear()
    client.cookies.update(session(parts, name))


def can_sign_in(client: TestClient, name: str, password: str) -> bool:
    return client.post("/api/v1/sign-in", json={"name": name, "password": password}).status_code == 200


def test_a_new_token_is_shown_once(parts: Parts, client: TestClient) -> None:
    enter(parts, client, NAMES["member"])
    page = client.post("/account/tokens", data={"name": "laptop", "scope": "log", "days": "30"})
    assert page.status_code == 201
    (token,) = re.findall(r"ry_[\w-]{43}", page.text)
    assert token not in client.get("/account").text
    assert "laptop" in client.get("/account").text
    client.cookies.clear()
    header = {"authorization": f"Bearer {token}"}
    assert client.get("/api/v1/whoami", headers=header).json()["permissions"] == ["log", "log-read"]
    enter(parts, client, NAMES["member"])
    (path,) = re.findall(r"/account/tokens/t_\w+/delete", client.get("/account").text)
    assert client.post(path).status_code == 200
    client.cookies.clear()
    assert client.get("/api/v1/whoami", headers=header).status_code == 401


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"name": "x", "scope": "admin", "days": "30"}, "A token of a member cannot have the scope"),
        ({"name": "x", "scope": "all", "days": "30"}, "No scope"),
        ({"name": "", "scope": "log", "days": "30"}, "Name must have 1 to 60 characters"),
        ({"name": "x", "scope": "log", "days": "99999"}, "Choose when the token expires"),
    ],
)
def test_a_token_that_cannot_be_is_refused(
    parts: Parts, client: TestClient, form: dict[str, str], sentence: str
) -> None:
    enter(parts, client, NAMES["member"])
    page = client.post("/account/tokens", data=form)
    assert page.status_code == 422
    assert sentence in page.text


def test_a_new_password_ends_all_other_sessions(parts: Parts, client: TestClient) -> None:
    other = session(parts, NAMES["viewer"])
    enter(parts, client, NAMES["viewer"])
    form = {"current": PASSWORD, "new": NEW, "again": NEW}
    for changes, sentence in (
        ({"current": NEW}, "The current password is wrong"),
        ({"again": "x"}, "The new passwords differ"),
        ({"new": "short", "again": "short"}, "Password must have 10 to 200 characters"),
    ):
        page = client.post("/account/password", data=form | changes)
        assert page.status_code == 422
        assert sentence in page.text
    assert "Password changed" in client.post("/account/password", data=form).text
    assert client.get("/account").status_code == 200
    client.cookies.clear()
    client.cookies.update(other)
    assert client.get("/account", follow_redirects=False).status_code == 303
    assert not can_sign_in(client, NAMES["viewer"], PASSWORD)
    assert can_sign_in(client, NAMES["viewer"], NEW)


def test_sessions_end_one_by_one_or_everywhere(parts: Parts, client: TestClient) -> None:
    session(parts, NAMES["viewer"])
    session(parts, NAMES["viewer"])
    enter(parts, client, NAMES["viewer"])
    numbers = re.findall(r'name="session" value="(\d+)"', client.get("/account").text)
    assert len(numbers) == 2
    client.post("/account/sessions/end", data={"session": numbers[0]})
    assert re.findall(r'name="session" value="(\d+)"', client.get("/account").text) == numbers[1:]
    assert client.post("/account/sessions/end", data={"session": "99"}).status_code == 404
    answer = client.post("/account/sessions/end", follow_redirects=False)
    assert answer.headers["location"] == "/sign-in"
    assert client.get("/account", follow_redirects=False).status_code == 303


def test_nobody_ends_the_session_or_deletes_the_token_of_another(parts: Parts, client: TestClient) -> None:
    enter(parts, client, NAMES["viewer"])
    (mine,) = client.get("/api/v1/account/sessions").json()["sessions"]
    token = client.post("/api/v1/account/tokens", json={"name": "x", "scope": "read"}).json()["token"]["id"]
    enter(parts, client, NAMES["member"])
    assert client.delete(f"/api/v1/account/sessions/{mine['id']}").status_code == 404
    assert client.delete(f"/api/v1/account/tokens/{token}").status_code == 404
    assert client.post(f"/account/tokens/{token}/delete").status_code == 404
    enter(parts, client, NAMES["viewer"])
    assert client.get("/api/v1/account/tokens").json()["tokens"][0]["id"] == token


# Administration -------------------------------------------------------------------------------------------------------


def test_an_administrator_adds_changes_and_removes_people(parts: Parts, client: TestClient) -> None:
    enter(parts, client, ADMINISTRATOR)
    assert client.post("/admin/people", data={"name": "Barbara", "role": "viewer", "password": NEW}).status_code == 200
    assert can_sign_in(client, "barbara", NEW)
    client.post("/admin/people/barbara/role", data={"role": "member"})
    client.post("/admin/people/barbara/password", data={"password": PASSWORD})
    assert can_sign_in(client, "barbara", PASSWORD)
    client.post("/admin/people/barbara/disable")
    assert not can_sign_in(client, "barbara", PASSWORD)
    client.post("/admin/people/barbara/enable")
    assert can_sign_in(client, "barbara", PASSWORD)
    page = client.get("/admin/audit", params={"target": "barbara", "action": "person."}).text
    for action in ("person.add", "person.role", "person.password", "person.disable", "person.enable"):
        assert f"<td>{action}</td>" in page
    client.post("/admin/people/barbara/delete")
    assert "barbara" not in [each["name"] for each in client.get("/api/v1/users").json()["users"]]


@pytest.mark.parametrize(
    ("path", "form", "status", "sentence"),
    [
        ("/admin/people", {"name": "grace", "role": "member"}, 409, "Somebody is already called"),
        ("/admin/people", {"name": "a b", "role": "member"}, 422, "Name must have 1 to 60 characters"),
        ("/admin/people", {"name": "x", "role": "king"}, 422, "No role"),
        ("/admin/people", {"name": "x", "role": "member", "password": "short"}, 422, "Password must have"),
        ("/admin/people/ada/role", {"role": "viewer"}, 409, "This is the last administrator"),
        ("/admin/people/ada/disable", {}, 409, "This is the last administrator"),
        ("/admin/people/ada/delete", {}, 409, "This is the last administrator"),
        ("/admin/people/nobody/delete", {}, 404, "Nobody is called"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    parts: Parts, client: TestClient, path: str, form: dict[str, str], status: int, sentence: str
) -> None:
    enter(parts, client, ADMINISTRATOR)
    before = client.get("/api/v1/users").json()
    page = client.post(path, data=form)
    assert page.status_code == status
    assert sentence in page.text
    assert client.get("/api/v1/users").json() == before


def test_others_do_not_see_the_page(parts: Parts, client: TestClient) -> None:
    for role in ("viewer", "member"):
        enter(parts, client, NAMES[role])
        assert client.get("/admin").status_code == 403
        assert "/admin" not in client.get("/").text


def test_a_viewer_has_no_button_to_launch(parts: Parts, client: TestClient) -> None:
    enter(parts, client, NAMES["viewer"])
    assert 'href="/launch"' not in client.get("/docs").text
    enter(parts, client, NAMES["member"])
    assert 'href="/launch"' in client.get("/docs").text


def test_names_and_clients_are_text_and_never_markup(parts: Parts, client: TestClient) -> None:
    markup = "<script>alert(1)</script>"
    body = {"name": NAMES["viewer"], "password": PASSWORD, "client": markup}
    client.post("/api/v1/sign-in", json=body)
    enter(parts, client, NAMES["viewer"])
    client.post("/account/tokens", data={"name": markup, "scope": "read", "days": "30"})
    enter(parts, client, ADMINISTRATOR)
    for page in (client.get("/admin"), client.get("/admin/tokens"), client.get("/admin/audit", params={"who": markup})):
        assert page.status_code == 200
        assert markup not in page.text
    enter(parts, client, NAMES["viewer"])
    assert markup not in client.get("/account").text
