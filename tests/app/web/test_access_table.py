"""Every route has its line, the table takes the same route as the router, and nothing is open that should not be."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from app.contract.people import ROLE_PERMISSIONS, SCOPE_PERMISSIONS
from app.web.access_table import ENTRIES, Entry, Table, _read
from tests.app.web.walk import address, leaves, matched, methods_of

TABLE = Table()
UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}


def need(method: str, path: str) -> str | None:
    entry = TABLE.find(method, path)
    return None if entry is None else entry.need


def test_every_route_has_a_line(built_app: FastAPI) -> None:
    found = {(method, address(route)) for route in leaves(built_app) for method in methods_of(route)}
    assert len(found) > 300
    assert [each for each in sorted(found) if need(*each) is None] == []


def test_every_changing_route_has_a_line_of_its_own(built_app: FastAPI) -> None:
    for route in leaves(built_app):
        for method in methods_of(route) & UNSAFE:
            entry = TABLE.find(method, address(route))
            assert entry is not None
            template = re.sub(r"{[^}]+:path}", "**", route.path)
            assert re.sub(r"{[^}]+}", "{}", template) == entry.path, (method, route.path, entry.path)


def test_every_line_is_for_a_route(built_app: FastAPI) -> None:
    routes = list(leaves(built_app))
    for entry in ENTRIES:
        path = entry.path.replace("{}", "1").replace("**", "x")
        prefix = entry.path.removesuffix("**")
        found = matched(routes, entry.method, path) or (
            entry.path.endswith("**") and any(str(route.path).startswith(prefix) for route in routes)
        )
        assert found or any(re.fullmatch(entry.path.replace("**", ".+"), str(route.path)) for route in routes), entry


@pytest.fixture(scope="module")
def words(built_app: FastAPI) -> list[str]:
    """Every segment of every route, and such as are nobody's."""
    found = {segment for route in leaves(built_app) for segment in str(route.path).split("/")}
    plain = {each for each in found if "{" not in each}
    return sorted(plain | {"", "x", "1", "..", ".", "runs.csv", "runs.", "stop\n", "{}", "**", "%2e", "RUNS", " "})


@given(data=st.data(), method=st.sampled_from(["GET", "HEAD", *sorted(UNSAFE), "OPTIONS"]))
def test_the_table_never_gives_less_than_the_route_that_the_router_takes(
    built_app: FastAPI, words: list[str], data: st.DataObject, method: str
) -> None:
    """Whatever the address, what is asked for is what the line of the route that answers asks for."""
    routes = list(leaves(built_app))
    # Half of the addresses are a route's own with one segment exchanged.
    if data.draw(st.booleans()):
        segments = address(data.draw(st.sampled_from(routes))).split("/")[1:]
        segments[data.draw(st.integers(0, len(segments) - 1))] = data.draw(st.sampled_from(words))
    else:
        segments = data.draw(st.lists(st.sampled_from(words), min_size=1, max_size=8))
    path = "/" + "/".join(segments)
    route = matched(routes, method, path)
    found = need(method, path)
    if route is None or found is None:
        return
    assert found == need(method, address(route)), (method, path, route.path)


def test_only_signing_in_and_joining_with_a_token_are_open() -> None:
    assert {(entry.method, entry.path) for entry in ENTRIES if entry.need == "open"} == {
        ("GET", "/healthz"),
        ("GET", "/static/**"),
        ("GET", "/sign-in"),
        ("POST", "/sign-in"),
        ("GET", "/sign-in/oidc"),
        ("GET", "/sign-in/oidc/callback"),
        ("GET", "/welcome"),
        ("POST", "/welcome"),
        ("POST", "/api/v1/sign-in"),
        ("POST", "/api/v1/join"),
    }


def may(entry: Entry, permissions: Any) -> bool:
    return entry.need == "open" or entry.need in permissions


CHANGES_NOTHING = (
    r"/runs/compare|/playground/look|/api/v1/(preview|sweeps/preview|(runs|models)/\{\}/predict)|.*/search"
)
NOT_SERVED = r".*/mlflow(-artifacts)?/\*\*"
OWN = r"(/api/v1)?/(account/.*|account|sign-in|sign-out|welcome|join)"


def test_a_viewer_changes_nothing_but_the_own_account() -> None:
    for entry in ENTRIES:
        if entry.method in UNSAFE and may(entry, ROLE_PERMISSIONS["viewer"]):
            allowed = f"{CHANGES_NOTHING}|{NOT_SERVED}|{OWN}|.*/get-latest-versions"
            assert re.fullmatch(allowed, entry.path), entry


def test_a_log_token_logs_and_does_nothing_else() -> None:
    logs = (
        r"/api/v1/(log(/\{\})?|import|whoami|runs/\{\}/files/\*\*)"
        r"|(/runs/\{\})?/api/2\.0/mlflow/(runs|experiments|logged-models)\b.*"
        r"|(/runs/\{\})?/api/2\.0/mlflow-artifacts/(artifacts|mpu)/.*"
    )
    opened = r"/healthz|/static/\*\*|(/api/v1)?/(sign-in(/oidc(/callback)?)?|welcome|join)"
    for entry in ENTRIES:
        if may(entry, SCOPE_PERMISSIONS["log"]):
            assert re.fullmatch(f"{logs}|{NOT_SERVED}|{opened}", entry.path), entry
            assert not re.search(r"delete$|restore$|search$", entry.path), entry


def test_no_token_changes_an_account_and_more_roles_may_more() -> None:
    assert all("account" not in permissions for permissions in SCOPE_PERMISSIONS.values())
    viewer, member, administrator = (ROLE_PERMISSIONS[role] for role in ("viewer", "member", "administrator"))
    assert viewer < member < administrator


def test_secrets_of_webhooks_are_for_administrators() -> None:
    assert need("GET", "/api/v1/webhooks") == "admin"
    assert need("POST", "/notifications/webhooks") == "admin"


def test_a_line_that_cannot_be_read_and_a_second_line_for_a_route_are_errors() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        _read("GET /x all")
    with pytest.raises(ValueError, match="two entries"):
        Table((Entry("GET", "/x", "read"), Entry("GET", "/x", "log")))
