"""The newest version opens what every released one has left: with all runs and curves, and a copy of the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.contract.settings import Settings
from app.store.database import current_revision, migrate, newest_revision, open_database, reading
from tests.released.released import HERE, VERSIONS, unpack

SAME = (
    *("number", "status", "reason", "attempt", "params", "origin", "parameters", "notes", "asked", "tags", "progress"),
    *("worker", "device", "parent", "relation", "parent_step", "sweep", "sweep_values", "created", "started", "ended"),
)


@pytest.fixture(params=VERSIONS)
def shown(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """What a version showed of its runs; its data folder is that of the test's settings."""
    return unpack(request.param, tmp_path / "data")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Released versions kept everything in SQLite."""
    return settings.model_copy(update={"database_url": None})


@pytest.fixture
def engine(shown: dict[str, Any], settings: Settings) -> Iterator[Engine]:
    """The migrated database of the version."""
    opened = open_database(settings.database)
    migrate(opened)
    yield opened
    opened.dispose()


def test_each_run_has_the_same_facts_and_curves(shown: dict[str, Any], client: TestClient) -> None:
    listed = client.get("/api/v1/runs", params={"limit": 100}).json()["runs"]
    assert [run["id"] for run in listed] == [run["id"] for run in shown["runs"]]
    for before in shown["runs"]:
        now = client.get(f"/api/v1/runs/{before['id']}").json()
        expected = {name: before[name] for name in SAME if name in before}
        assert {name: now[name] for name in expected} == expected
        assert client.get(f"/api/v1/runs/{before['id']}/metrics", params={"points": 0}).json() == before["curves"]
        assert before["curves"]
    sweep = client.get(f"/api/v1/sweeps/{shown['sweep']['id']}").json()
    assert (sweep["number"], sweep["status"]) == (shown["sweep"]["number"], shown["sweep"]["status"])
    models = client.get("/api/v1/models").json()["models"]
    assert {model["name"]: model["run"] for model in models} == shown["aliases"]
    assert [view["name"] for view in client.get("/api/v1/views").json()["views"]] == ["mine"]
    assert [rule["metric"] for rule in client.get("/api/v1/rules").json()["rules"]] == ["val/acc"]


def test_each_page_of_it_is_shown(shown: dict[str, Any], client: TestClient) -> None:
    paths = ["/", "/runs", "/queue", "/sweeps", f"/sweeps/{shown['sweep']['id']}", "/leaderboard", "/notifications"]
    paths += ["/models", "/admin/system", f"/compare?runs={','.join(run['id'] for run in shown['runs'][:3])}"]
    for run in shown["runs"]:
        paths += [f"/runs/{run['id']}{part}" for part in ("", "/files", "/predictions", "/card")]
    assert [path for path in paths if client.get(path).status_code != 200] == []


def test_the_database_was_copied_before_the_migration(
    shown: dict[str, Any], engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    (copy,) = (settings.data_dir / "backups").glob("runyard-*.db")
    unpack(shown["version"], tmp_path / "original")
    with (
        closing(sqlite3.connect(copy)) as copied,
        closing(sqlite3.connect(tmp_path / "original" / "runyard.db")) as original,
        reading(engine) as connection,
    ):
        assert [*copied.iterdump()] == [*original.iterdump()]
        revision = copied.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        assert copy.name.endswith(f"-revision-{revision}.db")
        assert current_revision(connection) == newest_revision() != revision


@pytest.mark.parametrize("version", VERSIONS)
def test_the_files_are_small_and_say_nothing_of_the_machine_that_made_them(version: str, tmp_path: Path) -> None:
    shown = unpack(version, tmp_path)
    assert shown["version"] == version
    assert (HERE / f"{version}.tar.xz").stat().st_size < 300_000
    contents = [path.read_bytes() for path in (*tmp_path.rglob("*"), HERE / f"{version}.json") if path.is_file()]
    homes = [f"/{name}/".encode() for name in ("home", "root", "Users")] + [str(Path(__file__).parents[2]).encode()]
    assert [each[:40] for each in contents if any(home in each for home in homes)] == []
