"""/healthz says whether the server can work, and which part cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from redis import Redis
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from app.routes import health


def test_a_server_with_its_database_and_redis_is_well(client: TestClient) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"database": "ok", "redis": "ok"})


def test_a_server_without_redis_says_so(client: TestClient, server: FastAPI, tmp_path: Path) -> None:
    parts = server.state.parts
    there, parts.redis = parts.redis, Redis.from_url(f"unix://{tmp_path}/none")
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {"database": "ok", "redis": "ConnectionError"})
    # What can be seen without it can still be seen.
    assert client.get("/api/v1/runs").status_code == 200
    parts.redis = there


def test_a_run_launched_while_redis_is_away_waits_for_its_return(
    client: TestClient, server: FastAPI, tmp_path: Path
) -> None:
    parts = server.state.parts
    there, parts.redis = parts.redis, Redis.from_url(f"unix://{tmp_path}/none")
    answer = client.post("/api/v1/runs", json={"family": "simple_mlp"})
    assert (answer.status_code, answer.json()["status"]) == (201, "queued")
    parts.redis = there


def test_a_server_whose_database_does_not_answer_says_so(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Any) -> Any:
        raise OperationalError("SELECT 1", {}, Exception("disk I/O error"))

    monkeypatch.setattr(health, "reading", broken)
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {"database": "OperationalError", "redis": "ok"})
