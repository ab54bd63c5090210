"""Whatever an OpenID Connect provider, or somebody in its name, answers: nobody enters who should not."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import OctKey
from starlette.testclient import TestClient

from app.services import openid_provider
from app.store import sign_in_attempt
from app.web.dependencies import Parts
from tests.conftest import ADDRESS, Runs
from tests.openid import CLIENT, SECRET, Provider, come_back, configure, key, leave, refusal, sign_in
from tests.people import NAMES, PASSWORD, people


@pytest.fixture
def parts(server: FastAPI, idp: Provider) -> Parts:
    """The parts of a server with one person of each role, named ada, grace and edsger, and a provider."""
    parts = people(server)
    configure(parts, idp)
    idp.person["preferred_username"] = "Barbara"
    return parts


# Hostile answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"nonce": "another"}, "it belongs to another sign-in"),
        ({"nonce": None}, "it belongs to another sign-in"),
        ({"iss": "https://evil.example"}, "it comes from another provider"),
        ({"iss": None}, "it comes from another provider"),
        ({"aud": "another"}, "it is for another application"),
        ({"aud": ["another"]}, "it is for another application"),
        ({"aud": [CLIENT, "another"]}, "it is for another application"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "it is for another application"),
        ({"azp": "another"}, "it is for another application"),
        ({"exp": int(time.time()) - 3600}, "it has expired"),
        ({"exp": None}, "it has expired"),
        ({"exp": "tomorrow"}, "it has expired"),
        ({"iat": int(time.time()) + 3600}, "its time is wrong; compare the clocks"),
        ({"nbf": int(time.time()) + 3600}, "its time is wrong; compare the clocks"),
        ({"at_hash": "x"}, "it belongs to another access token"),
        ({"sub": None}, "it names nobody"),
        ({"sub": ""}, "it names nobody"),
        ({"sub": "a\x00b"}, "it names nobody"),
        ({"sub": "x" * 256}, "it names nobody"),
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(
    parts: Parts, idp: Provider, client: TestClient, change: dict[str, Any], reason: str
) -> None:
    def falsify(claims: dict[str, Any]) -> None:
        claims |= change
        for name in [name for name, value in change.items() if value is None]:
            del claims[name]

    idp.change_claims = falsify
    assert refusal(sign_in(client, idp)) == (401, f"The provider&#39;s answer could not be verified: {reason}.")
    assert client.get("/", follow_redirects=False).headers["location"] == "/sign-in"


def test_a_token_that_the_provider_has_not_signed_is_refused(parts: Parts, idp: Provider, client: TestClient) -> None:
    wrong = (401, "The provider&#39;s answer could not be verified: its signature is not one of the provider&#39;s.")
    for make in (
        idp.leave_unsigned,
        idp.sign_with_public_key,
        lambda claims: idp.sign(claims)[:-8] + "AAAAAAAA",
        lambda claims: idp.leave_unsigned(claims).replace(".", "..", 1),
        lambda _: "x",
        lambda _: urlsafe_b64encode(b"[" * 100_000).decode().rstrip("=") + ".e30.AAAA",
        lambda _: "a.b.c",
        lambda _: "",
        lambda _: "é.é.é",
    ):
        idp.make_token = make
        assert refusal(sign_in(client, idp)) == wrong
    idp.make_token = idp.sign
    idp.signs_with = "second"
    assert refusal(sign_in(client, idp)) == wrong
    # Under the name of a key of the provider.
    idp.make_token = lambda claims: jwt.encode({"alg": "RS256", "kid": key("first").kid}, claims, key("second"))
    assert refusal(sign_in(client, idp)) == wrong


def test_a_symmetric_key_among_the_public_ones_verifies_nothing(
    parts: Parts, idp: Provider, client: TestClient
) -> None:
    secret = OctKey.import_key("0123456789abcdef0123456789abcdef", {"kid": "oct", "use": "sig"})
    idp.answers["/keys"] = (200, b'{"keys": [%s]}' % str(secret.as_dict(private=True)).replace("'", '"').encode())
    idp.make_token = lambda claims: jwt.encode({"alg": "HS256", "kid": "oct"}, claims, secret)
    assert refusal(sign_in(client, idp))[0] == 401


# Replays --------------------------------------------------------------------------------------------------------------

USED = (401, "This sign-in was used, has expired or was started in another browser; start again.")


def test_an_answer_is_good_once(parts: Parts, idp: Provider, client: TestClient) -> None:
    query = idp.authorize(leave(client))
    cookie = client.cookies["runyard-sign-in-8000"]
    assert come_back(client, query).status_code == 303
    client.cookies.clear()
    client.cookies.set("runyard-sign-in-8000", cookie)
    assert refusal(come_back(client, query)) == USED


def test_a_code_is_good_once_whatever_the_state(parts: Parts, idp: Provider, client: TestClient) -> None:
    query = idp.authorize(leave(client))
    assert come_back(client, query).status_code == 303
    state = parse_qs(urlsplit(leave(client)).query)["state"][0]
    status, sentence = refusal(come_back(client, f"code=code-0&state={state}"))
    assert (status, "no longer accepts this sign-in; start again" in sentence) == (401, True)


def test_a_code_of_another_sign_in_does_not_fit(parts: Parts, idp: Provider, client: TestClient) -> None:
    """Whoever slips somebody a code of their own fails at the provider, by PKCE."""
    stolen = parse_qs(idp.authorize(leave(client)))["code"][0]
    state = parse_qs(urlsplit(leave(client)).query)["state"][0]
    assert refusal(come_back(client, f"code={stolen}&state={state}"))[0] == 401


def test_another_browser_cannot_finish_a_sign_in(parts: Parts, idp: Provider, client: TestClient) -> None:
    query = idp.authorize(leave(client))
    other = TestClient(client.app, base_url=ADDRESS)
    assert refusal(come_back(other, query)) == USED
    leave(other)
    assert refusal(come_back(other, query)) == USED
    # The one that has started it still can.
    assert come_back(client, query).status_code == 303


def test_an_old_sign_in_has_expired(
    parts: Parts, idp: Provider, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = idp.authorize(leave(client))
    monkeypatch.setattr(sign_in_attempt, "VALID_SECONDS", -1.0)
    assert refusal(come_back(client, query)) == USED


@pytest.mark.parametrize("query", ["", "code=x", "state=", "state=x&code=y", "error=access_denied&state=x"])
def test_an_answer_that_nobody_asked_for_is_refused(
    parts: Parts, idp: Provider, client: TestClient, query: str
) -> None:
    assert refusal(come_back(client, query)) == USED
    assert idp.asked == []


def test_many_started_sign_ins_leave_little_behind(parts: Parts, idp: Provider, client: TestClient, runs: Runs) -> None:
    for _ in range(sign_in_attempt.MOST_OF_AN_ADDRESS + 5):
        leave(client)
    assert runs.sql("SELECT count(*) FROM sign_in_attempt") == [(sign_in_attempt.MOST_OF_AN_ADDRESS,)]
    assert sign_in(client, idp).status_code == 303


# Trouble --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("error=access_denied", "The provider did not let you in, or you stopped the sign-in."),
        ("error=login_required", "The provider did not sign you in: login_required."),
        ("error=%3Cb%3Ecall+us%3C/b%3E", "The provider did not sign you in: unknown."),
        ("", "The provider did not sign you in: unknown."),
    ],
)
def test_a_denied_sign_in_says_so(parts: Parts, idp: Provider, client: TestClient, query: str, sentence: str) -> None:
    state = parse_qs(urlsplit(leave(client)).query)["state"][0]
    assert refusal(come_back(client, f"state={state}&{query}")) == (403, sentence)


def test_a_provider_that_denies_without_the_state_is_understood(
    parts: Parts, idp: Provider, client: TestClient, runs: Runs
) -> None:
    leave(client)
    answer = come_back(client, "error=access_denied&code=x")
    assert refusal(answer) == (403, "The provider did not let you in, or you stopped the sign-in.")
    # It is no answer to what is under way.
    assert runs.sql("SELECT count(*) FROM sign_in_attempt") == [(1,)]


def test_an_answer_in_the_name_of_another_provider_is_refused(parts: Parts, idp: Provider, client: TestClient) -> None:
    query = idp.authorize(leave(client)) + "&iss=https://evil.example"
    assert refusal(come_back(client, query)) == (401, "The answer comes from another provider; start again.")
    assert come_back(client, f"{idp.authorize(leave(client))}&iss={idp.issuer}").status_code == 303


def test_a_provider_that_calls_itself_otherwise_is_refused(parts: Parts, idp: Provider, client: TestClient) -> None:
    idp.change_configuration = lambda found: found.update(issuer=idp.issuer + "/")
    status, sentence = refusal(client.get("/sign-in/oidc"))
    assert status == 503
    assert sentence == f"The provider calls itself {idp.issuer}/; RUNYARD_OIDC_ISSUER must be exactly that."


@pytest.mark.parametrize("endpoint", ["http://evil.example/authorize", "ftp://x", "", None, 7, "/authorize"])
def test_a_configuration_without_encrypted_addresses_is_refused(
    parts: Parts, idp: Provider, client: TestClient, endpoint: object
) -> None:
    idp.change_configuration = lambda found: found.update(authorization_endpoint=endpoint)
    status, sentence = refusal(client.get("/sign-in/oidc"))
    assert (status, "has no authorization_endpoint with https" in sentence) == (503, True)


@pytest.mark.parametrize("answer", [(500, b"{}"), (200, b"<html>"), (200, b"[]"), (302, b"{}"), (200, b"[" * 100_000)])
def test_what_is_no_configuration_is_named(
    parts: Parts, idp: Provider, client: TestClient, answer: tuple[int, bytes]
) -> None:
    idp.answers["/.well-known/openid-configuration"] = answer
    status, sentence = refusal(client.get("/sign-in/oidc"))
    assert (status, "has no configuration of an OpenID Connect provider" in sentence) == (503, True)
    # What was wrong is not kept.
    idp.answers.clear()
    assert sign_in(client, idp).status_code == 303


def test_a_provider_that_does_not_answer_is_named(parts: Parts, idp: Provider, client: TestClient) -> None:
    configure(parts, idp, oidc_issuer="http://127.0.0.1:9")
    assert refusal(client.get("/sign-in/oidc")) == (503, "127.0.0.1:9 does not answer; try again in a moment.")
    # A password still opens the door.
    assert client.post("/sign-in", data={"name": NAMES["member"], "password": PASSWORD}).url.path == "/"


def test_an_answer_without_end_is_cut(
    parts: Parts, idp: Provider, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openid_provider, "MOST_BYTES", 100)
    status, sentence = refusal(client.get("/sign-in/oidc"))
    assert (status, "answers with more than" in sentence) == (503, True)


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        ((401, b'{"error": "invalid_client"}'), 503, "does not accept RUNYARD_OIDC_CLIENT_ID"),
        ((400, b'{"error": "unauthorized_client"}'), 503, "does not accept RUNYARD_OIDC_CLIENT_ID"),
        ((500, b"oops"), 503, "does not say who has signed in"),
        ((200, b'{"access_token": "a"}'), 503, "does not say who has signed in"),
        ((400, b'{"error": "invalid_grant"}'), 401, "no longer accepts this sign-in"),
    ],
)
def test_what_the_provider_says_instead_of_a_token_is_told(
    parts: Parts, idp: Provider, client: TestClient, answer: tuple[int, bytes], status: int, words: str
) -> None:
    idp.answers["/token"] = answer
    found, sentence = refusal(sign_in(client, idp))
    assert (found, words in sentence) == (status, True)


def test_without_the_library_the_page_says_what_to_install(
    parts: Parts, idp: Provider, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openid_provider, "is_installed", lambda: False)
    status, sentence = refusal(client.get("/sign-in/oidc"))
    assert (status, "pip install &#39;runyard[oidc]&#39;" in sentence) == (503, True)


def test_the_secret_of_the_client_is_on_no_page_and_in_no_log(
    parts: Parts, idp: Provider, client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    idp.answers["/token"] = (401, b'{"error": "invalid_client"}')
    answer = sign_in(client, idp)
    assert SECRET not in answer.text + caplog.text + repr(parts.settings)
