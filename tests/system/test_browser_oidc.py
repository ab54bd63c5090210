"""Sign-in at an OpenID Connect provider in Chromium: a provider in a process of its own, and a Runyard that knows it.

oidc-provider-mock stands in for a real provider such as Keycloak: it speaks the protocol over HTTP and signs its
tokens, but asks nobody for a password.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import complaints_of
from tests.system.reverse_proxies import free_port
from tests.system.running_yard import OFFLINE, RunningYard
from tests.system.test_browser_access import WIDE, faults_of

PEOPLE = (
    {"sub": "sub-1", "preferred_username": "Ada", "groups": ["yard-admins"]},
    {"sub": "sub-2", "preferred_username": "grace", "groups": ["lab"]},
    # Has taken the name of somebody else.
    {"sub": "sub-3", "preferred_username": "ada", "groups": ["lab"]},
    {"sub": "sub-4", "preferred_username": "eve", "groups": ["other"]},
)


@pytest.fixture
def issuer() -> Iterator[str]:
    """The address of a provider with PEOPLE, in a process of its own."""
    port = free_port()
    people = [word for person in PEOPLE for word in ("--user-claims", json.dumps(person))]
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--require-nonce", "true", *people]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | OFFLINE)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def go_to_provider(page: Page, yard: RunningYard, path: str = "/") -> None:
    """Ask for a page, and choose to sign in at the provider."""
    page.context.clear_cookies()
    page.goto(yard.address + path)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_role("link", name="Sign in with").click()
    expect(page.get_by_role("heading", name="Authorize Client")).to_be_visible()


def sign_in(page: Page, yard: RunningYard, subject: str, path: str = "/") -> None:
    """Sign in at the provider as one of PEOPLE."""
    go_to_provider(page, yard, path)
    page.get_by_role("button", name=subject, exact=True).click()


def test_people_sign_in_at_a_provider_and_get_the_role_of_their_group(
    browser: Browser, own_yard: Callable[..., RunningYard], issuer: str
) -> None:
    yard = own_yard(
        RUNYARD_OIDC_ISSUER=issuer,
        RUNYARD_OIDC_CLIENT_ID="runyard",
        RUNYARD_OIDC_CLIENT_SECRET="not a secret",
        RUNYARD_OIDC_ROLES="yard-admins=administrator, lab=member",
    )
    yard.until(lambda: _answers(issuer))
    context = browser.new_context(viewport=WIDE, color_scheme="light", reduced_motion="reduce")
    # The provider's page asks for a style sheet on the internet; it gets none.
    context.route(re.compile("^https:"), lambda route: route.fulfill(body="", content_type="text/css"))
    page = context.new_page()
    heard = complaints_of(page)

    # Nobody was added, and yet everyone has to sign in.
    page.goto(f"{yard.address}/runs")
    faults = faults_of(page)

    # Without an administrator, nobody else enters; then one does, and becomes the person of that name here.
    sign_in(page, yard, "sub-2")
    expect(page.get_by_role("alert")).to_have_text("The first person here must be an administrator.")
    sign_in(page, yard, "sub-1", "/admin")
    expect(page).to_have_url(f"{yard.address}/admin")
    expect(page.get_by_role("contentinfo").get_by_role("link", name="ada")).to_be_visible()
    row = page.get_by_role("row").filter(has_text="ada").first
    expect(row.get_by_text("OpenID Connect")).to_be_visible()
    faults += faults_of(page)

    # A member enters, may launch but not administer, and is sent on to where they wanted to go.
    sign_in(page, yard, "sub-2", "/runs?q=family:vit")
    expect(page).to_have_url(re.compile(r"/runs\?q=family(:|%3A)vit$"))
    expect(page.get_by_role("contentinfo").get_by_role("link", name="grace")).to_be_visible()
    assert page.request.get(f"{yard.address}/launch").status == 200
    assert page.request.get(f"{yard.address}/admin").status == 403
    page.goto(f"{yard.address}/account")
    expect(page.get_by_role("heading", name="Sessions")).to_be_visible()
    expect(page.get_by_label("Current")).to_have_count(0)

    # Neither somebody's name nor no group at all opens a door; who cancels is told so.
    for subject, sentence in (
        ("sub-3", re.compile("^Somebody here is already called 'ada'; .*runyard user link ada sub-3")),
        ("sub-4", re.compile("^You are not among those who may use this Runyard")),
    ):
        sign_in(page, yard, subject)
        expect(page.get_by_role("alert")).to_have_text(sentence)
        assert page.request.get(f"{yard.address}/runs", max_redirects=0).status == 303
    page.reload()
    expect(page.get_by_role("alert")).to_have_text(re.compile("^This sign-in was used, has expired or"))
    go_to_provider(page, yard)
    page.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("alert")).to_have_text("The provider did not let you in, or you stopped the sign-in.")
    faults += faults_of(page)

    # The audit log has all of it, and a person who is disabled stays out.
    sign_in(page, yard, "sub-1", "/admin/audit")
    log = page.locator("#audit tbody tr")
    for action, who in (("person.add", "ada"), ("person.add", "grace"), ("sign-in", "grace")):
        found = log.filter(has_text=action).filter(has_text=who).filter(has_text="OpenID Connect")
        expect(found).to_have_count(1)
    page.get_by_role("link", name="People", exact=True).click()
    page.get_by_role("button", name="Disable grace").click()
    sign_in(page, yard, "sub-2")
    expect(page.get_by_role("alert")).to_have_text("The account 'grace' is disabled here.")
    context.close()
    assert faults == []
    assert [each for each in heard if not re.search(r"status of (401|403|409)", each)] == []


def _answers(issuer: str) -> bool:
    try:
        with urllib.request.urlopen(f"{issuer}/.well-known/openid-configuration", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
