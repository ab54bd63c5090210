"""Who may send which request: every route, with every role and every credential."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from app.actions.people import change_person, remove_person
from app.contract.command_key import ensure_key, read_key
from app.contract.local_key import authorization
from app.contract.people import (
    MACHINE_PERMISSIONS,
    ROLE_PERMISSIONS,
    ROLES,
    SCOPE_PERMISSIONS,
    SCOPES,
    Permission,
    Role,
)
from app.contract.settings import Settings
from app.services.passwords import Passwords
from app.web import access, credentials
from app.web.access import Access
from app.web.access_table import Table
from app.web.caller import LOCAL_KEY
from app.web.credentials import Credentials
from app.web.dependencies import Parts
from tests.app.web.walk import address, leaves, methods_of
from tests.conftest import ADDRESS, Runs
from tests.people import ADMINISTRATOR, NAMES, PASSWORD, QUICK, bearer, people, session

TABLE = Table()


@pytest.fixture
def guarded(parts: Parts) -> TestClient:
    """Access in front of an application that says yes to everything."""

    async def yes(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("yes")(scope, receive, send)

    inner = Access(yes)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = SimpleNamespace(state=SimpleNamespace(parts=parts))
        await inner(scope, receive, send)

    return TestClient(app, base_url=ADDRESS, follow_redirects=False)


def signed(parts: Parts, method: str, path: str) -> dict[str, str]:
    """The header of a request that is signed with the key in the data folder."""
    key = read_key(ensure_key(parts.settings.data_dir))
    return {"authorization": authorization(key, method, "127.0.0.1:8000", path)}


def every(app: FastAPI) -> list[tuple[str, str]]:
    return sorted({(method, address(route)) for route in leaves(app) for method in methods_of(route)})


def let_pass(answer: Any) -> bool:
    """Whether a request has reached the application."""
    assert answer.status_code in (200, 303, 401, 403), answer.text
    return bool(answer.status_code == 200)


def test_every_route_with_every_role_and_every_credential(
    built_app: FastAPI, parts: Parts, guarded: TestClient
) -> None:
    """Exactly those requests reach the application that the table lets pass."""
    callers: list[tuple[str, frozenset[Permission], dict[str, Any] | None]] = [
        ("nobody", frozenset(), {}),
        ("a wrong token", frozenset(), {"headers": {"authorization": "Bearer ry_x"}}),
        ("a wrong cookie", frozenset(), {"cookies": {"runyard-session-8000": "x"}}),
        ("the machine", MACHINE_PERMISSIONS, None),
    ]
    for role in ROLES:
        permissions, name = ROLE_PERMISSIONS[role], NAMES[role]
        callers += [
            (f"{role}'s browser", permissions, {"cookies": session(parts, name)}),
            (f"{role}'s terminal", permissions, {"headers": bearer(parts, name)}),
            (f"{role}'s password", permissions, {"auth": (name, PASSWORD)}),
        ]
    for scope in SCOPES:
        callers.append((f"token: {scope}", SCOPE_PERMISSIONS[scope], {"headers": bearer(parts, ADMINISTRATOR, scope)}))
    checked = 0
    for method, path in every(built_app):
        entry = TABLE.find(method, path)
        assert entry is not None
        for who, permissions, credential in callers:
            guarded.cookies.clear()
            sent: dict[str, Any] = {"headers": signed(parts, method, path)} if credential is None else dict(credential)
            guarded.cookies.update(sent.pop("cookies", {}))
            expected = entry.need == "open" or entry.need in permissions
            assert let_pass(guarded.request(method, path, **sent)) == expected, (who, method, path)
            checked += 1
    assert checked > 4500


def test_the_role_limits_a_token_that_was_created_before(parts: Parts, guarded: TestClient) -> None:
    header = bearer(parts, NAMES["member"], "launch")
    assert guarded.post("/api/v1/runs", headers=header).status_code == 200
    change_person(parts, LOCAL_KEY, NAMES["member"], role="viewer")
    assert guarded.post("/api/v1/runs", headers=header).status_code == 403
    assert guarded.get("/api/v1/runs", headers=header).status_code == 200


def test_an_address_without_a_line_is_denied_to_everyone(parts: Parts, guarded: TestClient) -> None:
    for method, path in (("POST", "/runs"), ("GET", "/nothing"), ("TRACE", "/runs"), ("GET", "/api/v1/webhooks\n")):
        assert guarded.request(method, path.replace("\n", "%0A")).status_code in (303, 401), path
        header = bearer(parts, ADMINISTRATOR)
        assert guarded.request(method, path.replace("\n", "%0A"), headers=header).status_code == 404, path


def test_refusals_say_why_in_the_language_of_the_client(parts: Parts, guarded: TestClient) -> None:
    page = guarded.get("/runs?q=vit", headers={"accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/sign-in?next=%2Fruns%3Fq%3Dvit")
    api = guarded.get("/api/v1/runs")
    assert (api.status_code, api.json()["detail"]) == (401, "sign in first")
    assert api.headers["www-authenticate"] == 'Bearer realm="Runyard"'
    prometheus = guarded.get("/metrics", headers={"accept": "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"})
    assert (prometheus.status_code, prometheus.json()["detail"]) == (401, "sign in first")
    browser = guarded.get("/metrics", headers={"accept": "text/html,*/*;q=0.8"})
    assert (browser.status_code, browser.headers["location"]) == (303, "/sign-in?next=%2Fmetrics")
    mlflow = guarded.post("/api/2.0/mlflow/runs/create")
    assert (mlflow.status_code, mlflow.json()["error_code"]) == (401, "UNAUTHENTICATED")
    fragment = guarded.get("/now/yard", headers={"hx-request": "true"})
    assert (fragment.status_code, fragment.headers["hx-redirect"]) == (401, "/sign-in")
    viewer = guarded.post("/api/v1/runs", headers=bearer(parts, NAMES["viewer"]))
    assert (viewer.status_code, viewer.json()["detail"]) == (403, "a viewer may not launch or change anything")
    token = guarded.get("/api/v1/runs", headers=bearer(parts, NAMES["member"], "log"))
    assert (token.status_code, token.json()["detail"]) == (403, "the token log may not read")
    denied = guarded.post("/api/2.0/mlflow/runs/delete", headers=bearer(parts, NAMES["member"], "log"))
    assert (denied.status_code, denied.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_a_refused_request_changes_nothing(parts: Parts, client: TestClient, runs: Runs) -> None:
    run = runs.add()
    before = runs.sql("SELECT * FROM run")
    for header in ({}, bearer(parts, NAMES["viewer"]), bearer(parts, NAMES["member"], "log")):
        assert client.post(f"/api/v1/runs/{run}/cancel", headers=header).status_code in (401, 403)
        assert client.delete(f"/api/v1/runs/{run}", headers=header).status_code in (401, 403)
        client.post(f"/runs/{run}/cancel", headers=header)
    assert runs.sql("SELECT * FROM run") == before
    assert client.post(f"/api/v1/runs/{run}/cancel", headers=bearer(parts, NAMES["member"])).status_code == 200


def test_nobody_learns_from_a_refusal_which_runs_there_are(parts: Parts, client: TestClient, runs: Runs) -> None:
    run = runs.get(runs.add())
    answers = [
        client.get(path, follow_redirects=False).headers["location"] for path in (f"/runs/{run.number}", "/runs/999")
    ]
    assert answers == [f"/sign-in?next=%2Fruns%2F{run.number}", "/sign-in?next=%2Fruns%2F999"]
    sign_in = client.get("/sign-in").text
    assert "workers" not in sign_in
    assert "/runs" not in sign_in


# When nobody has to sign in -------------------------------------------------------------------------------------------


def test_on_loopback_without_people_nobody_signs_in_and_nothing_is_read(
    server: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/api/v1/whoami").json()["credential"] == "no sign-in"
    reads: list[int] = []
    monkeypatch.setattr(credentials, "reading", lambda engine: reads.append(1))
    for _ in range(5):
        assert client.get("/static/runyard.css").status_code == 200
        assert client.get("/docs", headers={"authorization": "Bearer of-a-proxy"}).status_code == 200
    assert reads == []


def test_the_first_person_shuts_the_door_at_once(server: FastAPI, client: TestClient) -> None:
    assert client.get("/api/v1/runs").status_code == 200
    parts = people(server)
    assert client.get("/api/v1/runs").status_code == 401
    order: tuple[Role, ...] = ("viewer", "member", "administrator")
    for role in order:
        remove_person(parts, LOCAL_KEY, NAMES[role])
    assert client.get("/api/v1/runs").status_code == 200


def test_another_server_notices_the_first_person_soon(server: FastAPI, client: TestClient, monkeypatch: Any) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr("app.web.credentials.time.monotonic", lambda: now[0])
    assert client.get("/api/v1/runs").status_code == 200
    own = server.state.parts.credentials
    people(server)
    server.state.parts.credentials = own
    now[0] += credentials.PEOPLE_SECONDS
    assert client.get("/api/v1/runs").status_code == 401


@pytest.mark.parametrize(
    ("changes", "listening", "required"),
    [
        ({}, "127.0.0.1", False),
        ({}, "::1", False),
        ({}, None, False),
        # Started by another ASGI server, with an address of its own.
        ({}, "192.0.2.1", True),
        ({"host": "localhost"}, "127.0.0.1", False),
        ({"host": "0.0.0.0"}, "127.0.0.1", True),
        ({"host": "192.0.2.1"}, "192.0.2.1", True),
        ({"sign_in": "always"}, "127.0.0.1", True),
        ({"host": "0.0.0.0", "behind_loopback_publish": True}, "172.17.0.2", False),
        ({"host": "0.0.0.0", "behind_loopback_publish": True, "sign_in": "always"}, "172.17.0.2", True),
    ],
)
def test_who_listens_where_others_reach_it_asks_everyone(
    settings: Settings, engine: Any, changes: dict[str, Any], listening: str | None, required: bool
) -> None:
    found = Credentials(engine, settings.model_copy(update=changes), Passwords(QUICK))
    assert found.required(listening) is required


# Streams --------------------------------------------------------------------------------------------------------------


def test_an_event_stream_ends_soon_after_its_session(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("app.web.access.time.monotonic", lambda: now[0])
    header = bearer(parts, NAMES["viewer"])

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
        await send(start)
        for number in range(4):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            now[0] += access.RECHECK_SECONDS + 1
            if number == 1:
                change_person(parts, LOCAL_KEY, NAMES["viewer"], disabled=True)
        await send({"type": "http.response.body", "body": b"end", "more_body": False})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = SimpleNamespace(state=SimpleNamespace(parts=parts))
        await Access(stream)(scope, receive, send)

    answer = TestClient(app, base_url=ADDRESS).get("/api/v1/events", headers=header)
    assert answer.text == "data: 0\n\ndata: 1\n\n"
