"""Requests that another site makes a browser send, with the cookie of an administrator, to every route that changes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from starlette.testclient import TestClient

from app.store.database import reading
from app.web.security import SAFE_METHODS
from tests.app.web.walk import leaves, methods_of
from tests.corpora.addresses import fill_address
from tests.filled_yard import FilledYard, fill
from tests.people import NAMES, session

ORIGINS: Final[tuple[str | None, ...]] = (
    *("null", "http://evil.example", "https://127.0.0.1:8000.evil.example", "http://127.0.0.1:9000", "file://"),
    *("http://localhost:8000", "http://127.0.0.1:8000@evil.example", "http://[::1]:8000", "", None),
)
SITES: Final[tuple[str | None, ...]] = ("cross-site", "same-site", "same-origin", "none", None)
BODIES: Final = (
    ("text/plain", b'{"name": "a", "runs": []}'),
    ("application/x-www-form-urlencoded", b"name=a&runs=1"),
    ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\na\r\n--x--\r\n'),
    ("application/json", b"{}"),
    ("", b""),
)
"""What a page of another site can send without asking, and JSON."""


def foreign() -> Iterator[dict[str, str]]:
    """Every pair of Origin and Sec-Fetch-Site that a page elsewhere has."""
    for origin, site in itertools.product(ORIGINS, SITES):
        if origin is not None or site in ("cross-site", "same-site"):
            yield {name: value for name, value in (("origin", origin), ("sec-fetch-site", site)) if value is not None}


def content_of(yard: FilledYard) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, but for when sessions were last seen."""
    with reading(yard.parts.engine) as connection:
        names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
        return {
            str(name): sorted((tuple(row) for row in connection.execute(text(f'SELECT * FROM "{name}"'))), key=repr)
            for name in names
            if name != "sign_in_session"
        }


@pytest.fixture
def yard(server: FastAPI, client: TestClient) -> FilledYard:
    return fill(server, client)


def test_every_changing_route_refuses_every_foreign_page_and_nothing_changes(
    server: FastAPI, client: TestClient, yard: FilledYard
) -> None:
    client.cookies.update(session(yard.parts, NAMES["administrator"]))
    assert client.get("/api/v1/whoami").json()["name"] == NAMES["administrator"]
    before, sent, routes = content_of(yard), 0, 0
    bodies = itertools.cycle(BODIES)
    for route in leaves(server):
        for method in sorted(methods_of(route) - SAFE_METHODS):
            address = fill_address(str(route.path), yard)
            routes += 1
            for headers in foreign():
                kind, body = next(bodies)
                answer = client.request(method, address, content=body, headers=headers | {"content-type": kind})
                assert answer.status_code == 403, (method, address, headers)
                sent += 1
    assert routes > 200
    assert sent > 40 * routes
    assert content_of(yard) == before


def test_the_same_routes_are_reached_from_our_own_pages(client: TestClient, yard: FilledYard) -> None:
    """Otherwise the walk would prove nothing."""
    client.cookies.update(session(yard.parts, NAMES["administrator"]))
    own = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    assert client.post("/api/v1/queue/pause", headers=own).status_code == 200
    assert client.post("/api/2.0/mlflow/runs/search", json={"experiment_ids": ["0"]}, headers=own).status_code == 200
    run = yard.ids["run"][0]
    assert client.patch(f"/api/v1/runs/{run}", json={"name": "mine"}, headers=own).json()["title"] == "mine"
