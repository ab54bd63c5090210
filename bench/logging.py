"""What a log call costs the training process, beside the trackers that people use.

All CPU of the process counts, that of its other threads too, from the first call until everything has been handed over:
for Runyard until a recorder in another process has committed it, for the others until their close has returned. Every
scalar is read back afterwards.
"""

from __future__ import annotations

import gc
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sqlalchemy import text

from app.contract import broker
from app.contract.events import Started
from app.store import metric
from app.store.database import migrate, next_commit, open_database, reading, writing
from app.store.metric import Curve, read_curves
from app.store.run import insert_run
from bench.alternatives import Theirs, versions
from bench.backstage import Backstage
from bench.interleave import REPEATS
from bench.record import Row, keep, ratios, row
from bench.recording import NAMES, Sent, any_config, feed, held_back, recorder_cpu, wait_until_committed
from worker.reporting.reporter import Reporter
from worker.reporting.sender import Sender
from worker.reporting.spool import Spool

OURS = "Runyard"
CALLS = 100_000
# Enough that what a tracker does once is small beside what it does for each, and that nobody waits for a minute.
THEIR_CALLS = {"TensorBoard": 8000, "trackio": 8000, "W&B offline": 5000, "Lightning CSVLogger": 8000, "MLflow": 100}
TARGETS = {"TensorBoard": "<= 0.03", "trackio": "<= 0.1"}
POOL = 4000
STEPS = 2000


@dataclass(frozen=True)
class Case:
    """How a loop logs: so many metrics a call, as numbers or as the tensors that a loss function gives."""

    metrics: int
    tensors: bool

    def __str__(self) -> str:
        kind = "0-d tensor" if self.tensors else "number"
        return f"1 {kind} a call" if self.metrics == 1 else f"{self.metrics} {kind}s a call"

    def question(self, calls: int, timed: bool = False) -> dict[str, Any]:
        """What a tracker is asked to do."""
        return {"calls": calls, "names": NAMES[: self.metrics], "tensors": self.tensors, "timed": timed}


CASES = [Case(metrics, tensors) for tensors in (False, True) for metrics in (1, 4)]


def main() -> None:
    """Tight loops of each kind by each tracker in turn; the calls of a loop that trains; bytes."""
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
    trackers: dict[str, Theirs] = {}
    try:
        with Backstage() as stage:
            for name in THEIR_CALLS:
                (folder / name).mkdir()
                trackers[name] = Theirs("trackers", name, str(folder / name))
                trackers[name].ask(Case(1, False).question(100))
            _logged(stage, Case(1, False), 1000)
            rows = _costs(stage, trackers) + _calls(stage, trackers) + _bytes(stage)
    finally:
        for each in trackers.values():
            each.close()
        shutil.rmtree(folder, ignore_errors=True)
    keep("logging", rows, alternatives=versions())


def _logged(stage: Backstage, case: Case, calls: int, timed: bool = False, trains: bool = False) -> dict[str, Any]:
    """Seconds of a loop that logs to Runyard, of each call where ``timed``, and of the recorder."""
    run, fence = stage.hold(any_config())
    spool = Spool(stage.settings.spool, run, fence)
    names, values = NAMES[: case.metrics], torch.rand(POOL)
    pool: Any = values.unbind() if case.tensors else values.tolist()
    rows = [tuple(pool[(call + place) % POOL] for place in range(case.metrics)) for call in range(calls)]
    weights = torch.rand(400, 400)
    each: list[float] = []
    gc.collect()
    gc.freeze()
    reporter = Reporter(Sender(stage.redis, spool), stage.settings.flush_seconds)
    reporter.event("started", Started(step=0, epoch=0, params=1, environment={}))
    points, clock = reporter.points, time.perf_counter
    recorder, cpu, wall = recorder_cpu(stage), time.process_time(), clock()
    if timed:
        for step, logged in enumerate(rows):
            if trains:
                weights @ weights
            began = clock()
            points(names, step, logged)
            each.append(clock() - began)
    else:
        for step, logged in enumerate(rows):
            points(names, step, logged)
    closed = reporter.close(60)
    took = {"cpu": time.process_time() - cpu, "wall": clock() - wall, "each": each}
    took["recorder"] = recorder_cpu(stage) - recorder
    gc.unfreeze()
    if not closed:
        raise RuntimeError("the recorder has not committed everything")
    spool.remove()
    with reading(stage.engine) as connection:
        found = read_curves(connection, run, points=0)
    for place, name in enumerate(names):
        wanted = values.double().numpy()[(np.arange(calls) + place) % POOL]
        if not np.array_equal(found[name].values, wanted) or found[name].steps.tolist() != list(range(calls)):
            raise RuntimeError(f"{name} is not what was logged")
    return took


def _costs(stage: Backstage, trackers: dict[str, Theirs]) -> list[Row]:
    spent: dict[tuple[Case, str], list[float]] = defaultdict(list)
    recorder: dict[Case, list[float]] = defaultdict(list)
    lost: dict[str, list[float]] = defaultdict(list)
    for turn in range(REPEATS):
        for case in CASES:
            names = [OURS, *(name for name in trackers if name in TARGETS or not case.tensors)]
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                if name == OURS:
                    took, calls = _logged(stage, case, CALLS), CALLS
                    recorder[case].append(1e6 * took["recorder"] / (calls * case.metrics))
                else:
                    calls = THEIR_CALLS[name]
                    took = trackers[name].ask(case.question(calls))
                    lost[name].append(took["lost"])
                spent[case, name].append(1e6 * took["cpu"] / (calls * case.metrics))
    rows = []
    by_case = [str(case) for case in CASES]
    for (case, name), each in spent.items():
        rows.append(row(f"{case}, {name}: µs of CPU a scalar", each))
        if name == OURS:
            rows.append(row(f"{case}, {OURS}'s recorder, another process: µs of CPU a scalar", recorder[case]))
    for (case, name), each in spent.items():
        if name != OURS:
            rows.append(row(f"{case}: {OURS} / {name}", ratios(spent[case, OURS], each), TARGETS.get(name, "")))
    rows.sort(key=lambda each: by_case.index(each["what"].split(",")[0].split(":")[0]))
    return rows + [
        row(f"scalars that are missing afterwards, {name}", each) for name, each in lost.items() if any(each)
    ]


def _calls(stage: Backstage, trackers: dict[str, Theirs]) -> list[Row]:
    """The 99th percentile of a call, in µs."""
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(REPEATS):
        for case in CASES:
            tight = _logged(stage, case, CALLS, timed=True)
            found[f"{case}, tight loop, {OURS}"].append(_percentile(tight["each"]))
        trained = _logged(stage, CASES[-1], STEPS, timed=True, trains=True)
        found[f"{CASES[-1]}, between matrix products, {OURS}"].append(_percentile(trained["each"]))
        for name in TARGETS:
            each = trackers[name].ask(CASES[-1].question(THEIR_CALLS[name], timed=True))["each"]
            found[f"{CASES[-1]}, tight loop, {name}"].append(_percentile(each))
    return [
        row(f"{what}: 99th percentile of a call, µs", each, "<= 50" if what.endswith(OURS) else "")
        for what, each in found.items()
    ]


def _percentile(seconds: list[float]) -> float:
    return 1e6 * statistics.quantiles(seconds, n=100)[-1]


def _bytes(stage: Backstage) -> list[Row]:
    """Of runs that make 100 and 20,000 steps a second, for 20 s and for 2."""
    rows = []
    for speed, points, entries in (("100", 5, 400), ("20,000", 1000, 40)):
        sent = Sent(*stage.hold(any_config()), points, metrics=4, entries=entries)
        with held_back(stage):
            feed(stage, [sent])
            size: Any = stage.redis.memory_usage(broker.EVENTS, samples=0)
        wait_until_committed(stage, [sent])
        written, merged = _stored(stage.folder / f"{points}.db", sent)
        for what, each in (("in Redis, on the way", size), ("in SQLite, new", written), ("in SQLite, merged", merged)):
            rows.append(row(f"bytes a scalar at {speed} steps a second, 4 metrics, {what}", [each / sent.scalars]))
    return rows


def _stored(path: Path, sent: Sent) -> tuple[int, int]:
    """Bytes in SQLite of what a run sent, an entry a commit: as it was written, and after the recorder's merging."""
    engine = open_database(f"sqlite:///{path}")
    migrate(engine)
    with writing(engine) as connection:
        run = insert_run(connection, any_config(), {}, None, time.time())
    empty = _used(engine)
    times = sent.times()
    for number in range(sent.entries):
        part = slice(number * sent.points, (number + 1) * sent.points)
        steps = np.arange(part.start, part.stop, dtype=np.uint32)
        curves = {
            (run, name): Curve(steps, values[part], times[part])
            for name, values in zip(NAMES, sent.values, strict=False)
        }
        with writing(engine) as connection:
            metric.add_curves(connection, curves, next_commit(connection))
    written = _used(engine) - empty
    with writing(engine) as connection:
        while metric.merge_chunks(connection, run, 10**9):
            pass
    merged = _used(engine) - empty
    engine.dispose()
    return written, merged


def _used(engine: Any) -> int:
    with reading(engine) as connection:
        pages, free, size = (
            connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)
