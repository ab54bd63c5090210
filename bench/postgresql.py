"""The recorder and the run table on PostgreSQL compared with SQLite: the same work and the same runs, in turn.

PostgreSQL is a server of this machine with its own defaults, reached by a Unix socket; both databases wait for the disk
at each commit. Its CPU time counts, since SQLite works inside the processes of Runyard.
"""

from __future__ import annotations

import os
import shutil
import statistics
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack

import psutil
from sqlalchemy import text

from app.store.database import writing
from app.store.database_move import copy_database
from bench.backend import Backend
from bench.interleave import REPEATS, Times
from bench.recorder import BURSTS, LIVE, burst, join, live
from bench.report import Row, ratios, row, save
from bench.server_process import ServerProcess
from bench.synthetic_runs import fill
from bench.table import PAGE, ROUNDS, Request, Timing, requests_of, timed
from tests.postgresql import PostgreSQL, running, why_not

RUNS = 10_000
SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"
Cpu = Callable[[], float]


def main() -> None:
    """Measure bursts, twenty runs at normal speed, and pages of 10,000 runs. Raises RuntimeError without PostgreSQL."""
    if reason := why_not():
        raise RuntimeError(reason)
    load = os.getloadavg()[0]
    with running(durable=True) as database:
        cpus: dict[str, Cpu] = {SQLITE: lambda: 0.0, POSTGRESQL: lambda: _cpu_seconds(database)}
        rows = _recorder(database, cpus) + _table(database)
        version = (database.folder / "data" / "PG_VERSION").read_text().strip()
    save("postgresql", rows, postgresql=version, load_average=[round(load, 1), round(os.getloadavg()[0], 1)])


def _cpu_seconds(database: PostgreSQL) -> float:
    """CPU time of all its processes so far, also of those that have ended."""
    assert database.process is not None
    server = psutil.Process(database.process.pid)
    times = server.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in server.children():
        try:
            found = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += found.user + found.system
    return float(total)


# Recorder -------------------------------------------------------------------------------------------------------------


def _recorder(database: PostgreSQL, cpus: dict[str, Cpu]) -> list[Row]:
    times: dict[tuple[str, str], Times] = defaultdict(Times)
    shares: dict[str, list[float]] = defaultdict(list)
    lags: dict[str, list[float]] = defaultdict(list)
    scalars: dict[str, int] = {}
    with ExitStack() as stack:
        backends = {
            SQLITE: stack.enter_context(Backend()),
            POSTGRESQL: stack.enter_context(Backend(database.url(database.create()))),
        }
        for backend in backends.values():
            join(backend)
        for turn in range(REPEATS):
            order = _order(backends, turn)
            for name, make in BURSTS.items():
                for kind in order:
                    runs = make(backends[kind])
                    scalars[name] = sum(each.scalars for each in runs)
                    burst(backends[kind], runs, times[kind, name], cpus[kind])
            for kind in order:
                share, lag = live(backends[kind], cpus[kind])
                shares[kind].append(share)
                lags[kind].append(lag)
    rows = []
    for name in BURSTS:
        sqlite, postgresql = times[SQLITE, name], times[POSTGRESQL, name]
        for kind, of in ((SQLITE, sqlite), (POSTGRESQL, postgresql)):
            rows.append(row(f"{name}, {kind}: scalars per second", [scalars[name] / each for each in of.wall]))
        rows.append(row(f"{name}: PostgreSQL / SQLite, wall time", ratios(postgresql.wall, sqlite.wall)))
        rows.append(row(f"{name}: PostgreSQL / SQLite, CPU", ratios(postgresql.cpu, sqlite.cpu)))
    for kind in (SQLITE, POSTGRESQL):
        rows.append(row(f"{LIVE}, {kind}: % of a core", shares[kind]))
        rows.append(row(f"{LIVE}, {kind}: last entry sent -> committed, ms", lags[kind]))
    rows.append(row(f"{LIVE}: PostgreSQL / SQLite, CPU", ratios(shares[POSTGRESQL], shares[SQLITE])))
    return rows


def _order(of: dict[str, Backend] | dict[str, ServerProcess], turn: int) -> list[str]:
    return list(of) if turn % 2 == 0 else list(of)[::-1]


# Run table ------------------------------------------------------------------------------------------------------------


def _table(database: PostgreSQL) -> list[Row]:
    sqlite, postgresql = ServerProcess(), ServerProcess(database.url(database.create()))
    fill(sqlite.engine, RUNS)
    copy_database(sqlite.engine, postgresql.engine, lambda table, count: None)
    # As autovacuum does a minute later.
    with writing(postgresql.engine) as connection:
        connection.execute(text("ANALYZE"))
    with sqlite:
        # Inspecting all networks again would say nothing about databases.
        for name in ("catalog.json", "families.json"):
            shutil.copy(sqlite.folder / name, postgresql.folder)
        timings = _timings(sqlite, postgresql)
    return _table_rows(timings)


def _timings(sqlite: ServerProcess, postgresql: ServerProcess) -> dict[str, dict[Request, list[Timing]]]:
    timings: dict[str, dict[Request, list[Timing]]] = {kind: defaultdict(list) for kind in (SQLITE, POSTGRESQL)}
    with postgresql:
        servers = {SQLITE: sqlite, POSTGRESQL: postgresql}
        requests = list(requests_of(sqlite))
        for server in servers.values():
            for request in requests:
                timed(server, request)
        for turn in range(ROUNDS):
            for request in requests:
                for kind in _order(servers, turn):
                    timings[kind][request].append(timed(servers[kind], request))
    return timings


def _table_rows(timings: dict[str, dict[Request, list[Timing]]]) -> list[Row]:
    rows = []
    for kind, by_request in timings.items():
        for form in ("JSON", "HTML"):
            first = [request for request in by_request if request.kind == form and request.place == "first"]
            walls = [each.wall for request in first for each in by_request[request]]
            rows.append(row(f"{RUNS:,} runs, {kind}: first page of {PAGE} as {form}, ms", walls))
    kinds: dict[str, Callable[[Request], bool]] = {
        "first, deep and last pages": lambda request: bool(request.sort) and "=" not in request.place,
        "filtered pages": lambda request: "=" in request.place and "q=" not in request.place,
        "searched pages": lambda request: "q=" in request.place,
        "/": lambda request: request.kind == "/",
        "/compare": lambda request: request.kind == "/compare",
    }
    for what, fits in kinds.items():
        chosen = [request for request in timings[SQLITE] if fits(request)]
        values = [
            statistics.median(each.wall for each in timings[POSTGRESQL][request])
            / statistics.median(each.wall for each in timings[SQLITE][request])
            for request in chosen
        ]
        rows.append(row(f"{RUNS:,} runs, {what}: PostgreSQL / SQLite, wall time", values))
    return rows
