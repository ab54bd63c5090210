"""What reading curves costs: twenty runs laid over each other, beside the trackers that people use; one very long run.

The long one is read reduced from its levels. What is read is compared with what was written: of every stretch the
lowest and the highest point.
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
from bench.alternatives import Theirs, versions
from bench.interleave import REPEATS, interleaved
from bench.record import Row, keep, ratios, row
from bench.recording import BEGAN, NAMES, Array, any_config

RUNS = 20
POINTS = 10_000
SHOWN = 1000
LONG = 10_000_000
# Points of a curve in one flush, and commits between two merges, as of a network that makes 1,000 steps a second.
FLUSH = 50
MERGE_EVERY = 100
TRACKERS = {"trackio": ("batch", "<= 0.1"), "MLflow": ("sampled", "<= 0.01")}


def main() -> None:
    """Fill a database and two other trackers', and read them in turn."""
    folder = Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
    engine = open_database(f"sqlite:///{folder / 'runyard.db'}")
    trackers: dict[str, Theirs] = {}
    try:
        migrate(engine)
        for name in TRACKERS:
            trackers[name] = Theirs("histories", name, str(folder / name))
            trackers[name].ask({"runs": RUNS, "names": NAMES, "points": POINTS})
        rows = _many(engine, trackers) + _long(engine)
    finally:
        for each in trackers.values():
            each.close()
        engine.dispose()
        shutil.rmtree(folder, ignore_errors=True)
    keep("curves", rows, alternatives=versions())


def _many(engine: Engine, trackers: dict[str, Theirs]) -> list[Row]:
    values = np.random.default_rng(3).normal(size=(RUNS, len(NAMES), POINTS)).cumsum(2)
    runs = [_filled(engine, values[i], FLUSH, ended=True) for i in range(RUNS)]
    live = [_filled(engine, values[i], FLUSH, ended=False) for i in range(RUNS)]
    for run in (runs[0], live[0]):
        _check(_read(engine, [run])[run], dict(zip(NAMES, values[0], strict=True)))
    spent: dict[str, list[float]] = {name: [] for name in ("ended", "live", *trackers)}
    shown: dict[str, int] = {}
    for _ in range(REPEATS):
        for name, some in (("ended", runs), ("live", live)):
            spent[name] += interleaved({name: lambda some=some: _read(engine, some)}, 1)[name].cpu  # type: ignore[misc]
        for name, tracker in trackers.items():
            found = tracker.ask({"read": TRACKERS[name][0], "points": SHOWN})
            spent[name].append(found["cpu"])
            shown[name] = found["points"]
    if any(count < RUNS * len(NAMES) * SHOWN / 2 for count in shown.values()):
        raise RuntimeError(f"too little was read: {shown}")
    milliseconds = {name: [1000 * each for each in cpu] for name, cpu in spent.items()}
    what = f"{RUNS} runs × {len(NAMES)} curves × {POINTS:,} points reduced to {SHOWN:,}"
    return [
        row(f"{what}, Runyard: ms of CPU", milliseconds["ended"]),
        row(f"{what}, Runyard, nothing merged yet: ms of CPU", milliseconds["live"]),
        *(
            row(f"{what}, {name}: ms of CPU", milliseconds[name], note=f"{count:,} points as it thins them out")
            for name, count in shown.items()
        ),
        *(
            row(f"{what}: Runyard / {name}, CPU", ratios(spent["ended"], spent[name]), target)
            for name, (_, target) in TRACKERS.items()
        ),
    ]


def _read(engine: Engine, runs: list[str]) -> dict[str, dict[str, Curve]]:
    with reading(engine) as connection:
        return {run: read_curves(connection, run, points=SHOWN) for run in runs}


def _filled(engine: Engine, values: Array, flush: int, ended: bool) -> str:
    """A run with these values of as many metrics, written and merged as the recorder does."""
    with writing(engine) as connection:
        run = insert_run(connection, any_config(), {}, None, BEGAN)
    total = values.shape[1]
    commit = 0
    for first in range(0, total, flush):
        steps = np.arange(first, min(total, first + flush), dtype=np.uint32)
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


def _check(found: dict[str, Curve], written: dict[str, Array]) -> None:
    """Raise RuntimeError unless what was read is of what was written, the extremes of every stretch among it."""
    if found.keys() != written.keys():
        raise RuntimeError(f"there are {sorted(found)}")
    for name, curve in found.items():
        values = written[name]
        if not SHOWN / 2 <= len(curve.steps) <= SHOWN or not np.array_equal(values[curve.steps], curve.values):
            raise RuntimeError(f"{name} is not what was written")
        edges = np.linspace(0, len(values), SHOWN // 2 + 1).astype(np.int64)
        # Where levels are reduced once more, a stretch begins and ends with one of theirs, not where it would else.
        rim = int(edges[1]) if len(values) > metric.BUCKET * SHOWN else 0
        for begin, end in pairwise(edges):
            near = curve.values[(curve.steps >= begin - rim) & (curve.steps < end + rim)]
            if near.min() > values[begin:end].min() or near.max() < values[begin:end].max():
                raise RuntimeError(f"{name} lacks an extreme between {begin} and {end}")


def _long(engine: Engine) -> list[Row]:
    values = np.random.default_rng(4).normal(size=(1, LONG)).cumsum(1)
    values[0, LONG // 3], values[0, LONG // 2] = 1e6, -1e6
    run = _filled(engine, values, 1000, ended=False)
    found = _read(engine, [run])[run]
    _check(found, {NAMES[0]: values[0]})
    if found[NAMES[0]].values.max() != 1e6 or found[NAMES[0]].values.min() != -1e6:
        raise RuntimeError("a spike has vanished")

    def everything() -> Any:
        with reading(engine) as connection:
            return read_curves(connection, run, points=0)

    times = interleaved({"reduced": lambda: _read(engine, [run]), "everything": everything})
    return [
        row(f"one run, {LONG:,} points reduced to {SHOWN:,}: ms", [1000 * each for each in times["reduced"].wall]),
        row(f"one run, {LONG:,} points, every one: ms", [1000 * each for each in times["everything"].wall]),
    ]
