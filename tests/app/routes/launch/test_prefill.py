from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

from tests.app.routes.launch.sent import filled_in

Look = Callable[[Any], Any]


@pytest.fixture
def run(client: TestClient) -> dict[str, Any]:
    spec = {"family": "vit", "size": "tiny", "lr": 0.01, "epochs": 3, "options": {"pool": "mean"}}
    found: dict[str, Any] = client.post("/api/v1/runs", json=spec | {"tags": ["mine"], "notes": "for now"}).json()
    assert "id" in found, found
    return found


def differs(page: Any) -> str:
    return " ".join(page.words["launch-differs"].split())


def test_a_clone_says_what_is_no_longer_as_it_was_and_a_new_form_says_nothing(
    client: TestClient, look: Look, run: dict[str, Any]
) -> None:
    assert differs(look(client.get("/launch"))) == ""
    page = look(client.get(f"/launch?from={run['id']}"))
    assert differs(page) == f"Same as #{run['number']}."
    form = filled_in(page)
    assert form["source"] == [run["id"]]
    form |= {"lr": ["0.5"], "size": ["base"], "flip": ["true"], "tags": ["yours"]}
    for path in ("check", "fields"):
        answer = client.post(f"/launch/{path}", data=form, headers={"hx-request": "true"})
        said = differs(look(answer))
        assert said.startswith(f"Changed from #{run['number']}:")
        for words in ("learning rate 0.01 → 0.5", "size tiny → base", "flip no → yes"):
            assert words in said
        assert said.count("→") == 3
        # Loaded again from its address, the form still knows.
        address = answer.headers["HX-Replace-Url"]
        assert parse_qs(urlsplit(address).query)["source"] == [run["id"]]
        assert differs(look(client.get(address))) == said


def test_an_option_that_is_as_usual_again_differs_too(client: TestClient, look: Look, run: dict[str, Any]) -> None:
    form = filled_in(look(client.get(f"/launch?from={run['id']}"))) | {"option.pool": ["cls"]}
    answer = client.post("/launch/check", data=form, headers={"hx-request": "true"})
    assert "pool mean → cls" in differs(look(answer))


def test_a_run_launched_from_a_filled_in_form_is_a_clone(client: TestClient, look: Look, run: dict[str, Any]) -> None:
    form = filled_in(look(client.get(f"/launch?from={run['id']}"))) | {"lr": ["0.5"]}
    answer = client.post("/launch", data=form, follow_redirects=False)
    assert answer.status_code == 303
    found = client.get(f"/api/v1{answer.headers['location']}").json()
    assert (found["parent"], found["relation"], found["spec"]["lr"]) == (run["id"], "clone", 0.5)


def test_a_source_that_is_gone_is_no_hindrance(client: TestClient, look: Look, run: dict[str, Any]) -> None:
    page = look(client.get("/launch?source=r_gone&lr=0.5"))
    assert differs(page) == ""
    form = filled_in(page) | {"source": ["r_gone"]}
    answer = client.post("/launch", data=form, follow_redirects=False)
    assert client.get(f"/api/v1{answer.headers['location']}").json()["parent"] is None
    assert run
