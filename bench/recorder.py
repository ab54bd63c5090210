"""Throughput of the recorder: scalars per second from the stream into SQLite, each exactly once.

For bursts, all entries are in the stream before the recorder may read them, so that the sender's time does not count.
For normal load, entries arrive at the rate of trainers that flush every 50 ms.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.alternatives import TrackerProcess, versions
from bench.backend import Backend
from bench.interleave import REPEATS, Times, cpu_seconds
from bench.report import Row, ratios, row, save
from bench.stream_entries import (
    NAMES,
    Array,
    RunEntries,
    any_config,
    check,
    feed,
    feed_at_pace,
    paused_recorder,
    recorder_cpu,
    wait_until_committed,
)

RUNS = 20
# Points per flush of networks that make 20, 100, … 10,000 steps per second.
SIZES = (1, 5, 20, 100, 500)
LIVE_SECONDS = 5
LIVE = f"{RUNS} runs at 100 steps per second, 4 metrics, 20 flushes per second"
MLFLOW_SCALARS = 4000
TARGET = ">= 200000"


def _one_run(backend: Backend) -> list[RunEntries]:
    return [RunEntries(*backend.claim_run(any_config()), points=1000, metrics=4, entries=400)]


def _twenty_runs(backend: Backend) -> list[RunEntries]:
    return [
        RunEntries(*backend.claim_run(any_config()), SIZES[i % len(SIZES)], metrics=5, entries=120) for i in range(RUNS)
    ]


def _small_entries(backend: Backend) -> list[RunEntries]:
    return [RunEntries(*backend.claim_run(any_config()), points=3, metrics=4, entries=250) for _ in range(RUNS)]


BURSTS: dict[str, Callable[[Backend], list[RunEntries]]] = {
    "one run, 1,000 points of 4 metrics per entry": _one_run,
    "20 runs, 1 to 500 points of 5 metrics per entry": _twenty_runs,
    "20 runs, 3 points of 4 metrics per entry": _small_entries,
}


def main() -> None:
    """Measure bursts of three kinds and their alternatives, then twenty runs at normal speed."""
    with Backend() as backend:
        join(backend)
        theirs = TrackerProcess("log_batch", str(backend.folder / "mlflow"))
        try:
            rows = _bursts(backend, theirs) + _live(backend)
        finally:
            theirs.close()
    save("recorder", rows, alternatives=versions())


def join(backend: Backend) -> None:
    """Warm up: wait until the recorder has committed a first run."""
    runs = [RunEntries(*backend.claim_run(any_config()), points=1, metrics=1, entries=1)]
    feed(backend, runs)
    wait_until_committed(backend, runs)


def _bursts(backend: Backend, theirs: TrackerProcess) -> list[Row]:
    ours = {name: Times() for name in BURSTS}
    counts: dict[str, tuple[int, int]] = {}
    by_row, mlflow = Times(), Times()
    for _ in range(REPEATS):
        for name, make in BURSTS.items():
            runs = make(backend)
            counts[name] = (sum(each.scalars for each in runs), sum(each.entries for each in runs))
            burst(backend, runs, ours[name])
        _insert_rows(backend.folder / "rows.db", _twenty_runs(backend), by_row)
        answer = theirs.request({"scalars": MLFLOW_SCALARS, "names": NAMES})
        mlflow.cpu.append(answer["cpu"])
        mlflow.wall.append(answer["wall"])
    rows: list[Row] = []
    for name, times in ours.items():
        scalars, entries = counts[name]
        target = TARGET if name != list(BURSTS)[-1] else ""
        rows.append(row(f"{name}: scalars per CPU second", [scalars / each for each in times.cpu], target))
        rows.append(row(f"{name}: scalars per second", [scalars / each for each in times.wall], target))
        rows.append(row(f"{name}: entries per CPU second", [entries / each for each in times.cpu]))
    many = list(BURSTS)[1]
    scalars = counts[many][0]
    ours_each = [1e6 * each / scalars for each in ours[many].cpu]
    rows_each = [1e6 * each / scalars for each in by_row.cpu]
    mlflow_each = [1e6 * each / MLFLOW_SCALARS for each in mlflow.cpu]
    note = "executemany of 2,000 rows per commit, same SQLite settings, without the recorder's other work"
    return [
        *rows,
        row("20 runs, Runyard: µs of CPU per scalar", ours_each),
        row("one row per point: µs of CPU per scalar", rows_each, note=note),
        row("MLflow log_batch of 1,000 to SQLite: µs of CPU per scalar", mlflow_each),
        row("Runyard / one row per point, CPU", ratios(ours_each, rows_each)),
        row("Runyard / MLflow log_batch, CPU", ratios(ours_each, mlflow_each)),
    ]


def burst(
    backend: Backend, runs: list[RunEntries], times: Times, database_cpu: Callable[[], float] = lambda: 0.0
) -> None:
    """Let the recorder write runs that wait in the stream; ``database_cpu``: CPU seconds of a database's processes."""
    with paused_recorder(backend):
        feed(backend, runs)
        cpu, wall = recorder_cpu(backend) + database_cpu(), time.perf_counter()
    wait_until_committed(backend, runs)
    times.wall.append(time.perf_counter() - wall)
    times.cpu.append(recorder_cpu(backend) + database_cpu() - cpu)
    check(backend, runs)


def _insert_rows(path: Path, runs: Sequence[RunEntries], times: Times) -> None:
    path.unlink(missing_ok=True)
    database = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-32000"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("CREATE TABLE point (series INTEGER, step INTEGER, value REAL, time REAL)")
    database.execute("CREATE INDEX ix_point ON point (series, step)")
    points = list(_points(runs))
    cpu, wall = cpu_seconds(), time.perf_counter()
    for first in range(0, len(points), 2000):
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO point VALUES (?, ?, ?, ?)", points[first : first + 2000])
        database.execute("COMMIT")
    times.cpu.append(cpu_seconds() - cpu)
    times.wall.append(time.perf_counter() - wall)
    (count,) = database.execute("SELECT count(*) FROM point").fetchone()
    database.close()
    if count != len(points):
        raise RuntimeError(f"{count} of {len(points)} rows")


def _points(runs: Sequence[RunEntries]) -> Iterable[tuple[Any, ...]]:
    series = 0
    for each in runs:
        at: Array = each.times()
        for values in each.values:
            series += 1
            for step, (value, moment) in enumerate(zip(values.tolist(), at.tolist(), strict=True), 1):
                yield series, step, value, moment


def _live(backend: Backend) -> list[Row]:
    shares, lags = zip(*(live(backend) for _ in range(REPEATS)), strict=True)
    return [
        row(f"{LIVE}: % of a core", shares),
        row(f"{LIVE}: last entry sent -> committed, ms", lags),
    ]


def live(backend: Backend, database_cpu: Callable[[], float] = lambda: 0.0) -> tuple[float, float]:
    """Send what twenty runs report at normal speed; % of a core, and ms until the last entry is committed."""
    entries = int(LIVE_SECONDS * 20)
    runs = [RunEntries(*backend.claim_run(any_config()), points=5, metrics=4, entries=entries) for _ in range(RUNS)]
    cpu, wall = recorder_cpu(backend) + database_cpu(), time.perf_counter()
    feed_at_pace(backend, runs)
    sent = time.perf_counter()
    wait_until_committed(backend, runs)
    ended = time.perf_counter()
    share = 100 * (recorder_cpu(backend) + database_cpu() - cpu) / (ended - wall)
    check(backend, runs)
    return share, 1000 * (ended - sent)
