"""Cost of reading curves: twenty overlaid runs, compared with other trackers, and one very long run.

The long run is read in reduced form from its levels. Results are compared with the written values: the minimum and
maximum of every interval must be included.
"""

from __future__ import annotations

import shutil
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine

from app.store import metric
from app.store.database import migrate, next_commit, open_database, reading, writing
from app.store.metric import Curve, read_curves
from app.store.run import insert_run
from bench.alternatives import TrackerProcess, versions
from bench.interleave import REPEATS, interleaved
from bench.report import Row, ratios, row, save
from bench.stream_entries import BEGAN, NAMES, Array, any_config

RUNS = 20
POINTS = 10_000
SHOWN = 1000
LONG = 10_000_000
# Points of a curve per flush, and commits between two merges, for a network that makes 1,000 steps per second.
FLUSH = 50
MERGE_EVERY = 100
TRACKERS = {"trackio": ("batch", "<= 0.1"), "MLflow": ("sampled", "<= 0.01")}


def main() -> None:
    """Fill a database and those of two other trackers, and read them in turn."""
    folder = Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
    engine = open_database(f"sqlite:///{folder / 'runyard.db'}")
    trackers: dict[str, TrackerProcess] = {}
    try:
        migrate(engine)
        for name in TRACKERS:
            trackers[name] = TrackerProcess("read_curves", name, str(folder / name))
            trackers[name].request({"runs": RUNS, "names": NAMES, "points": POINTS})
        rows = _twenty_runs(engine, trackers) + _long_run(engine)
    finally:
        for each in trackers.values():
            each.close()
        engine.dispose()
        shutil.rmtree(folder, ignore_errors=True)
    save("curves", rows, alternatives=versions())


def _twenty_runs(engine: Engine, trackers: dict[str, TrackerProcess]) -> list[Row]:
    values = np.random.default_rng(3).normal(size=(RUNS, len(NAMES), POINTS)).cumsum(2)
    runs = [filled_run(engine, values[i], FLUSH, ended=True) for i in range(RUNS)]
    live = [filled_run(engine, values[i], FLUSH, ended=False) for i in range(RUNS)]
    for run in (runs[0], live[0]):
        _check(_read(engine, [run])[run], dict(zip(NAMES, values[0], strict=True)))
    cpu_seconds: dict[str, list[float]] = {name: [] for name in ("ended", "live", *trackers)}
    point_counts: dict[str, int] = {}
    for _ in range(REPEATS):
        for name, selected in (("ended", runs), ("live", live)):
            cpu_seconds[name] += interleaved({name: lambda selected=selected: _read(engine, selected)}, 1)[name].cpu  # type: ignore[misc]
        for name, tracker in trackers.items():
            result = tracker.request({"read": TRACKERS[name][0], "points": SHOWN})
            cpu_seconds[name].append(result["cpu"])
            point_counts[name] = result["points"]
    if any(count < RUNS * len(NAMES) * SHOWN / 2 for count in point_counts.values()):
        raise RuntimeError(f"too few points were read: {point_counts}")
    milliseconds = {name: [1000 * each for each in cpu] for name, cpu in cpu_seconds.items()}
    what = f"{RUNS} runs × {len(NAMES)} curves × {POINTS:,} points reduced to {SHOWN:,}"
    return [
        row(f"{what}, Runyard: ms of CPU", milliseconds["ended"]),
        row(f"{what}, Runyard, before merging: ms of CPU", milliseconds["live"]),
        *(
            row(f"{what}, {name}: ms of CPU", milliseconds[name], note=f"{count:,} points after its own downsampling")
            for name, count in point_counts.items()
        ),
        *(
            row(f"{what}: Runyard / {name}, CPU", ratios(cpu_seconds["ended"], cpu_seconds[name]), target)
            for name, (_, target) in TRACKERS.items()
        ),
    ]


def _read(engine: Engine, runs: list[str]) -> dict[str, dict[str, Curve]]:
    with reading(engine) as connection:
        return {run: read_curves(connection, run, points=SHOWN) for run in runs}


def filled_run(engine: Engine, values: Array, flush: int, ended: bool) -> str:
    """Write a run with one metric per row of ``values``, and merge its chunks as the recorder does."""
    with writing(engine) as connection:
        run = insert_run(connection, any_config(), {}, None, BEGAN)
    total = values.shape[1]
    commit = 0
    for first in range(0, total, flush):
        steps = np.arange(first, min(total, first + flush), dtype=np.int64)
        curves = {
            (run, name): Curve(steps, each[first : first + flush], BEGAN + steps / 1000)
            for name, each in zip(NAMES, values, strict=False)
        }
        with writing(engine) as connection:
            commit = next_commit(connection)
            metric.add_curves(connection, curves, commit)
            if (first // flush + 1) % MERGE_EVERY == 0:
                metric.merge_chunks(connection, run, commit)
    with writing(engine) as connection:
        while ended and metric.merge_chunks(connection, run, commit, ended):
            pass
    return run


def _check(result: dict[str, Curve], expected: dict[str, Array]) -> None:
    """Raise RuntimeError unless every point was written as read and the extremes of every interval are included."""
    if result.keys() != expected.keys():
        raise RuntimeError(f"unexpected curves: {sorted(result)}")
    for name, curve in result.items():
        values = expected[name]
        if not SHOWN / 2 <= len(curve.steps) <= SHOWN or not np.array_equal(values[curve.steps], curve.values):
            raise RuntimeError(f"{name} is not what was written")
        edges = np.linspace(0, len(values), SHOWN // 2 + 1).astype(np.int64)
        # If levels are reduced further, intervals begin and end at those of the levels.
        rim = int(edges[1]) if len(values) > metric.BUCKET * SHOWN else 0
        for begin, end in pairwise(edges):
            near = curve.values[(curve.steps >= begin - rim) & (curve.steps < end + rim)]
            if near.min() > values[begin:end].min() or near.max() < values[begin:end].max():
                raise RuntimeError(f"{name} lacks an extreme between {begin} and {end}")


def _long_run(engine: Engine) -> list[Row]:
    values = np.random.default_rng(4).normal(size=(1, LONG)).cumsum(1)
    values[0, LONG // 3], values[0, LONG // 2] = 1e6, -1e6
    run = filled_run(engine, values, 1000, ended=False)
    result = _read(engine, [run])[run]
    _check(result, {NAMES[0]: values[0]})
    if result[NAMES[0]].values.max() != 1e6 or result[NAMES[0]].values.min() != -1e6:
        raise RuntimeError("a spike is missing")

    def everything() -> Any:
        with reading(engine) as connection:
            return read_curves(connection, run, points=0)

    times = interleaved({"reduced": lambda: _read(engine, [run]), "everything": everything})
    return [
        row(f"one run, {LONG:,} points reduced to {SHOWN:,}: ms", [1000 * each for each in times["reduced"].wall]),
        row(f"one run, all {LONG:,} points: ms", [1000 * each for each in times["everything"].wall]),
    ]
