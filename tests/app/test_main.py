"""The server is put together from its parts, without torch, and goes on when its neighbors are away."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

import app.main
from app.contract.settings import Settings
from app.main import create_app
from tests.conftest import ADDRESS, Runs

SERVE = """
import sys, pathlib
from starlette.testclient import TestClient
from app.contract.settings import Settings
from app.main import create_app

app = create_app(Settings(data_dir=pathlib.Path(sys.argv[1]), redis_url="unix://" + sys.argv[1] + "/none"))
client = TestClient(app, base_url="http://127.0.0.1:8000")
assert client.get("/healthz").status_code == 503
for path in ("/api/v1/runs", "/api/v1/datasets", "/api/v1/workers", "/api/v1/presets", "/openapi.json"):
    assert client.get(path).status_code == 200, path
heavy = {"torch", "lightning", "torchvision", "sklearn", "worker", "models"} & set(sys.modules)
assert not heavy, heavy
print("served")
"""


def test_the_server_answers_without_torch_in_its_process(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SERVE, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout == "served\n", done.stderr


def test_the_server_starts_on_a_new_folder_and_keeps_what_is_there(settings: Settings) -> None:
    first = create_app(settings)
    runs = Runs(first.state.parts.engine)
    run = runs.add()
    first.state.parts.engine.dispose()
    second = create_app(settings)
    client = TestClient(second, base_url=ADDRESS)
    assert [each["id"] for each in client.get("/api/v1/runs").json()["runs"]] == [run]
    second.state.parts.engine.dispose()


def test_every_route_of_the_api_says_what_it_does(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert len(paths) > 10
    for path, methods in paths.items():
        assert path.startswith("/api/v1/"), path
        for method, said in methods.items():
            assert said.get("description"), (method, path)


def test_the_paths_of_the_design_exist(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    found = {f"{method.upper()} {re.sub('{[^}]+}', 'ID', path)}" for path, said in paths.items() for method in said}
    assert {
        "POST /api/v1/runs",
        "GET /api/v1/runs",
        "GET /api/v1/runs/ID",
        "DELETE /api/v1/runs/ID",
        "GET /api/v1/runs/ID/metrics",
        "GET /api/v1/runs/ID/events",
        "GET /api/v1/runs/ID/logs",
        "POST /api/v1/runs/ID/cancel",
        "GET /api/v1/architectures",
        "GET /api/v1/datasets",
        "GET /api/v1/recipes",
        "GET /api/v1/presets",
        "GET /api/v1/workers",
    } <= found


def test_uvicorn_finds_the_application_by_its_name(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, redis_server: str
) -> None:
    monkeypatch.setenv("RUNYARD_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("RUNYARD_REDIS_URL", redis_server)
    found = app.main.app
    assert isinstance(found, FastAPI)
    found.state.parts.engine.dispose()
    with pytest.raises(AttributeError):
        _ = app.main.nothing
