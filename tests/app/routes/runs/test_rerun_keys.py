"""A request to rerun that is repeated with its Idempotency-Key makes one run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.contract.settings import Settings
from tests.conftest import Runs

pytestmark = pytest.mark.both_databases

Stopped = Callable[..., str]
KEY = {"idempotency-key": "once"}
ACTS: dict[str, tuple[str, Any]] = {
    "retry": ("retry", None),
    "resume": ("resume", {}),
    "extend": ("resume", {"epochs": 20}),
    "clone": ("clone", {"lr": 0.5}),
    "fork": ("fork", {"epoch": 2, "changes": {"lr": 0.5}}),
    "verify": ("verify", None),
}


@pytest.mark.parametrize("name", ACTS)
def test_a_repeated_request_returns_the_run_that_it_made_before(
    name: str, client: TestClient, stopped: Stopped, runs: Runs
) -> None:
    act, body = ACTS[name]
    parent = stopped()
    first, again = (client.post(f"/api/v1/runs/{parent}/{act}", json=body, headers=KEY) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert runs.sql("SELECT count(*) FROM run WHERE parent IS NOT NULL")[0][0] == 1
    other = client.post(f"/api/v1/runs/{parent}/{act}", json=body, headers={"idempotency-key": "another"})
    assert other.json()["id"] != first.json()["id"]


@pytest.mark.parametrize(
    ("act", "body"), [("retry", None), ("resume", {"epochs": 21}), ("fork", {"epoch": 4}), ("clone", {"lr": 0.5})]
)
def test_a_key_belongs_to_one_request(
    act: str, body: Any, client: TestClient, stopped: Stopped, runs: Runs, settings: Settings
) -> None:
    parent = stopped()
    made = client.post(f"/api/v1/runs/{parent}/resume", json={}, headers=KEY).json()["id"]
    files = set(Path(settings.artifacts).iterdir())
    answer = client.post(f"/api/v1/runs/{parent}/{act}", json=body, headers=KEY)
    assert answer.status_code == 409
    assert answer.json()["detail"] == f"this Idempotency-Key already launched a different run, {made}; use a new key"
    assert set(Path(settings.artifacts).iterdir()) == files
    elsewhere = client.post(f"/api/v1/runs/{stopped()}/resume", json={}, headers=KEY)
    assert elsewhere.status_code == 409
    assert runs.sql("SELECT count(*) FROM run WHERE parent IS NOT NULL")[0][0] == 1


def test_twenty_at_once_make_one_run_and_leave_one_copy_of_the_checkpoint(
    client: TestClient, stopped: Stopped, runs: Runs, settings: Settings
) -> None:
    parent = stopped()
    before = {path.name for path in Path(settings.artifacts).iterdir()}
    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(lambda _: client.post(f"/api/v1/runs/{parent}/resume", json={}, headers=KEY), range(20))
        )
    assert {answer.status_code for answer in answers} == {201}
    (made,) = {answer.json()["id"] for answer in answers}
    assert runs.sql("SELECT count(*) FROM run WHERE parent IS NOT NULL")[0][0] == 1
    assert {path.name for path in Path(settings.artifacts).iterdir()} - before == {made}
