"""Saved views of the run table: save, list, rename, delete and undo."""

from __future__ import annotations

from typing import Any

import pytest

from app.store import saved_view as view_store


def test_a_view_is_saved_listed_replaced_and_deleted_by_the_api(client: Any) -> None:
    made = client.post("/api/v1/views", json={"name": " best ", "question": "/runs?sort=-test/acc&q=&after=x&evil=1"})
    assert made.status_code == 201
    said = made.json()
    assert (said["name"], said["question"], said["url"]) == ("best", "sort=-test%2Facc", "/runs?sort=-test%2Facc")
    again = client.post("/api/v1/views", json={"name": "best", "question": "?family=vit&group=size&columns=lr"}).json()
    assert (again["id"], again["question"]) == (said["id"], "family=vit&columns=lr&group=size")
    assert client.get("/api/v1/views").json()["views"] == [again]
    assert client.delete(f"/api/v1/views/{said['id']}").status_code == 204
    assert client.delete(f"/api/v1/views/{said['id']}").status_code == 404
    assert client.get("/api/v1/views").json()["views"] == []


@pytest.mark.parametrize("name", ["", "  ", "x" * 61])
def test_a_view_has_a_name(client: Any, name: str) -> None:
    assert client.post("/api/v1/views", json={"name": name, "question": ""}).status_code == 422
    assert client.post("/views", data={"name": name}).status_code == 422


def test_the_number_of_views_is_limited(client: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(view_store, "MAX_VIEWS", 1)
    client.post("/api/v1/views", json={"name": "one"})
    assert client.post("/api/v1/views", json={"name": "two"}).status_code == 409
    assert client.post("/api/v1/views", json={"name": "one", "question": "q=a"}).status_code == 201


def test_a_view_is_listed_and_every_change_can_be_undone(client: Any, look: Any, runs: Any) -> None:
    runs.add()
    page = look(client.get("/runs?sort=lr&q=digits"))
    assert page.one("input", id="view-question")["value"] == "q=digits&sort=lr"
    page = look(client.post("/views", data={"name": "mine <1>", "question": "q=digits&sort=lr"}))
    assert page.one("a", aria_current="page", class_="chip")["href"] == "/runs?q=digits&sort=lr"
    assert "<h1>mine &lt;1&gt;</h1>" in page.html
    view = client.get("/api/v1/views").json()["views"][0]["id"]
    page = look(client.post(f"/views/{view}/rename", data={"name": "yours", "back": "/runs?q=digits&sort=lr"}))
    assert "View mine &lt;1&gt; renamed to yours." in page.html
    page = look(client.post("/runs/undo", data={"act": page.one("input", name="act")["value"]}))
    assert [each["name"] for each in client.get("/api/v1/views").json()["views"]] == ["mine <1>"]
    page = look(client.post(f"/views/{view}/delete"))
    assert "View mine &lt;1&gt; deleted." in page.html
    assert client.get("/api/v1/views").json()["views"] == []
    page = look(client.post("/runs/undo", data={"act": page.one("input", name="act")["value"]}))
    assert "View mine &lt;1&gt; restored." in page.html
    assert [each["id"] for each in client.get("/api/v1/views").json()["views"]] == [view]


def test_a_name_that_is_taken_is_refused_and_nothing_changes(client: Any, look: Any) -> None:
    one, two = (client.post("/api/v1/views", json={"name": name}).json()["id"] for name in ("one", "two"))
    assert client.post(f"/views/{two}/rename", data={"name": "one"}).status_code == 409
    assert client.post("/views/v_nothing/rename", data={"name": "three"}).status_code == 404
    page = look(client.post(f"/views/{one}/delete"))
    client.post(f"/views/{two}/rename", data={"name": "one"})
    # What was to come back finds its name taken meanwhile, and can still come back later.
    act = {"act": page.one("input", name="act")["value"]}
    assert client.post("/runs/undo", data=act).status_code == 409
    client.post(f"/views/{two}/rename", data={"name": "two"})
    assert client.post("/runs/undo", data=act).status_code == 200
