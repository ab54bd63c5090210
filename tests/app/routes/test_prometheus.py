"""/metrics tells Prometheus about queue, runs, workers, stream, disk and requests."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from sqlalchemy import Engine, text

from app.contract import broker
from app.contract.settings import Settings
from app.store.database import writing
from app.store.queue import pause
from tests.conftest import Runs

DASHBOARD = Path(__file__).resolve().parents[3] / "docs" / "grafana-dashboard.json"


def scraped(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by name and labels, as a parser of the format reads them."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(client: TestClient, metric: str, **labels: str) -> float:
    return scraped(client)[metric, frozenset(labels.items())]


def test_runs_are_counted_by_status_without_deleted_ones(client: TestClient, engine: Engine) -> None:
    runs = Runs(engine)
    for _ in range(3):
        runs.add()
    runs.finish(runs.add())
    deleted = runs.add()
    runs.finish(deleted)
    runs.set(deleted, deleted_at=1.0)
    assert value(client, "runyard_runs", status="queued") == 3
    assert value(client, "runyard_runs", status="succeeded") == 1
    assert value(client, "runyard_runs", status="failed") == 0


def test_the_queue_tells_how_long_its_oldest_run_waits_and_whether_it_is_paused(
    client: TestClient, engine: Engine
) -> None:
    assert value(client, "runyard_queue_oldest_seconds") == 0
    assert value(client, "runyard_queue_paused") == 0
    Runs(engine).add(now=1_700_000_000.0)
    with writing(engine) as connection:
        pause(connection, 1_700_000_000.0)
    assert value(client, "runyard_queue_oldest_seconds") > 1e7
    assert value(client, "runyard_queue_paused") == 1


def test_reports_that_nobody_commits_are_counted_with_the_age_of_the_oldest(client: TestClient, redis: Redis) -> None:
    assert value(client, "runyard_stream_entries") == 0
    assert value(client, "runyard_commit_lag_seconds") == 0
    seconds = int(redis.time()[0])
    redis.xadd(broker.EVENTS, {"k": "x"}, id=f"{(seconds - 100) * 1000}-1")
    redis.xadd(broker.EVENTS, {"k": "x"}, id=f"{(seconds - 50) * 1000}-1")
    assert value(client, "runyard_stream_entries") == 2
    assert 99 < value(client, "runyard_commit_lag_seconds") < 200


def test_the_disk_is_told_with_what_is_stored(client: TestClient, settings: Settings, engine: Engine) -> None:
    run = Runs(engine).add()
    with writing(engine) as connection:
        connection.execute(
            text("INSERT INTO run_file (run, path, key, bytes, created_at) VALUES (:run, 'a', 'k', 1234, 1.0)"),
            {"run": run},
        )
    found = scraped(client)
    assert found["runyard_stored_bytes", frozenset({("kind", "files")})] == 1234
    # PostgreSQL's files are not in the data folder.
    stored = found["runyard_stored_bytes", frozenset({("kind", "database")})]
    assert stored >= 4096 if engine.dialect.name == "sqlite" else stored == 0
    disk = shutil.disk_usage(settings.data_dir)
    assert found["runyard_disk_size_bytes", frozenset()] == disk.total
    assert 0 < found["runyard_disk_free_bytes", frozenset()] <= disk.total


def test_requests_are_counted_by_their_route_and_not_by_their_address(client: TestClient) -> None:
    def counts() -> dict[tuple[str, str], float]:
        """Requests by route and status, of all tests with this application."""
        return {
            (dict(labels)["route"], dict(labels)["status"]): value
            for (name, labels), value in scraped(client).items()
            if name == "runyard_http_request_seconds_count" and dict(labels)["method"] == "GET"
        }

    before = counts()
    for run in ("r_0000000000000aaa", "r_0000000000000bbb"):
        assert client.get(f"/api/v1/runs/{run}").status_code == 404
    client.get("/api/v1/workers")
    client.get("/nowhere/at/all")
    client.get("/static/none.css")
    found = counts()

    def more(route: str, status: str) -> float:
        return found[route, status] - before.get((route, status), 0.0)

    assert more("/api/v1/runs/{run_id}", "4xx") == 2
    assert more("/api/v1/workers", "2xx") == 1
    assert more("other", "4xx") == 1
    assert more("/static", "4xx") == 1
    assert not [route for route, _ in found if "r_0000" in route or "nowhere" in route or "none.css" in route]


def test_a_redis_that_is_away_does_not_take_the_other_metrics_with_it(
    client: TestClient, server: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = client.app.state.parts  # type: ignore[attr-defined]
    monkeypatch.setattr(parts, "redis", Redis(unix_socket_path="/nowhere.sock"))
    monkeypatch.setattr(client.app.state, "yard_metrics", None, raising=False)  # type: ignore[attr-defined]
    found = scraped(client)
    assert found["runyard_redis_up", frozenset()] == 0
    assert found["runyard_database_up", frozenset()] == 1
    assert ("runyard_stream_entries", frozenset()) not in found
    assert ("runyard_runs", frozenset({("status", "queued")})) in found


def test_the_dashboard_asks_only_for_metrics_that_there_are(client: TestClient) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) >= 10
    asked = {name for each in expressions for name in re.findall(r"\b(?:runyard|process)_[a-z_]+", each)}
    client.get("/api/v1/workers")
    names = {line.split()[2] for line in client.get("/metrics").text.splitlines() if line.startswith("# TYPE")}
    known = names | {f"{name}{end}" for name in names for end in ("_bucket", "_count", "_sum", "_total", "_info")}
    assert asked <= known
    assert {name for name in names if name.startswith("runyard_")} >= {
        name.removesuffix("_bucket").removesuffix("_count") for name in asked if name.startswith("runyard_")
    }
