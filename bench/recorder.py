"""What the recorder takes: scalars a second from the stream into SQLite, every one of them once.

Entries lie in the stream before the recorder may read them, so that its time is its own and not the sender's; and, for
a day's work rather than a flood, come at the pace of trainers that flush every 50 ms.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.alternatives import Theirs, versions
from bench.backstage import Backstage
from bench.interleave import REPEATS, Times, cpu_seconds
from bench.record import Row, keep, ratios, row
from bench.recording import (
    NAMES,
    Array,
    Sent,
    any_config,
    check,
    feed,
    feed_at_pace,
    held_back,
    recorder_cpu,
    wait_until_committed,
)

RUNS = 20
# Points of a flush: of a network that makes 20 steps a second, 100, … 10,000.
SIZES = (1, 5, 20, 100, 500)
LIVE_SECONDS = 5
MLFLOW_SCALARS = 4000
TARGET = ">= 200000"


def _one_run(stage: Backstage) -> list[Sent]:
    return [Sent(*stage.hold(any_config()), points=1000, metrics=4, entries=400)]


def _twenty_runs(stage: Backstage) -> list[Sent]:
    return [Sent(*stage.hold(any_config()), SIZES[i % len(SIZES)], metrics=5, entries=120) for i in range(RUNS)]


def _small_entries(stage: Backstage) -> list[Sent]:
    return [Sent(*stage.hold(any_config()), points=3, metrics=4, entries=250) for _ in range(RUNS)]


FLOODS: dict[str, Callable[[Backstage], list[Sent]]] = {
    "one run, 1,000 points of 4 metrics an entry": _one_run,
    "20 runs, 1 to 500 points of 5 metrics an entry": _twenty_runs,
    "20 runs, 3 points of 4 metrics an entry": _small_entries,
}


def main() -> None:
    """Floods of three kinds beside their alternatives, then twenty runs at their own pace."""
    with Backstage() as stage:
        _join(stage)
        theirs = Theirs("points", str(stage.folder / "mlflow"))
        try:
            rows = _floods(stage, theirs) + _live(stage)
        finally:
            theirs.close()
    keep("recorder", rows, alternatives=versions())


def _join(stage: Backstage) -> None:
    """The recorder is there and has had its first run."""
    runs = [Sent(*stage.hold(any_config()), points=1, metrics=1, entries=1)]
    feed(stage, runs)
    wait_until_committed(stage, runs)


def _floods(stage: Backstage, theirs: Theirs) -> list[Row]:
    ours = {name: Times() for name in FLOODS}
    counts: dict[str, tuple[int, int]] = {}
    by_row, mlflow = Times(), Times()
    for _ in range(REPEATS):
        for name, make in FLOODS.items():
            runs = make(stage)
            counts[name] = (sum(each.scalars for each in runs), sum(each.entries for each in runs))
            _flood(stage, runs, ours[name])
        _insert_rows(stage.folder / "rows.db", _twenty_runs(stage), by_row)
        answer = theirs.ask({"scalars": MLFLOW_SCALARS, "names": NAMES})
        mlflow.cpu.append(answer["cpu"])
        mlflow.wall.append(answer["wall"])
    rows: list[Row] = []
    for name, times in ours.items():
        scalars, entries = counts[name]
        target = TARGET if name != list(FLOODS)[-1] else ""
        rows.append(row(f"{name}: scalars a CPU second", [scalars / each for each in times.cpu], target))
        rows.append(row(f"{name}: scalars a second", [scalars / each for each in times.wall], target))
        rows.append(row(f"{name}: entries a CPU second", [entries / each for each in times.cpu]))
    many = list(FLOODS)[1]
    scalars = counts[many][0]
    ours_each = [1e6 * each / scalars for each in ours[many].cpu]
    rows_each = [1e6 * each / scalars for each in by_row.cpu]
    mlflow_each = [1e6 * each / MLFLOW_SCALARS for each in mlflow.cpu]
    note = "executemany of 2,000 rows a commit, same settings of SQLite; nothing else that the recorder does"
    return [
        *rows,
        row("20 runs, Runyard: µs of CPU a scalar", ours_each),
        row("a row for each point: µs of CPU a scalar", rows_each, note=note),
        row("MLflow log_batch of 1,000 to SQLite: µs of CPU a scalar", mlflow_each),
        row("Runyard / a row for each point, CPU", ratios(ours_each, rows_each)),
        row("Runyard / MLflow log_batch, CPU", ratios(ours_each, mlflow_each)),
    ]


def _flood(stage: Backstage, runs: list[Sent], times: Times) -> None:
    with held_back(stage):
        feed(stage, runs)
        cpu, wall = recorder_cpu(stage), time.perf_counter()
    wait_until_committed(stage, runs)
    times.wall.append(time.perf_counter() - wall)
    times.cpu.append(recorder_cpu(stage) - cpu)
    check(stage, runs)


def _insert_rows(path: Path, runs: Sequence[Sent], times: Times) -> None:
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


def _points(runs: Sequence[Sent]) -> Iterable[tuple[Any, ...]]:
    series = 0
    for each in runs:
        at: Array = each.times()
        for values in each.values:
            series += 1
            for step, (value, moment) in enumerate(zip(values.tolist(), at.tolist(), strict=True), 1):
                yield series, step, value, moment


def _live(stage: Backstage) -> list[Row]:
    shares, lags = [], []
    entries = int(LIVE_SECONDS * 20)
    for _ in range(REPEATS):
        runs = [Sent(*stage.hold(any_config()), points=5, metrics=4, entries=entries) for _ in range(RUNS)]
        cpu, wall = recorder_cpu(stage), time.perf_counter()
        feed_at_pace(stage, runs)
        sent = time.perf_counter()
        wait_until_committed(stage, runs)
        lags.append(1000 * (time.perf_counter() - sent))
        shares.append(100 * (recorder_cpu(stage) - cpu) / (time.perf_counter() - wall))
        check(stage, runs)
    what = f"{RUNS} runs at 100 steps a second, 4 metrics, 20 flushes a second"
    return [
        row(f"{what}: % of a core", shares),
        row(f"{what}: last entry sent -> committed, ms", lags),
    ]
