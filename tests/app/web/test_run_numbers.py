"""The number of a run, which people see, does wherever its ID does."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tests.conftest import Runs


@pytest.mark.parametrize("rest", ["", "/card", "/card.md", "/predictions?part=test", "/config.json"])
def test_a_page_with_a_number_leads_to_the_one_address_of_the_run(client: TestClient, runs: Runs, rest: str) -> None:
    run = runs.add()
    answer = client.get(f"/runs/1{rest}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, f"/runs/{run}{rest}")


def test_requests_of_the_api_take_numbers(client: TestClient, runs: Runs) -> None:
    first, second = runs.add(), runs.add()
    assert client.get("/api/v1/runs/2").json()["id"] == second
    assert client.get("/api/v1/runs/2/metrics?points=10").status_code == 200
    assert client.patch("/api/v1/runs/1", json={"name": "one"}).json()["id"] == first
    assert client.post("/api/v1/runs/1/cancel").json()["id"] == first
    found = client.get("/api/v1/compare?runs=1,2&by=none").json()
    assert sorted(run for group in found["groups"] for run in group["runs"]) == sorted([first, second])


def test_a_comparison_by_numbers_leads_to_one_by_ids(client: TestClient, runs: Runs) -> None:
    first, second = runs.add(), runs.add()
    answer = client.get("/compare?runs=1,%232&by=none", follow_redirects=False)
    assert answer.status_code == 303
    page = client.get(answer.headers["location"])
    assert page.status_code == 200
    assert f'href="/runs/{first}"' in page.text
    assert f'href="/runs/{second}"' in page.text


@pytest.mark.parametrize("number", ["7", "0", "999999999", "1234567890", "\N{ARABIC-INDIC DIGIT ONE}", "01x"])
def test_a_number_that_no_run_has_is_not_found(client: TestClient, runs: Runs, number: str) -> None:
    runs.add()
    assert client.get(f"/runs/{number}", follow_redirects=False).status_code == 404
    assert client.get(f"/api/v1/runs/{number}").status_code == 404
