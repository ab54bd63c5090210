"""Sign-in at an OpenID Connect provider, which here is one that lies where a test says."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.actions.people import add_person, change_person, remove_person, restore_person
from app.actions.provider_sign_in import link_person
from app.store.audit_event import list_events
from app.store.database import reading, writing
from app.store.user import purge_users
from app.web.caller import LOCAL_KEY
from app.web.dependencies import Parts
from tests.conftest import ADDRESS, Runs
from tests.openid import CLIENT, RULES, Provider, configure, leave, refusal, sign_in
from tests.people import ADMINISTRATOR, PASSWORD, people, user


@pytest.fixture
def parts(server: FastAPI, idp: Provider) -> Parts:
    """The parts of a server with one person of each role, named ada, grace and edsger, and a provider."""
    parts = people(server)
    configure(parts, idp)
    idp.person["preferred_username"] = "Barbara"
    return parts


def names(parts: Parts) -> set[str]:
    with reading(parts.engine) as connection:
        return {event["action"] + " " + event["who"] for event in list_events(connection)}


# Entering -------------------------------------------------------------------------------------------------------------


def test_a_stranger_with_a_role_enters_and_is_known_from_then_on(
    parts: Parts, idp: Provider, client: TestClient
) -> None:
    page = client.get("/runs?q=vit")
    assert (
        f'href="/sign-in/oidc?next=/runs%3Fq%3Dvit">Sign in with {idp.issuer.removeprefix("http://")}</a>' in page.text
    )
    answer = sign_in(client, idp, "/runs?q=vit")
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs?q=vit")
    cookies = answer.headers.get_list("set-cookie")
    assert re.fullmatch(r"runyard-session-8000=[\w-]{43}; HttpOnly; Max-Age=7776000; Path=/; SameSite=lax", cookies[0])
    assert cookies[1].startswith('runyard-sign-in-8000=""; ')
    home = client.get("/")
    assert '<a href="/account">barbara</a>' in home.text
    added = user(parts.engine, "barbara")
    assert (added.role, added.password_hash) == ("member", "")
    with reading(parts.engine) as connection:
        sign_in_event, add_event = list_events(connection, who="barbara")
    assert (sign_in_event["action"], sign_in_event["credential"]) == ("sign-in", "OpenID Connect")
    assert (add_event["action"], add_event["credential"]) == ("person.add", "OpenID Connect")
    assert add_event["detail"] == {"role": "member", "issuer": idp.issuer, "subject": "s-1"}
    # Another name at the provider changes nothing here.
    idp.person["preferred_username"] = ADMINISTRATOR
    assert sign_in(client, idp).status_code == 303
    assert '<a href="/account">barbara</a>' in client.get("/").text
    assert 'name="current"' not in client.get("/account").text


def test_the_request_to_the_provider_has_all_that_protects_it(
    parts: Parts, idp: Provider, client: TestClient, runs: Runs
) -> None:
    answer = client.get("/sign-in/oidc", follow_redirects=False)
    asked = parse_qs(urlsplit(answer.headers["location"]).query)
    assert asked["response_type"] == ["code"]
    assert asked["client_id"] == [CLIENT]
    assert asked["redirect_uri"] == [f"{ADDRESS}/sign-in/oidc/callback"]
    assert asked["scope"] == ["openid profile email"]
    assert asked["code_challenge_method"] == ["S256"]
    assert all(len(asked[name][0]) >= 43 for name in ("state", "nonce", "code_challenge"))
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(r"runyard-sign-in-8000=[\w-]{43}; HttpOnly; Max-Age=600; Path=/; SameSite=lax", cookie)
    kept = str(runs.sql("SELECT * FROM sign_in_attempt"))
    assert asked["state"][0] not in kept
    assert cookie.partition("=")[2].partition(";")[0] not in kept
    assert dict(parse_qsl(urlsplit(leave(client)).query))["state"] != asked["state"][0]


def test_behind_tls_the_provider_leads_back_over_tls(parts: Parts, idp: Provider, client: TestClient) -> None:
    configure(parts, idp, trusted_proxies="127.0.0.1")
    secure = TestClient(client.app, base_url=ADDRESS, client=("127.0.0.1", 5000))
    answer = secure.get("/sign-in/oidc", headers={"x-forwarded-proto": "https"}, follow_redirects=False)
    redirect = parse_qs(urlsplit(answer.headers["location"]).query)["redirect_uri"]
    assert redirect == [ADDRESS.replace("http:", "https:") + "/sign-in/oidc/callback"]
    assert answer.headers["set-cookie"].startswith("__Host-runyard-sign-in-8000=")
    assert "Secure" in answer.headers["set-cookie"]


def test_the_session_until_now_ends_and_the_secret_is_another(
    parts: Parts, idp: Provider, client: TestClient, runs: Runs
) -> None:
    client.post("/sign-in", data={"name": ADMINISTRATOR, "password": PASSWORD})
    before = client.cookies["runyard-session-8000"]
    assert sign_in(client, idp).status_code == 303
    assert client.cookies["runyard-session-8000"] != before
    assert runs.sql("SELECT count(*) FROM sign_in_session") == [(1,)]
    client.cookies.clear()
    client.cookies.set("runyard-session-8000", before)
    assert client.get("/", follow_redirects=False).headers["location"] == "/sign-in"


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example", "x", "/" + "a" * 3000])
def test_nobody_is_sent_to_another_server(parts: Parts, idp: Provider, client: TestClient, target: str) -> None:
    assert sign_in(client, idp, target).headers["location"] == "/"


def test_claims_that_the_token_lacks_come_from_the_user_information(
    parts: Parts, idp: Provider, client: TestClient
) -> None:
    idp.person = {"sub": "s-2"}
    idp.userinfo = {"preferred_username": "Barbara", "groups": ["yard-admins", "lab"]}
    assert sign_in(client, idp).status_code == 303
    assert user(parts.engine, "barbara").role == "administrator"


def test_user_information_about_somebody_else_is_refused(parts: Parts, idp: Provider, client: TestClient) -> None:
    idp.person = {"sub": "s-2"}
    idp.userinfo = {"sub": "s-1", "preferred_username": "Barbara", "groups": ["lab"]}
    status, sentence = refusal(sign_in(client, idp))
    assert (status, "about somebody else" in sentence) == (401, True)


def test_roles_may_stand_within_an_object(parts: Parts, idp: Provider, client: TestClient) -> None:
    configure(parts, idp, oidc_roles_claim="realm_access.roles")
    idp.person["realm_access"] = {"roles": ["guests", 7]}
    assert sign_in(client, idp).status_code == 303
    assert user(parts.engine, "barbara").role == "viewer"


def test_keys_that_the_provider_has_replaced_are_fetched_again(parts: Parts, idp: Provider, client: TestClient) -> None:
    assert sign_in(client, idp).status_code == 303
    idp.signs_with, idp.publishes = "second", ["second"]
    assert sign_in(client, idp).status_code == 303
    assert idp.asked.count("/keys") == 2
    assert idp.asked.count("/.well-known/openid-configuration") == 1


# Who may enter --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", ["", RULES])
def test_unknown_people_without_a_role_stay_out(parts: Parts, idp: Provider, client: TestClient, rules: str) -> None:
    configure(parts, idp, oidc_roles=rules)
    idp.person["groups"] = ["*", "others"]
    status, sentence = refusal(sign_in(client, idp))
    assert status == 403
    assert sentence == ("You are not among those who may use this Runyard; ask an administrator (you are s-1).")
    assert "sign-in barbara" not in names(parts)


def test_a_star_lets_everyone_of_the_provider_in(parts: Parts, idp: Provider, client: TestClient) -> None:
    configure(parts, idp, oidc_roles="*=viewer, lab=member")
    idp.person["groups"] = ["others"]
    assert sign_in(client, idp).status_code == 303
    assert user(parts.engine, "barbara").role == "viewer"


def test_the_role_follows_the_provider_and_leaving_all_groups_ends_the_sessions(
    parts: Parts, idp: Provider, client: TestClient
) -> None:
    sign_in(client, idp)
    idp.person["groups"] = ["guests"]
    sign_in(client, idp)
    assert user(parts.engine, "barbara").role == "viewer"
    assert client.get("/runs", follow_redirects=False).status_code == 200
    idp.person["groups"] = []
    assert refusal(sign_in(client, idp))[0] == 403
    assert client.get("/runs", follow_redirects=False).status_code == 303
    assert {"person.role barbara", "session.end barbara"} <= names(parts)


def test_the_last_administrator_keeps_the_role(parts: Parts, idp: Provider, client: TestClient) -> None:
    idp.person["groups"] = ["yard-admins"]
    sign_in(client, idp)
    change_person(parts, LOCAL_KEY, ADMINISTRATOR, disabled=True)
    idp.person["groups"] = ["guests"]
    assert sign_in(client, idp).status_code == 303
    assert user(parts.engine, "barbara").role == "administrator"


def test_the_name_of_somebody_here_opens_no_door(parts: Parts, idp: Provider, client: TestClient) -> None:
    idp.person |= {"preferred_username": "ADA", "groups": ["yard-admins"]}
    before = user(parts.engine, ADMINISTRATOR)
    status, sentence = refusal(sign_in(client, idp))
    assert status == 409
    assert "Somebody here is already called &#39;ada&#39;" in sentence
    assert "runyard user link ada s-1" in sentence
    assert user(parts.engine, ADMINISTRATOR) == before
    assert client.get("/admin", follow_redirects=False).status_code == 303


def test_disabled_and_removed_people_stay_out_until_they_are_restored_or_removed_for_good(
    parts: Parts, idp: Provider, client: TestClient
) -> None:
    sign_in(client, idp)
    change_person(parts, LOCAL_KEY, "barbara", disabled=True)
    assert refusal(sign_in(client, idp)) == (403, "The account &#39;barbara&#39; is disabled here.")
    first = user(parts.engine, "barbara").id
    change_person(parts, LOCAL_KEY, "barbara", disabled=False)
    remove_person(parts, LOCAL_KEY, "barbara")
    assert refusal(sign_in(client, idp)) == (403, "An administrator removed you here, and can restore you.")
    restore_person(parts, LOCAL_KEY, "barbara")
    assert sign_in(client, idp).status_code == 303
    assert user(parts.engine, "barbara").id == first
    remove_person(parts, LOCAL_KEY, "barbara")
    with writing(parts.engine) as connection:
        assert purge_users(connection, time.time() + 1) == ["barbara"]
    assert sign_in(client, idp).status_code == 303
    assert user(parts.engine, "barbara").id != first


def test_the_subject_of_somebody_who_was_removed_can_be_given_to_another(
    parts: Parts, idp: Provider, client: TestClient
) -> None:
    sign_in(client, idp)
    remove_person(parts, LOCAL_KEY, "barbara")
    add_person(parts, LOCAL_KEY, "liskov", "member", None)
    link_person(parts, LOCAL_KEY, "liskov", "s-1")
    assert sign_in(client, idp).status_code == 303
    assert client.get("/api/v1/whoami").json()["name"] == "liskov"


@pytest.mark.parametrize("name", [None, "", "a b", 7, "x" * 61, "é"])
def test_a_name_that_cannot_be_one_here_is_refused(
    parts: Parts, idp: Provider, client: TestClient, name: object
) -> None:
    idp.person["preferred_username"] = name
    assert refusal(sign_in(client, idp)) == (403, "The provider gives no preferred_username that could be a name here.")


@pytest.mark.parametrize(
    ("verified", "status"), [(True, 303), ("true", 303), (False, 403), (None, 403), ("false", 403)]
)
def test_an_email_counts_only_if_it_is_verified(
    parts: Parts, idp: Provider, client: TestClient, verified: object, status: int
) -> None:
    configure(parts, idp, oidc_name_claim="email")
    idp.person |= {"email": "Barbara@example.org", "email_verified": verified}
    assert sign_in(client, idp).status_code == status


def test_an_email_that_is_not_verified_gives_no_role_either(parts: Parts, idp: Provider, client: TestClient) -> None:
    configure(parts, idp, oidc_roles_claim="email", oidc_roles="root@example.org=administrator")
    idp.person |= {"email": "root@example.org", "email_verified": False}
    assert refusal(sign_in(client, idp))[0] == 403


def test_the_first_person_must_be_an_administrator(server: FastAPI, idp: Provider, client: TestClient) -> None:
    parts: Parts = server.state.parts
    configure(parts, idp)
    assert client.get("/runs", follow_redirects=False).headers["location"] == "/sign-in?next=%2Fruns"
    assert refusal(sign_in(client, idp)) == (403, "The first person here must be an administrator.")
    idp.person["groups"] = ["yard-admins"]
    assert sign_in(client, idp).status_code == 303
    assert client.get("/admin").status_code == 200


# Linking --------------------------------------------------------------------------------------------------------------


def link(client: TestClient, name: str, subject: str) -> Any:
    client.cookies.clear()
    return client.patch(f"/api/v1/users/{name}", json={"subject": subject}, auth=(ADMINISTRATOR, PASSWORD))


def test_an_administrator_links_somebody_who_then_keeps_name_and_role(
    parts: Parts, idp: Provider, client: TestClient
) -> None:
    configure(parts, idp, oidc_roles="")
    idp.person["groups"] = ["yard-admins"]
    assert link(client, "edsger", "s-1").json()["subject"] == "s-1"
    assert sign_in(client, idp).status_code == 303
    assert '<a href="/account">edsger</a>' in client.get("/").text
    assert user(parts.engine, "edsger").role == "viewer"
    assert (link(client, "grace", "s-1").status_code, link(client, "nobody", "s-9").status_code) == (409, 404)
    assert link(client, "edsger", "a\x00b").status_code == 422
    assert link(client, "edsger", "").json()["subject"] is None
    assert refusal(sign_in(client, idp))[0] == 403
    assert {"person.link ada", "person.unlink ada"} <= names(parts)


def test_without_a_provider_nobody_can_be_linked(parts: Parts, idp: Provider, client: TestClient) -> None:
    configure(parts, idp, oidc_issuer="")
    answer = link(client, "edsger", "s-1")
    assert (answer.status_code, "no OpenID Connect provider" in answer.json()["detail"]) == (404, True)
    assert "/sign-in/oidc" not in client.get("/sign-in").text
    for path in ("/sign-in/oidc", "/sign-in/oidc/callback"):
        assert refusal(client.get(path)) == (
            404,
            "This Runyard has no OpenID Connect provider; set RUNYARD_OIDC_ISSUER.",
        )
