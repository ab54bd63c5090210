"""POST /api/v1/runs: one answer names all that is wrong."""

from __future__ import annotations

from fastapi.testclient import TestClient

RUNS = "/api/v1/runs"


def test_one_refusal_names_every_invalid_field(client: TestClient) -> None:
    answer = client.post(RUNS, json={"family": "vit", "size": "hug", "epochs": "many", "lr": -1})
    assert answer.status_code == 422
    told = {error["field"]: error["message"] for error in answer.json()["errors"]}
    assert list(told) == ["epochs", "lr", "size"]
    assert told["size"] == "no size 'hug' for vit; sizes: tiny, small, base, large"
    assert all(message in answer.json()["detail"] for message in told.values())


def test_a_list_of_runs_is_told_where_several_are_launched(client: TestClient) -> None:
    answer = client.post(RUNS, json=[{"family": "vit"}, {"family": "simple_mlp"}])
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["body"]
    assert answer.json()["detail"].endswith("for several, POST a sweep to /api/v1/sweeps")
    assert client.get(RUNS).json()["runs"] == []
