"""Histograms and texts of a run by API and on its pages."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.app.routes.conftest import Page
from tests.app.routes.test_run_imports import HEAD, record
from tests.conftest import Runs

EVIL = "</pre><script>alert(1)</script> **bold** größer"


@pytest.fixture
def run(client: TestClient) -> str:
    """An ended run with histograms and texts at steps 0, 10, 20, …"""
    steps = range(0, 500, 10)
    histograms = record(0, *steps, edges=[[0, 1, 2 + step] for step in steps], counts=[[1, 2]] * len(steps))
    texts = record(0, *steps, text=[f"{EVIL} {step}" for step in steps])
    said = HEAD | {"histograms": {"fc/weight & <b>": histograms, "a": record(0, 1, edges=[[5, 5]], counts=[[7]])}}
    return str(client.post("/api/v1/import", json=said | {"texts": {"notes/x": texts}}).json()["id"])


def test_names_and_what_they_have_are_listed(client: TestClient, run: str) -> None:
    listed = client.get(f"/api/v1/runs/{run}/histograms").json()["histograms"]
    assert [(each["name"], each["count"], each["first_step"], each["last_step"]) for each in listed] == [
        ("a", 1, 1, 1),
        ("fc/weight & <b>", 50, 0, 490),
    ]
    for each in (*listed, *client.get(f"/api/v1/runs/{run}/texts").json()["texts"]):
        assert client.get(each["url"]).json()["total"] == each["count"]


def test_histograms_are_chosen_evenly_with_the_first_and_the_last(client: TestClient, run: str) -> None:
    def steps(most: int) -> list[int]:
        answer = client.get(f"/api/v1/runs/{run}/histograms/fc/weight & <b>", params={"most": most}).json()
        assert [each["edges"][-1] for each in answer["histograms"]] == [2 + s["step"] for s in answer["histograms"]]
        return [each["step"] for each in answer["histograms"]]

    assert steps(0) == list(range(0, 500, 10))
    assert steps(1) == [490]
    assert steps(2) == [0, 490]
    assert steps(8) == [0, 70, 140, 210, 280, 350, 420, 490]


def test_texts_are_read_in_pages(client: TestClient, run: str) -> None:
    answer = client.get(f"/api/v1/runs/{run}/texts/notes/x", params={"first": 48, "most": 5}).json()
    assert [(each["number"], each["step"]) for each in answer["texts"]] == [(48, 480), (49, 490)]
    assert answer["texts"][0]["text"] == f"{EVIL} 480"
    assert answer["total"] == 50


@pytest.mark.parametrize("kind", ["histogram", "text"])
def test_a_name_that_is_not_there_is_answered_with_those_that_are(client: TestClient, run: str, kind: str) -> None:
    answer = client.get(f"/api/v1/runs/{run}/{kind}s/other")
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith(f"this run has no {kind} 'other'; {kind}s: ")
    assert client.get(f"/runs/{run}/{kind}s?name=other").status_code == 404
    assert client.get(f"/api/v1/runs/none/{kind}s").status_code == 404


def test_the_page_of_histograms_shows_some_of_many_and_a_table(client: TestClient, run: str) -> None:
    answer = client.get(f"/runs/{run}/histograms", params={"name": "fc/weight & <b>", "at": 3})
    page = Page(answer.text)
    polygons = [attributes for tag, attributes in page.elements if tag == "polygon"]
    assert len(polygons) == 40
    assert [each["data-number"] for each in polygons if "chosen" in each["class"]] == ["3"]
    rows = [attributes for tag, attributes in page.elements if tag == "tr" and "data-words" in attributes]
    assert rows[0]["data-words"] == "step 0: 3 values from 0 to 2, median 1.25"
    assert rows[-1]["data-words"].startswith("step 490: 3 values from 0 to 492")
    assert "50 histograms by step; 40 of them are shown" in answer.text
    assert "<b>" not in answer.text.split("ridgeline-title")[2].split("</h2>")[0]
    # The first name is shown without being asked for.
    assert "step 1: 7 values from 5 to 5, median 5" in client.get(f"/runs/{run}/histograms").text


def test_a_text_is_shown_as_it_is_and_never_as_html(client: TestClient, run: str) -> None:
    newest = client.get(f"/runs/{run}/texts").text
    assert "&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt; **bold** größer 490</pre>" in newest
    assert "<script>alert" not in newest
    third = client.get(f"/runs/{run}/texts?at=2", headers={"hx-request": "true"})
    assert "größer 20</pre>" in third.text
    assert "<html" not in third.text
    assert third.headers["hx-replace-url"] == f"/runs/{run}/texts?name=notes%2Fx&at=2"
    assert "at=1" in third.text
    assert "at=3" in third.text


def test_a_live_page_is_answered_only_when_there_is_more(client: TestClient) -> None:
    said = HEAD | {"live": True, "histograms": {"a": record(0, 1, edges=[[5, 6]], counts=[[7]])}}
    run = client.post("/api/v1/import", json=said).json()["id"]
    fragment: dict[str, Any] = {"headers": {"hx-request": "true"}}
    assert "seen=1" in client.get(f"/runs/{run}/histograms").text
    assert client.get(f"/runs/{run}/histograms?seen=1", **fragment).status_code == 204
    more = {"histograms": {"a": record(1, 2, edges=[[5, 6]], counts=[[7]])}, "texts": {"t": record(0, 1, text=["x"])}}
    client.post("/api/v1/import", json=HEAD | {"live": True} | more)
    assert "seen=2" in client.get(f"/runs/{run}/histograms?seen=1", **fragment).text
    # A page that said that there are none is loaded again.
    assert client.get(f"/runs/{run}/texts?seen=0", **fragment).headers["hx-refresh"] == "true"
    assert 'data-count="1"' in client.get(f"/runs/{run}/texts?name=t&seen=9", **fragment).text


def test_pages_without_any_say_how_they_come(client: TestClient, runs: Runs) -> None:
    run = client.post("/api/v1/import", json=HEAD).json()["id"]
    assert "No histograms yet" in client.get(f"/runs/{run}/histograms").text
    assert "No texts yet" in client.get(f"/runs/{run}/texts").text
    for kind in ("histograms", "texts"):
        for query in ("", "?seen=5", "?at=3"):
            answer = client.get(f"/runs/{run}/{kind}{query}", headers={"hx-request": "true"})
            assert (answer.status_code, answer.headers["hx-refresh"]) == (200, "true"), (kind, query)
    tabs = client.get(f"/runs/{run}").text
    assert f"/runs/{run}/histograms" in tabs
    assert "/histograms" not in client.get(f"/runs/{runs.add()}").text


def test_they_are_in_the_trash_and_come_back_with_their_run(client: TestClient, run: str) -> None:
    used = client.get(f"/api/v1/runs/{run}/disk").json()
    assert used["histograms_and_texts"] == used["total"] > 1000
    client.delete(f"/api/v1/runs/{run}")
    assert client.get(f"/api/v1/runs/{run}/texts").status_code == 404
    client.post(f"/api/v1/runs/{run}/restore")
    assert len(client.get(f"/api/v1/runs/{run}/texts/notes/x").json()["texts"]) == 50
