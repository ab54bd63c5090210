"""The run table at scale: pages of fifty runs, sorted and filtered, first and deep; and other pages.

10,000 and 100,000 runs, each with a separate server process, alternate with MLflow's search of the same 10,000. The
contents of each page are compared with a sort of all runs in this process.
"""

from __future__ import annotations

import json
import re
import sqlite3
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from sqlalchemy import text

from app.store.database import writing
from app.store.page_cursor import write_cursor
from bench.alternatives import TrackerProcess, versions
from bench.report import Row, ratios, row, save
from bench.server_process import ServerProcess
from bench.synthetic_runs import fill

FEW, MANY = 10_000, 100_000
PAGE = 50
DEEP_PAGES = 100
ROUNDS = 9
COMPARED = 20
SORTS = ("-number", "-test/acc", "val/loss", "-duration", "lr", "name")
FILTERS = ({"status": "failed"}, {"tag": "ablation"}, {"family": "vit", "dataset": "mnist"})
SEARCHES = ({"q": '"trial 12"'}, {"q": '"trial 1"'}, {"q": "warmup"})
FILTERED_SORTS = ("-number", "-test/acc")
FORMATS = {"JSON": "/api/v1/runs", "HTML": "/runs"}
COLUMNS = {"number": "number", "name": "name", "lr": "lr", "duration": "ended_at - started_at"}


@dataclass(frozen=True)
class Request:
    """A measured request; its answer must have the ids ``runs`` in this order, and count ``total``."""

    kind: str
    sort: str
    place: str
    path: str
    runs: tuple[str, ...]
    total: int = 0

    @property
    def name(self) -> str:
        return " ".join(part for part in (self.kind, self.sort, self.place) if part)


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a request: wall time at the client, and CPU time of the server."""

    wall: float
    cpu: float


def main() -> None:
    """Fill the databases, verify the first hundred pages, and measure."""
    with ExitStack() as stack:
        servers = {}
        for runs in (FEW, MANY):
            server = ServerProcess()
            fill(server.engine, runs)
            servers[runs] = stack.enter_context(server)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ry", dir="/tmp")))
        tracker = TrackerProcess("search_runs", str(servers[FEW].folder / "runyard.db"), str(folder))
        stack.callback(tracker.close)
        requests = {runs: list(requests_of(server)) for runs, server in servers.items()}
        order = _expected(servers[FEW], "-test/acc")
        if tracker.request({"by": "test/acc", "pages": 2})["values"] != [best for _, best, _ in order[: 2 * PAGE]]:
            raise RuntimeError("MLflow does not have the same runs")
        updates = _updates(servers[FEW])
        for runs, server in servers.items():
            _check_pages(server, _expected(server, "-test/acc"), "-test/acc")
            for request in requests[runs]:
                _check(server.get(request.path), request)
        timings, mlflow = _measure(servers, requests, tracker)
    rows = _rows(timings, mlflow)
    costs = [1e6 * with_index - 1e6 * without for with_index, without in zip(*updates, strict=True)]
    rows.append(row("cost of the index per update of a curve's best value, CPU µs", costs))
    save("table", rows, medians=_medians(timings), alternatives=versions())


# Requests -------------------------------------------------------------------------------------------------------


def requests_of(server: ServerProcess) -> Iterator[Request]:
    """All measured requests, with the runs that a sort of all runs in its SQLite file expects."""
    for sort in SORTS:
        order = _expected(server, sort)
        last = (len(order) - 1) // PAGE * PAGE
        for place, start in (("first", 0), ("deep", DEEP_PAGES * PAGE), ("last", last)):
            after = {"after": write_cursor(*order[start - 1][1:])} if start else {}
            runs = tuple(run for run, *_ in order[start : start + PAGE])
            for kind, path in FORMATS.items():
                yield Request(kind, sort, place, f"{path}?{urlencode({'sort': sort} | after)}", runs, len(order))
    for sort in FILTERED_SORTS:
        for filters in FILTERS + SEARCHES:
            order = _expected(server, sort, filters)
            runs = tuple(run for run, *_ in order[:PAGE])
            said = urlencode(filters | {"sort": sort})
            for kind, path in FORMATS.items():
                yield Request(kind, sort, urlencode(filters), f"{path}?{said}", runs, len(order))
    yield Request("/", "", "", "/", ())
    newest = [run for run, *_ in _expected(server, "-number", {"status": "succeeded"})[:COMPARED]]
    yield Request("/compare", "", "", f"/compare?runs={quote(','.join(newest))}", tuple(newest))


def _expected(server: ServerProcess, sort: str, filters: dict[str, str] | None = None) -> list[tuple[str, Any, int]]:
    """Matching runs as (id, value, number), by value, runs without a value last, then newest first."""
    key, filters = sort.lstrip("-"), filters or {}
    with sqlite3.connect(server.folder / "runyard.db") as database:
        best = "(SELECT best FROM metric_series s WHERE s.run = run.id AND s.name = :key)"
        tags = "(SELECT group_concat(tag) FROM run_tag WHERE run = run.id)"
        found = database.execute(
            f"SELECT id, {COLUMNS.get(key, best)}, number, status, family, dataset, {tags}, name, notes FROM run",
            {"key": key},
        ).fetchall()
    database.close()
    kept = [
        (run, value, number)
        for run, value, number, status, family, dataset, given, *texts in found
        if filters.get("status", status) == status
        and filters.get("family", family) == family
        and filters.get("dataset", dataset) == dataset
        and ("tag" not in filters or filters["tag"] in (given or "").split(","))
        and any(filters.get("q", "").strip('"') in each for each in texts)
    ]
    kept.sort(key=lambda each: -each[2])
    known = sorted((each for each in kept if each[1] is not None), key=lambda each: each[1])
    if sort.startswith("-"):
        known = sorted((each for each in kept if each[1] is not None), key=lambda each: each[1], reverse=True)
    return known + [each for each in kept if each[1] is None]


def _check_pages(server: ServerProcess, order: list[tuple[str, Any, int]], sort: str) -> None:
    after: dict[str, str] = {}
    for page in range(DEEP_PAGES):
        found = json.loads(server.get(f"/api/v1/runs?{urlencode({'sort': sort} | after)}"))
        if [run["id"] for run in found["runs"]] != [run for run, *_ in order[page * PAGE : (page + 1) * PAGE]]:
            raise RuntimeError(f"page {page + 1} by {sort} does not have the right runs")
        after = {"after": found["next"]}


def _check(body: bytes, request: Request) -> None:
    words = body.decode()
    match request.kind:
        case "JSON":
            answer = json.loads(words)
            found = [run["id"] for run in answer["runs"]]
            if answer["total"] != request.total:
                raise RuntimeError(f"{request.name}: counted {answer['total']} runs, not {request.total}")
            if any(len(run["spec"]) < 30 or (run["started"] and len(run["summary"]) < 8) for run in answer["runs"]):
                raise RuntimeError(f"{request.name}: a run has lost some of its fields or metrics")
        case "HTML":
            found = re.findall(r'<tr id="row-(r_\w+)"', words)
            if words.count("<polyline") < words.count("badge succeeded"):
                raise RuntimeError(f"{request.name}: a curve is missing")
        case "/compare":
            found = [run for run in request.runs if f"/runs/{run}" in words]
        case _:
            found = []
    if tuple(found) != request.runs:
        raise RuntimeError(f"{request.name} does not have the right runs")


# Measuring -----------------------------------------------------------------------------------------------------------

Timings = dict[int, dict[Request, list[Timing]]]


def _measure(
    servers: dict[int, ServerProcess], requests: dict[int, list[Request]], tracker: TrackerProcess
) -> tuple[Timings, dict[str, list[float]]]:
    timings: Timings = {runs: defaultdict(list) for runs in servers}
    mlflow: dict[str, list[float]] = {"wall": [], "cpu": []}
    for turn in range(ROUNDS):
        pairs = list(zip(requests[FEW], requests[MANY], strict=True))
        for i in range(len(pairs)):
            pair = pairs[(i + turn * 7) % len(pairs)]
            for runs, request in zip((FEW, MANY), pair, strict=True):
                timings[runs][request].append(timed(servers[runs], request))
        page = tracker.request({"by": "test/acc", "pages": 2})
        # The first page after a pause warms up.
        mlflow["wall"].append(1000 * page["wall"][1])
        mlflow["cpu"].append(1000 * page["cpu"][1])
    return timings, mlflow


def _updates(server: ServerProcess) -> tuple[list[float], list[float]]:
    """CPU seconds per update of a best value, with and without the index of the run table."""
    with writing(server.engine) as connection:
        series = [row.id for row in connection.execute(text("SELECT id FROM metric_series ORDER BY id DESC LIMIT 40"))]
        statement = "UPDATE metric_series SET best = ?, best_step = ? WHERE id = ?"
        found: tuple[list[float], list[float]] = ([], [])
        for turn in range(ROUNDS):
            for indexed, timings in zip((True, False), found, strict=True):
                with connection.begin_nested() as trial:
                    if not indexed:
                        connection.exec_driver_sql("DROP INDEX ix_metric_series_best")
                    cpu = time.process_time()
                    for i in range(50):
                        values = [(1 / (1 + i + turn), i, each) for each in series]
                        connection.exec_driver_sql(statement, values)
                    timings.append((time.process_time() - cpu) / 50 / len(series))
                    trial.rollback()
    return found


def timed(server: ServerProcess, request: Request) -> Timing:
    """Send a request. Raises RuntimeError if its answer does not have the right runs."""
    cpu, wall = server.cpu_seconds(), time.perf_counter()
    body = server.get(request.path)
    wall = time.perf_counter() - wall
    found = Timing(1e3 * wall, 1e3 * (server.cpu_seconds() - cpu))
    _check(body, request)
    return found


def _median(of: list[Timing]) -> float:
    return statistics.median(each.cpu for each in of)


def _medians(timings: Timings) -> dict[str, dict[str, float]]:
    return {
        f"{runs:,} runs, CPU ms": {request.name: round(_median(of), 2) for request, of in by_ask.items()}
        for runs, by_ask in timings.items()
    }


def _rows(timings: Timings, mlflow: dict[str, list[float]]) -> list[Row]:
    found = []
    for runs in (FEW, MANY):
        for kind, target in (("JSON", "<= 15"), ("HTML", "<= 60")):
            first = [request for request in timings[runs] if request.kind == kind and request.place == "first"]
            values = [each.wall for request in first for each in timings[runs][request]]
            goal = target if runs == FEW else ""
            found.append(row(f"{runs:,} runs: first page of {PAGE} as {kind}, ms", values, goal, "p95"))
            values = [each.cpu for request in first for each in timings[runs][request]]
            found.append(row(f"{runs:,} runs: first page of {PAGE} as {kind}, CPU ms of the server", values))
    for runs in (FEW, MANY):
        by_place = {(request.kind, request.sort, request.place): _median(of) for request, of in timings[runs].items()}
        for place in ("deep", "last"):
            values = [by_place[kind, sort, place] / by_place[kind, sort, "first"] for kind in FORMATS for sort in SORTS]
            found.append(row(f"{runs:,} runs: {place} page / first page, CPU, by sort", values, "<= 2", "max"))
    few, many = (
        {request.name: (request, _median(of)) for request, of in timings[runs].items()} for runs in (FEW, MANY)
    )
    kinds: dict[str, Callable[[Request], bool]] = {
        "first, deep and last pages": lambda request: "=" not in request.place,
        "filtered pages": lambda request: "=" in request.place and "q=" not in request.place,
        # The other search finds less than a page of the few runs.
        "searched pages": lambda request: "q=" in request.place and len(request.runs) == PAGE,
    }
    for what, fits in kinds.items():
        values = [
            many[name][1] / few[name][1]
            for name, (request, _) in few.items()
            if request.kind in FORMATS and fits(request)
        ]
        found.append(row(f"{MANY:,} runs / {FEW:,} runs: {what}, CPU", values, "<= 2", "max"))
    for runs in (FEW, MANY):
        for kind in ("/", "/compare"):
            values = [each.wall for request, of in timings[runs].items() if request.kind == kind for each in of]
            found.append(row(f"{runs:,} runs: {kind}, ms", values))
    ours = next(of for request, of in timings[FEW].items() if request.name == "JSON -test/acc first")
    note = "its own SQLite store, ANALYZE run once, in process; Runyard over HTTP"
    found.append(row(f"{FEW:,} runs: MLflow search_runs by test/acc, {PAGE} runs, ms", mlflow["wall"], note=note))
    found.append(row(f"{FEW:,} runs: MLflow search_runs by test/acc, {PAGE} runs, CPU ms", mlflow["cpu"]))
    found.append(
        row(
            f"{FEW:,} runs: the same page, Runyard / MLflow, CPU",
            ratios([each.cpu for each in ours], mlflow["cpu"]),
            "<= 1",
        )
    )
    return found
