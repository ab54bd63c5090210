"""What an import may send, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.conftest import errors_of

HEAD: dict[str, Any] = {"key": "0123456789abcdef", "experiment": "old", "name": "one", "started": 1.0, "ended": 9.0}


def piece(offset: int, *values: float) -> dict[str, Any]:
    steps = list(range(offset, offset + len(values)))
    return {"offset": offset, "step": steps, "value": list(values), "time": [1.0 + step for step in steps]}


def test_a_point_that_was_sent_before_is_not_added_again(client: TestClient) -> None:
    first = client.post("/api/v1/import", json=HEAD | {"curves": {"a": piece(0, 1, 2, 3)}}).json()
    again = client.post("/api/v1/import", json=HEAD | {"curves": {"a": piece(1, 2, 3, 4)}}).json()
    assert (first["added"], again["added"], again["id"]) == (3, 1, first["id"])
    curve = client.get(f"/api/v1/runs/{first['id']}/metrics").json()["a"]
    assert curve["value"] == [1, 2, 3, 4]


def test_a_piece_behind_a_gap_is_refused(client: TestClient) -> None:
    answer = client.post("/api/v1/import", json=HEAD | {"curves": {"a": piece(5, 1)}})
    assert answer.status_code == 409
    assert "a has only 0 points; cannot add points" in answer.json()["detail"]
    assert client.get("/api/v1/runs").json()["total"] == 0


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"key": "short"}, "key"),
        ({"name": " "}, "name"),
        ({"outcome": "well"}, "outcome"),
        ({"started": "NaN"}, "started"),
        ({"curves": {"a": {"step": [1], "value": [], "time": []}}}, "curves"),
        ({"curves": {"a": {"step": [2**63], "value": [1], "time": [1]}}}, "curves"),
        ({"more": 1}, "more"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_field(said: dict[str, Any], field: str, client: TestClient) -> None:
    assert field in errors_of(client.post("/api/v1/import", json=HEAD | said))


def test_an_imported_run_stands_on_every_page(client: TestClient) -> None:
    run = client.post("/api/v1/import", json=HEAD | {"curves": {"val/acc": piece(0, 0.5, 0.75)}}).json()["id"]
    page = client.get(f"/runs/{run}")
    assert page.status_code == 200
    assert "imported from TensorBoard" in page.text
    assert client.get(f"/api/v1/runs/{run}").json()["progress"] == {"step": 1}
    assert client.get("/runs").status_code == 200
