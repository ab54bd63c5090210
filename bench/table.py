"""The run table at scale: a page of fifty runs, however sorted and filtered, first and deep; and the pages beside it.

10,000 and 100,000 runs, each served by a process of its own, and MLflow's search of the same 10,000, in turn. What a
page holds is held against a sort of all runs in this process.
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

from app.store.cursor import write_cursor
from app.store.database import writing
from bench.alternatives import Theirs, versions
from bench.filling import fill
from bench.record import Row, keep, ratios, row
from bench.served import Served

FEW, MANY = 10_000, 100_000
PAGE = 50
DEEP_PAGES = 100
ROUNDS = 9
COMPARED = 20
SORTS = ("-number", "-test/acc", "val/loss", "-duration", "lr", "name")
FILTERS = ({"status": "failed"}, {"tag": "ablation"}, {"family": "vit", "dataset": "mnist"}, {"q": '"trial 12"'})
FILTERED_SORTS = ("-number", "-test/acc")
FORMATS = {"JSON": "/api/v1/runs", "HTML": "/runs"}
COLUMNS = {"number": "number", "name": "name", "lr": "lr", "duration": "ended_at - started_at"}


@dataclass(frozen=True)
class Ask:
    """A request that is measured; ``runs`` are the ids that its answer must hold, in this order, of ``total``."""

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
class Took:
    """Milliseconds of a request: at the client, and of CPU in the server's process."""

    wall: float
    cpu: float


def main() -> None:
    """Fill, verify every first hundred pages, measure."""
    with ExitStack() as stack:
        yards = {}
        for runs in (FEW, MANY):
            served = Served()
            fill(served.engine, runs)
            yards[runs] = stack.enter_context(served)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ry", dir="/tmp")))
        theirs = Theirs("search", str(yards[FEW].folder / "runyard.db"), str(folder))
        stack.callback(theirs.close)
        asks = {runs: list(_asks(served)) for runs, served in yards.items()}
        order = _expected(yards[FEW], "-test/acc")
        if theirs.ask({"by": "test/acc", "pages": 2})["values"] != [best for _, best, _ in order[: 2 * PAGE]]:
            raise RuntimeError("MLflow does not hold the same runs")
        updates = _updates(yards[FEW])
        for runs, served in yards.items():
            _leaf(served, _expected(served, "-test/acc"), "-test/acc")
            for ask in asks[runs]:
                _check(served.get(ask.path), ask)
        took, mlflow = _measure(yards, asks, theirs)
    rows = _rows(took, mlflow)
    costs = [1e6 * with_index - 1e6 * without for with_index, without in zip(*updates, strict=True)]
    rows.append(row("what the index costs an update of a curve's best value, CPU µs", costs))
    keep("table", rows, medians=_medians(took), alternatives=versions())


# What is asked -------------------------------------------------------------------------------------------------------


def _asks(served: Served) -> Iterator[Ask]:
    for sort in SORTS:
        order = _expected(served, sort)
        last = (len(order) - 1) // PAGE * PAGE
        for place, start in (("first", 0), ("deep", DEEP_PAGES * PAGE), ("last", last)):
            after = {"after": write_cursor(*order[start - 1][1:])} if start else {}
            runs = tuple(run for run, *_ in order[start : start + PAGE])
            for kind, path in FORMATS.items():
                yield Ask(kind, sort, place, f"{path}?{urlencode({'sort': sort} | after)}", runs, len(order))
    for sort in FILTERED_SORTS:
        for where in FILTERS:
            order = _expected(served, sort, where)
            runs = tuple(run for run, *_ in order[:PAGE])
            said = urlencode(where | {"sort": sort})
            for kind, path in FORMATS.items():
                yield Ask(kind, sort, urlencode(where), f"{path}?{said}", runs, len(order))
    yield Ask("/", "", "", "/", ())
    newest = [run for run, *_ in _expected(served, "-number", {"status": "succeeded"})[:COMPARED]]
    yield Ask("/compare", "", "", f"/compare?runs={quote(','.join(newest))}", tuple(newest))


def _expected(served: Served, sort: str, where: dict[str, str] | None = None) -> list[tuple[str, Any, int]]:
    """All that match as (id, value, number), in order: by value, those without one last, then the newest first."""
    key, where = sort.lstrip("-"), where or {}
    with sqlite3.connect(served.folder / "runyard.db") as database:
        best = "(SELECT best FROM metric_series s WHERE s.run = run.id AND s.name = :key)"
        tags = "(SELECT group_concat(tag) FROM run_tag WHERE run = run.id)"
        found = database.execute(
            f"SELECT id, {COLUMNS.get(key, best)}, number, status, family, dataset, {tags}, name FROM run", {"key": key}
        ).fetchall()
    database.close()
    kept = [
        (run, value, number)
        for run, value, number, status, family, dataset, given, name in found
        if where.get("status", status) == status
        and where.get("family", family) == family
        and where.get("dataset", dataset) == dataset
        and ("tag" not in where or where["tag"] in (given or "").split(","))
        and where.get("q", "").strip('"').lower() in name.lower()
    ]
    kept.sort(key=lambda each: -each[2])
    known = sorted((each for each in kept if each[1] is not None), key=lambda each: each[1])
    if sort.startswith("-"):
        known = sorted((each for each in kept if each[1] is not None), key=lambda each: each[1], reverse=True)
    return known + [each for each in kept if each[1] is None]


def _leaf(served: Served, order: list[tuple[str, Any, int]], sort: str) -> None:
    after: dict[str, str] = {}
    for page in range(DEEP_PAGES):
        found = json.loads(served.get(f"/api/v1/runs?{urlencode({'sort': sort} | after)}"))
        if [run["id"] for run in found["runs"]] != [run for run, *_ in order[page * PAGE : (page + 1) * PAGE]]:
            raise RuntimeError(f"page {page + 1} by {sort} does not hold what it should")
        after = {"after": found["next"]}


def _check(body: bytes, ask: Ask) -> None:
    words = body.decode()
    match ask.kind:
        case "JSON":
            answer = json.loads(words)
            found = [run["id"] for run in answer["runs"]]
            if answer["total"] != ask.total:
                raise RuntimeError(f"{ask.name}: counted {answer['total']} runs, not {ask.total}")
            if any(len(run["spec"]) < 30 or (run["started"] and len(run["summary"]) < 8) for run in answer["runs"]):
                raise RuntimeError(f"{ask.name}: a run has lost some of its fields or metrics")
        case "HTML":
            found = re.findall(r'<tr id="row-(r_\w+)"', words)
            if words.count("<polyline") < words.count("badge succeeded"):
                raise RuntimeError(f"{ask.name}: a curve is missing")
        case "/compare":
            found = [run for run in ask.runs if f"/runs/{run}" in words]
        case _:
            found = []
    if tuple(found) != ask.runs:
        raise RuntimeError(f"{ask.name} does not hold the runs that it should")


# Measuring -----------------------------------------------------------------------------------------------------------

Taken = dict[int, dict[Ask, list[Took]]]


def _measure(
    yards: dict[int, Served], asks: dict[int, list[Ask]], theirs: Theirs
) -> tuple[Taken, dict[str, list[float]]]:
    took: Taken = {runs: defaultdict(list) for runs in yards}
    mlflow: dict[str, list[float]] = {"wall": [], "cpu": []}
    for turn in range(ROUNDS):
        pairs = list(zip(asks[FEW], asks[MANY], strict=True))
        for i in range(len(pairs)):
            pair = pairs[(i + turn * 7) % len(pairs)]
            for runs, ask in zip((FEW, MANY), pair, strict=True):
                took[runs][ask].append(_timed(yards[runs], ask))
        page = theirs.ask({"by": "test/acc", "pages": 2})
        # The first after a pause has to warm up.
        mlflow["wall"].append(1000 * page["wall"][1])
        mlflow["cpu"].append(1000 * page["cpu"][1])
    return took, mlflow


def _updates(served: Served) -> tuple[list[float], list[float]]:
    """CPU seconds of an update of a best value, with the index of the run table and without."""
    with writing(served.engine) as connection:
        series = [row.id for row in connection.execute(text("SELECT id FROM metric_series ORDER BY id DESC LIMIT 40"))]
        statement = "UPDATE metric_series SET best = ?, best_step = ? WHERE id = ?"
        found: tuple[list[float], list[float]] = ([], [])
        for turn in range(ROUNDS):
            for indexed, took in zip((True, False), found, strict=True):
                with connection.begin_nested() as trial:
                    if not indexed:
                        connection.exec_driver_sql("DROP INDEX ix_metric_series_best")
                    cpu = time.process_time()
                    for i in range(50):
                        values = [(1 / (1 + i + turn), i, each) for each in series]
                        connection.exec_driver_sql(statement, values)
                    took.append((time.process_time() - cpu) / 50 / len(series))
                    trial.rollback()
    return found


def _timed(served: Served, ask: Ask) -> Took:
    cpu, wall = served.cpu_seconds(), time.perf_counter()
    body = served.get(ask.path)
    wall = time.perf_counter() - wall
    found = Took(1e3 * wall, 1e3 * (served.cpu_seconds() - cpu))
    _check(body, ask)
    return found


def _median(of: list[Took]) -> float:
    return statistics.median(each.cpu for each in of)


def _medians(took: Taken) -> dict[str, dict[str, float]]:
    return {
        f"{runs:,} runs, CPU ms": {ask.name: round(_median(of), 2) for ask, of in by_ask.items()}
        for runs, by_ask in took.items()
    }


def _rows(took: Taken, mlflow: dict[str, list[float]]) -> list[Row]:
    found = []
    for runs in (FEW, MANY):
        for kind, target in (("JSON", "<= 15"), ("HTML", "<= 60")):
            first = [ask for ask in took[runs] if ask.kind == kind and ask.place == "first"]
            values = [each.wall for ask in first for each in took[runs][ask]]
            goal = target if runs == FEW else ""
            found.append(row(f"{runs:,} runs: first page of {PAGE} as {kind}, ms", values, goal, "p95"))
            values = [each.cpu for ask in first for each in took[runs][ask]]
            found.append(row(f"{runs:,} runs: first page of {PAGE} as {kind}, CPU ms of the server", values))
    for runs in (FEW, MANY):
        by_place = {(ask.kind, ask.sort, ask.place): _median(of) for ask, of in took[runs].items()}
        for place in ("deep", "last"):
            values = [by_place[kind, sort, place] / by_place[kind, sort, "first"] for kind in FORMATS for sort in SORTS]
            found.append(row(f"{runs:,} runs: {place} page / first page, CPU, by sort", values, "<= 2", "max"))
    few, many = ({ask.name: (ask, _median(of)) for ask, of in took[runs].items()} for runs in (FEW, MANY))
    kinds: dict[str, Callable[[Ask], bool]] = {
        "first, deep and last pages": lambda ask: "=" not in ask.place,
        "filtered pages": lambda ask: "=" in ask.place and "q=" not in ask.place,
        "searched pages": lambda ask: "q=" in ask.place,
    }
    for what, fits in kinds.items():
        values = [many[name][1] / few[name][1] for name, (ask, _) in few.items() if ask.kind in FORMATS and fits(ask)]
        note = "a text is looked for in every run" if what == "searched pages" else ""
        found.append(row(f"{MANY:,} runs / {FEW:,} runs: {what}, CPU", values, "<= 2", "max", note))
    for runs in (FEW, MANY):
        for kind in ("/", "/compare"):
            values = [each.wall for ask, of in took[runs].items() if ask.kind == kind for each in of]
            found.append(row(f"{runs:,} runs: {kind}, ms", values))
    ours = next(of for ask, of in took[FEW].items() if ask.name == "JSON -test/acc first")
    note = "its own SQLite store, ANALYZE run once, in process; ours over HTTP"
    found.append(row(f"{FEW:,} runs: MLflow search_runs by test/acc, {PAGE} runs, ms", mlflow["wall"], note=note))
    found.append(row(f"{FEW:,} runs: MLflow search_runs by test/acc, {PAGE} runs, CPU ms", mlflow["cpu"]))
    found.append(row("the same page of ours / MLflow, CPU", ratios([each.cpu for each in ours], mlflow["cpu"]), "<= 1"))
    return found
