"""A trusted proxy names the person who sends a request, in a header; from anybody else the header means nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.actions.people import change_person
from app.store.audit_event import list_events
from app.store.database import reading
from app.web.caller import LOCAL_KEY
from app.web.credentials import Credentials
from app.web.dependencies import Parts
from tests.conftest import ADDRESS
from tests.people import ADMINISTRATOR, NAMES, PASSWORD, bearer, people, session

HEADER, PROXY = "X-Remote-User", "10.0.0.7"
GRACE, EDSGER = NAMES["member"], NAMES["viewer"]
Sender = Callable[[str], TestClient]


@pytest.fixture
def parts(server: FastAPI) -> Parts:
    """The parts of a server with one person of each role, behind a proxy that names them."""
    parts = people(server)
    settings = parts.settings.model_copy(update={"trusted_proxies": PROXY, "proxy_user_header": HEADER})
    parts.settings, parts.credentials = settings, Credentials(parts.engine, settings, parts.credentials.passwords)
    return parts


@pytest.fixture
def sender(parts: Parts, client: TestClient) -> Sender:
    """Clients at any address, of the server that has started."""
    return lambda address: TestClient(client.app, ADDRESS, client=(address, 5000), follow_redirects=False)


def whoami(client: TestClient, **options: Any) -> tuple[int, str | None]:
    answer = client.get("/api/v1/whoami", **options)
    return answer.status_code, answer.json().get("name")


def test_the_proxy_names_the_person_who_may_do_what_their_role_says(parts: Parts, sender: Sender) -> None:
    proxy = sender(PROXY)
    assert whoami(proxy, headers={HEADER: GRACE}) == (200, GRACE)
    assert whoami(proxy, headers={HEADER.lower(): " Grace "}) == (200, GRACE)
    assert proxy.get("/account", headers={HEADER: EDSGER}).status_code == 200
    refused = proxy.post("/api/v1/queue/pause", headers={HEADER: EDSGER})
    assert (refused.status_code, refused.json()["detail"]) == (403, "a viewer may not launch or change anything")
    done = proxy.post("/api/v1/queue/pause", headers={HEADER: GRACE, "x-forwarded-for": "192.0.2.9"})
    assert done.status_code < 300
    with reading(parts.engine) as connection:
        (event,) = list_events(connection, who=GRACE)
    assert (event["action"], event["credential"], event["address"]) == ("queue.pause", "proxy", "192.0.2.9")


@pytest.mark.parametrize("address", ["10.0.0.8", "127.0.0.1", "::1", "192.0.2.1", "testclient"])
def test_nobody_else_can_name_anyone(sender: Sender, address: str) -> None:
    stranger = sender(address)
    for headers in ({HEADER: ADMINISTRATOR}, {HEADER: ADMINISTRATOR, "x-forwarded-for": PROXY}):
        assert whoami(stranger, headers=headers) == (401, None)
        assert stranger.get("/admin", headers=headers).headers["location"] == "/sign-in?next=%2Fadmin"


def test_the_header_does_not_change_who_has_signed_in_elsewhere(parts: Parts, sender: Sender) -> None:
    stranger = sender("192.0.2.1")
    stranger.cookies.update(session(parts, EDSGER))
    assert whoami(stranger, headers={HEADER: ADMINISTRATOR}) == (200, EDSGER)


def test_a_header_that_a_client_has_added_is_refused(sender: Sender) -> None:
    answer = sender(PROXY).get("/api/v1/whoami", headers=[(HEADER, ADMINISTRATOR), (HEADER, GRACE)])
    assert answer.status_code == 403
    assert answer.json()["detail"] == f"{HEADER} was sent more than once; the proxy must replace what clients send"


def test_people_who_are_unknown_or_disabled_stay_out(parts: Parts, sender: Sender) -> None:
    proxy = sender(PROXY)
    unknown = proxy.get("/api/v1/whoami", headers={HEADER: "eve"})
    assert unknown.json()["detail"] == "the proxy calls you 'eve', and nobody here is called that"
    change_person(parts, LOCAL_KEY, GRACE, disabled=True)
    disabled = proxy.get("/api/v1/whoami", headers={HEADER: GRACE})
    assert (unknown.status_code, disabled.status_code) == (403, 403)
    assert disabled.json()["detail"] == "the account 'grace' is disabled here"
    page = proxy.get("/runs", headers={HEADER: "eve", "accept": "text/html"})
    assert (page.status_code, "nobody here is called that" in page.text) == (403, True)


def test_a_token_counts_before_the_header_and_a_passed_on_password_after_it(parts: Parts, sender: Sender) -> None:
    proxy = sender(PROXY)
    token = bearer(parts, EDSGER, "read")
    assert whoami(proxy, headers={HEADER: ADMINISTRATOR} | token) == (200, EDSGER)
    assert whoami(proxy, headers={HEADER: GRACE}, auth=("grace", "of the proxy")) == (200, GRACE)
    assert whoami(proxy, auth=(GRACE, PASSWORD)) == (200, GRACE)
    assert whoami(proxy, headers={HEADER: GRACE} | {"authorization": "Bearer ry_wrong"})[0] == 401


def test_without_the_header_the_proxy_names_nobody_and_a_session_counts(parts: Parts, sender: Sender) -> None:
    proxy = sender(PROXY)
    assert whoami(proxy)[0] == 401
    assert whoami(proxy, headers={HEADER: " "})[0] == 401
    proxy.cookies.update(session(parts, GRACE))
    assert whoami(proxy) == (200, GRACE)
    assert whoami(proxy, headers={HEADER: EDSGER}) == (200, EDSGER)


def test_another_site_cannot_use_who_the_proxy_says_the_browser_is(sender: Sender) -> None:
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = sender(PROXY).post("/api/v1/queue/pause", headers={HEADER: ADMINISTRATOR} | headers)
        assert answer.status_code == 403
