"""What the tests share: a real Redis, a database of its own for each test, the real catalog, and a worker made up."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from app.contract.catalog import Catalog
from app.contract.datasets import DATASETS
from app.contract.settings import Settings
from app.contract.spec import RunConfig, RunSpec, resolve
from app.main import build_app, open_parts
from app.services.embedded import find_redis, redis_command
from app.services.inspector import Inspector
from app.services.recorder import Recorder
from app.store import lease
from app.store.database import migrate, open_database, reading, writing
from app.store.run import RunRecord, insert_run, load_run
from tests.browser import browser
from tests.fake_worker import Worker
from tests.postgresql import MigratedDatabase, PostgreSQL, running, why_not

__all__ = ["browser"]

# Two cores are shared with other work, so how long an example takes says nothing. The examples are the same every time:
# a change is judged by itself, and not by what chance finds in code that it left alone; "explore" goes looking there.
for profile, examples, repeatable in (("runyard", 25, True), ("explore", 500, False)):
    hypothesis_settings.register_profile(
        profile,
        deadline=None,
        max_examples=examples,
        derandomize=repeatable,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
hypothesis_settings.load_profile("runyard")

DATABASES = ("sqlite", "postgresql")
ADDRESS = "http://127.0.0.1:8000"

Found = TypeVar("Found")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--database postgresql`` runs everything on PostgreSQL but the tests of the store, which run on both."""
    parser.addoption("--database", choices=DATABASES, default="sqlite")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test with the mark on both databases."""
    if "database_url" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_databases"):
        metafunc.parametrize("database_url", DATABASES, indirect=True)


def until(ready: Callable[[], Any], seconds: float = 30.0, what: str = "") -> Any:
    """The first true answer of ``ready``; fails when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        found = ready()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what or ready}")
        time.sleep(0.01)


def run_apart(coroutine: Coroutine[Any, Any, Found]) -> Found:
    """The result of a coroutine, run in a thread: Playwright's own event loop may be running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


@pytest.fixture(autouse=True)
def no_own_datasets() -> Iterator[None]:
    """The own datasets of a test are not there in the next one."""
    yield
    DATASETS.close()


@pytest.fixture(autouse=True, scope="module")
def no_own_architectures() -> Iterator[None]:
    """The own architectures that the tests of a file have loaded into this process are not there in the next file."""
    yield
    # Most tests never load the catalog, which imports torch.
    if registry := sys.modules.get("models._registry"):
        for family in [each for each in registry.families().values() if not each.source.startswith("models/")]:
            del registry._families[family.name]
        registry._unloaded.clear()


# Redis ---------------------------------------------------------------------------------------------------------------


@contextmanager
def running_redis() -> Iterator[str]:
    """Address of a new Redis, which ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="ry"))
    process = subprocess.Popen(
        redis_command(find_redis(), folder, folder / "s"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"unix://{folder / 's'}"
    client = Redis.from_url(url)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except (RedisError, OSError):
            return False

    try:
        until(answers, what="Redis answers")
        yield url
    finally:
        client.close()
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """Address of a Redis of this session's own."""
    with running_redis() as url:
        yield url


@pytest.fixture
def redis(redis_server: str) -> Iterator[Redis]:
    """An empty Redis."""
    client = Redis.from_url(redis_server)
    client.flushall()
    yield client
    client.close()


# Database ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with all tables and no rows, to be copied."""
    file = tmp_path_factory.mktemp("database") / "empty.db"
    engine = open_database(f"sqlite:///{file}")
    migrate(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return file


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL of this session's own; skips the test where there is none."""
    if why_not():
        pytest.skip(why_not())
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_database(postgresql: PostgreSQL) -> MigratedDatabase:
    """A migrated database on it."""
    return MigratedDatabase(postgresql)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The URL of the test's database; None for SQLite in its data folder. The store's tests choose it by parameter."""
    chosen = "sqlite" if request.node.get_closest_marker("sqlite") else request.config.getoption("database")
    if getattr(request, "param", chosen) == "sqlite":
        yield None
        return
    database: MigratedDatabase = request.getfixturevalue("postgresql_database")
    yield database.url
    database.reset()


@pytest.fixture
def settings(tmp_path: Path, redis_server: str, database_url: str | None, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a data folder of this test's own, and none from the environment."""
    for name in [name for name in os.environ if name.startswith("RUNYARD_")]:
        monkeypatch.delenv(name)
    return Settings(data_dir=tmp_path / "data", redis_url=redis_server, database_url=database_url)


@pytest.fixture
def engine(settings: Settings, empty_database: Path) -> Iterator[Engine]:
    """A migrated database, in the test's data folder if it is SQLite."""
    settings.data_dir.mkdir()
    if settings.database_url is None:
        shutil.copyfile(empty_database, settings.data_dir / "runyard.db")
    opened = open_database(settings.database)
    yield opened
    opened.dispose()


# Catalog and server ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def catalog_json(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """``catalog.json`` as the server keeps it, made from the real networks in a process of its own."""
    return (inspected(tmp_path_factory) / "catalog.json").read_bytes()


def inspected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with nothing but what an inspector keeps about the networks."""
    folder = tmp_path_factory.getbasetemp()
    # The processes of one session of pytest-xdist share it: it takes five seconds to make.
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with open(folder / "catalog.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "catalog.json").exists():
            found = Inspector(folder)
            run_apart(found.start())
            run_apart(found.close())
    return folder


@pytest.fixture(scope="session")
def catalog(catalog_json: bytes) -> Catalog:
    """The real catalog."""
    return Catalog.model_validate(json.loads(catalog_json)["found"])


class SharedInspector(Inspector):
    """The inspector of all servers of a session: its process starts when a test needs it, and ends with the last."""

    async def start(self) -> None:
        """Nothing: most tests look at no network."""

    def warm_up(self) -> None:
        """Nothing, for the same reason."""

    async def close(self) -> None:
        """Nothing: the next test's server needs it too."""

    async def end(self) -> None:
        """End its process."""
        await super().close()


@pytest.fixture(scope="session")
def inspector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inspector]:
    """The real inspector."""
    found = SharedInspector(inspected(tmp_path_factory))
    yield found
    run_apart(found.end())


@pytest.fixture(scope="session")
def built_app() -> FastAPI:
    """The application without parts, built once: FastAPI takes half a second to analyze all routes."""
    return build_app()


@pytest.fixture
def server(
    settings: Settings, engine: Engine, redis: Redis, inspector: Inspector, built_app: FastAPI
) -> Iterator[FastAPI]:
    """The application on the test's database."""
    parts = built_app.state.parts = open_parts(settings, inspector)
    yield built_app
    parts.celery.close()
    parts.redis.close()
    parts.engine.dispose()


@pytest.fixture
def client(server: FastAPI) -> Iterator[TestClient]:
    """A client of the running server, as a script on this machine is one."""
    with TestClient(server, base_url=ADDRESS, raise_server_exceptions=False) as found:
        yield found


def errors_of(answer: Any) -> dict[str, str]:
    """Field -> sentence of a refusal; checks that it is a proper one."""
    assert answer.status_code == 422, answer.text[:300]
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["status"] == 422
    assert said["title"]
    assert said["detail"]
    found = {each["field"]: each["message"] for each in said["errors"]}
    assert all(found.values())
    return found


# Runs ----------------------------------------------------------------------------------------------------------------


def config(catalog: Catalog | None = None, **said: Any) -> RunConfig:
    """A run's configuration; of a family made up where no catalog is given."""
    if catalog is not None:
        return resolve(RunSpec.model_validate({"family": "simple_mlp"} | said), catalog)
    blanks: dict[str, Any] = {
        "family": "simple_mlp",
        "size": "base",
        "dataset": "digits",
        "targets": ["digit"],
        "recipe": "default",
        "epochs": 2,
        "batch_size": 128,
        "optimizer": "adam",
        "lr": 0.001,
        "weight_decay": 0.0,
        "momentum": 0.9,
        "schedule": "plateau",
        "lr_min": 0.0,
        "label_smoothing": 0.0,
        "clip_norm": 0.0,
        "crop_padding": 0,
        "flip": False,
        "precision": "32",
        "deterministic": False,
    }
    return RunConfig.model_validate(blanks | said)


class Runs:
    """The runs of a database, as a test makes and reads them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def add(self, now: float = 1_700_000_000.0, key: str | None = None, **said: Any) -> str:
        """Queue a run."""
        with writing(self.engine) as connection:
            return insert_run(connection, config(**said), said, 1000, now, key)

    def get(self, run: str) -> RunRecord:
        """A run, the trash included."""
        with reading(self.engine) as connection:
            found = load_run(connection, run, deleted=True)
        assert found is not None
        return found

    def status(self, run: str) -> str:
        """The state of a run."""
        return str(self.get(run).status)

    def set(self, run: str, **values: Any) -> None:
        """Write columns of a run past all rules."""
        sets = ", ".join(f"{column} = :{column}" for column in values)
        with writing(self.engine) as connection:
            connection.execute(text(f"UPDATE run SET {sets} WHERE id = :id"), values | {"id": run})

    def sql(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        with reading(self.engine) as connection:
            return [tuple(row) for row in connection.execute(text(query), values)]

    def commit(self) -> int:
        """The newest commit."""
        return int(self.sql("SELECT value FROM commit_counter")[0][0])

    def finish(self, run: str, outcome: str = "succeeded", now: float = 1_700_000_100.0) -> None:
        """Let a run end, whatever it was about to do."""
        self.set(run, status="running", fence=1)
        with writing(self.engine) as connection:
            assert lease.end(connection, run, 1, outcome, "", self.commit(), now)


@pytest.fixture
def runs(engine: Engine) -> Runs:
    """The runs of the test's database."""
    return Runs(engine)


# Recorder and worker -------------------------------------------------------------------------------------------------


@dataclass
class Clock:
    """A clock that a test sets; it starts at the real time."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The recorder's clock."""
    return Clock()


@pytest.fixture
def recorder(settings: Settings, engine: Engine, redis: Redis, clock: Clock) -> Iterator[Recorder]:
    """A recorder that has joined the stream; ``step`` it by hand."""
    found = Recorder(settings, engine, redis, clock)
    found.connect()
    yield found
    found.celery.close()


@pytest.fixture
def worker(redis: Redis) -> Worker:
    """A worker with one slot and no GPU."""
    return Worker(redis)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly that tests are missing."""
    if why_not():
        terminalreporter.section("no test ran on PostgreSQL", yellow=True)
        terminalreporter.line(why_not())


def pytest_collection_finish() -> None:
    """Collect garbage only among what tests create: all that was imported before them would be walked every time."""
    gc.collect()
    gc.freeze()
