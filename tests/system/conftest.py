"""Runyards, hosts and pages for the tests of a whole Runyard."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests import hub as hubs
from tests.browser import opened_page
from tests.conftest import inspected
from tests.hub import Hub
from tests.postgresql import PostgreSQL
from tests.system.running_yard import RunningYard, prepared_folder

UNENDED = ("queued", "starting", "running", "finishing", "cancelling", "lost")


@pytest.fixture(scope="session")
def database_of(request: pytest.FixtureRequest) -> Callable[[Path], dict[str, str]]:
    """The setting of the database of a yard in a folder: none for SQLite, which is in the folder itself."""
    urls: dict[Path, str] = {}

    def setting(folder: Path) -> dict[str, str]:
        if request.config.getoption("database") == "sqlite":
            return {}
        server: PostgreSQL = request.getfixturevalue("postgresql")
        if folder not in urls:
            urls[folder] = server.url(server.create())
        return {"RUNYARD_DATABASE_URL": urls[folder]}

    return setting


@pytest.fixture(scope="session")
def yard(
    tmp_path_factory: pytest.TempPathFactory, database_of: Callable[[Path], dict[str, str]]
) -> Iterator[RunningYard]:
    """One Runyard for all tests that leave it as it was: running, and empty-handed."""
    # Two slots give a trainer half of the cores: with all of them it would crawl beside the other tests.
    # Some tests look at a trainer that stands still for as long as they take.
    folder = prepared_folder(inspected(tmp_path_factory))
    settings = {"RUNYARD_STALL_SECONDS": "1800", "RUNYARD_WEBHOOK_PRIVATE": "1"}
    running = RunningYard(folder, "--slots", "2", **settings, **database_of(folder))
    running.wait_for_worker()
    yield running
    running.stop()
    shutil.rmtree(running.folder, ignore_errors=True)


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(autouse=True)
def left_as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test that failed has left training, waiting or paused in the yard of all, ends: it is idle then."""
    yield
    if not request.node.stash.get(FAILED, False) or "yard" not in request.fixturenames:
        return
    yard: RunningYard = request.getfixturevalue("yard")
    yard.call("/queue/resume", {})
    left = [run["id"] for state in UNENDED for run in yard.call(f"/runs?status={state}&limit=200")["runs"]]
    for run in left:
        yard.call(f"/runs/{run}/cancel", {})
    for run in left:
        yard.wait_for(run, "cancelled", "succeeded", "failed")


@pytest.fixture
def own_yard(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    database_of: Callable[[Path], dict[str, str]],
) -> Iterator[Callable[..., RunningYard]]:
    """Starts a Runyard for one test; stopped at its end."""
    on_sqlite = request.node.get_closest_marker("sqlite") is not None
    started: list[RunningYard] = []

    def start(folder: Path | None = None, slots: int = 2, **settings: str) -> RunningYard:
        folder = folder or prepared_folder(inspected(tmp_path_factory))
        database = {} if on_sqlite else database_of(folder)
        running = RunningYard(folder, "--slots", str(slots), **(database | settings))
        started.append(running)
        return running

    yield start
    with ExitStack() as ends:
        for running in started:
            ends.callback(shutil.rmtree, running.folder, ignore_errors=True)
            ends.callback(running.stop)


# Browsers ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with a worker of one slot on each of the two other hosts."""
    if hubs.why_not():
        pytest.skip(hubs.why_not())
    with hubs.running(inspected(tmp_path_factory)) as found:
        hosts = [found.network.hosts[name] for name in ("east", "west")]
        for host in hosts:
            found.start_worker(host)
        found.wait_for_workers(*hosts)
        yield found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with opened_page(browser) as page:
        yield page
