"""Cost of a log call in the training process, compared with other trackers.

All CPU of the process counts, including other threads, from the first call until everything has been handed over: for
Runyard until a recorder in another process has committed it, for its Python client until a server has, for the others
until their close returns. Every scalar is read back afterward.
"""

from __future__ import annotations

import gc
import os
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sqlalchemy import Engine, text

from app.contract import broker
from app.contract.events import Started
from app.store import metric
from app.store.database import migrate, next_commit, open_database, reading, writing
from app.store.metric import Curve, read_curves
from app.store.run import insert_run
from bench.alternatives import TrackerProcess, versions
from bench.backend import Backend
from bench.interleave import REPEATS
from bench.report import Row, ratios, row, save
from bench.server_process import ServerProcess
from bench.stream_entries import (
    NAMES,
    RunEntries,
    any_config,
    feed,
    paused_recorder,
    recorder_cpu,
    wait_until_committed,
)
from runyard import Runyard
from worker.reporting.reporter import Reporter
from worker.reporting.sender import Sender
from worker.reporting.spool import Spool

OURS, CLIENT = "Runyard", "Runyard's Python client"
CALLS = 100_000
# Enough calls to make one-time costs negligible, few enough to take less than a minute.
THEIR_CALLS = {"TensorBoard": 8000, "trackio": 8000, "W&B offline": 5000, "Lightning CSVLogger": 8000, "MLflow": 100}
TARGETS = {"TensorBoard": "<= 0.03", "trackio": "<= 0.1"}
POOL = 4000
STEPS = 2000


@dataclass(frozen=True)
class Case:
    """How a loop logs: the number of metrics per call, as numbers or as 0-d tensors, like a loss."""

    metrics: int
    tensors: bool

    def __str__(self) -> str:
        kind = "0-d tensor" if self.tensors else "number"
        return f"1 {kind} per call" if self.metrics == 1 else f"{self.metrics} {kind}s per call"

    def request(self, calls: int, timed: bool = False) -> dict[str, Any]:
        """The request to a tracker process."""
        return {"calls": calls, "names": NAMES[: self.metrics], "tensors": self.tensors, "timed": timed}


CASES = [Case(metrics, tensors) for tensors in (False, True) for metrics in (1, 4)]


def main() -> None:
    """Measure tight loops of each kind with each tracker in turn, calls within a training loop, and bytes."""
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
    trackers: dict[str, TrackerProcess] = {}
    try:
        os.environ["RUNYARD_SPOOL_DIR"] = str(folder / "spool")
        with Backend() as backend, ServerProcess() as server:
            for name in THEIR_CALLS:
                (folder / name).mkdir()
                trackers[name] = TrackerProcess("log_calls", name, str(folder / name))
                trackers[name].request(Case(1, False).request(100))
            _log_to_runyard(backend, Case(1, False), 1000)
            _log_by_client(server, Case(1, False), 1000)
            rows = _costs(backend, server, trackers) + _calls(backend, server, trackers) + _bytes(backend)
    finally:
        for each in trackers.values():
            each.close()
        shutil.rmtree(folder, ignore_errors=True)
    save("logging", rows, alternatives=versions())


def _log_to_runyard(
    backend: Backend, case: Case, calls: int, timed: bool = False, training: bool = False
) -> dict[str, Any]:
    """Seconds of a loop that logs to Runyard, of each call if ``timed``, and of the recorder."""
    run, fence = backend.claim_run(any_config())
    spool = Spool(backend.settings.spool, run, fence)
    names, values = NAMES[: case.metrics], torch.rand(POOL)
    pool: Any = values.unbind() if case.tensors else values.tolist()
    rows = [tuple(pool[(call + place) % POOL] for place in range(case.metrics)) for call in range(calls)]
    weights = torch.rand(400, 400)
    each: list[float] = []
    gc.collect()
    gc.freeze()
    reporter = Reporter(Sender(backend.redis, spool), backend.settings.flush_seconds)
    reporter.event("started", Started(step=0, epoch=0, params=1, environment={}))
    points, clock = reporter.points, time.perf_counter
    recorder, cpu, wall = recorder_cpu(backend), time.process_time(), clock()
    if timed:
        for step, logged in enumerate(rows):
            if training:
                weights @ weights
            began = clock()
            points(names, step, logged)
            each.append(clock() - began)
    else:
        for step, logged in enumerate(rows):
            points(names, step, logged)
    committed = reporter.close(60)
    result = {"cpu": time.process_time() - cpu, "wall": clock() - wall, "each": each}
    result["recorder"] = recorder_cpu(backend) - recorder
    gc.unfreeze()
    if not committed:
        raise RuntimeError("the recorder has not committed everything")
    spool.remove()
    _check(backend.engine, run, names, values, calls)
    return result


def _log_by_client(server: ServerProcess, case: Case, calls: int, timed: bool = False) -> dict[str, Any]:
    """Seconds of a loop that logs with the Python client, of each call if ``timed``, and of the server."""
    names, values = NAMES[: case.metrics], torch.rand(POOL)
    pool: Any = values.unbind() if case.tensors else values.tolist()
    rows = [{name: pool[(call + place) % POOL] for place, name in enumerate(names)} for call in range(min(calls, POOL))]
    each: list[float] = []
    gc.collect()
    gc.freeze()
    with Runyard(f"http://127.0.0.1:{server.port}") as yard:
        run = yard.start("bench")
        clock = time.perf_counter
        serving, cpu, wall = server.cpu_seconds(), time.process_time(), clock()
        if timed:
            for step in range(calls):
                logged = rows[step % POOL]
                began = clock()
                run.log(logged, step)
                each.append(clock() - began)
        else:
            for step in range(calls):
                run.log(rows[step % POOL], step)
        run.finish(timeout=60)
        result = {"cpu": time.process_time() - cpu, "wall": clock() - wall, "each": each}
        result["server"] = server.cpu_seconds() - serving
    gc.unfreeze()
    _check(server.engine, run.id, names, values, calls)
    return result


def _check(engine: Engine, run: str, names: Sequence[str], values: torch.Tensor, calls: int) -> None:
    """Raise RuntimeError if the database does not have exactly what was logged."""
    with reading(engine) as connection:
        curves = read_curves(connection, run, points=0)
    for place, name in enumerate(names):
        expected = values.double().numpy()[(np.arange(calls) + place) % POOL]
        curve = curves[name]
        if not np.array_equal(curve.values, expected) or curve.steps.tolist() != list(range(calls)):
            raise RuntimeError(f"{name} differs from the logged values")


def _costs(backend: Backend, server: ServerProcess, trackers: dict[str, TrackerProcess]) -> list[Row]:
    cpu: dict[tuple[Case, str], list[float]] = defaultdict(list)
    receiver: dict[tuple[Case, str], list[float]] = defaultdict(list)
    missing: dict[str, list[float]] = defaultdict(list)
    for turn in range(REPEATS):
        for case in CASES:
            names = [OURS, CLIENT, *(name for name in trackers if name in TARGETS or not case.tensors)]
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                if name == OURS:
                    result, calls = _log_to_runyard(backend, case, CALLS), CALLS
                    receiver[case, name].append(1e6 * result["recorder"] / (calls * case.metrics))
                elif name == CLIENT:
                    result, calls = _log_by_client(server, case, CALLS), CALLS
                    receiver[case, name].append(1e6 * result["server"] / (calls * case.metrics))
                else:
                    calls = THEIR_CALLS[name]
                    result = trackers[name].request(case.request(calls))
                    missing[name].append(result["lost"])
                cpu[case, name].append(1e6 * result["cpu"] / (calls * case.metrics))
    rows = []
    by_case = [str(case) for case in CASES]
    for (case, name), each in cpu.items():
        rows.append(row(f"{case}, {name}: µs of CPU per scalar", each))
        if name in (OURS, CLIENT):
            process = f"{OURS}'s recorder" if name == OURS else "the client's server"
            rows.append(row(f"{case}, {process} (a separate process): µs of CPU per scalar", receiver[case, name]))
    for (case, name), each in cpu.items():
        if name != OURS:
            rows.append(row(f"{case}: {OURS} / {name}", ratios(cpu[case, OURS], each), TARGETS.get(name, "")))
    rows.sort(key=lambda each: by_case.index(each["what"].split(",")[0].split(":")[0]))
    return rows + [row(f"missing scalars, {name}", each) for name, each in missing.items() if any(each)]


def _calls(backend: Backend, server: ServerProcess, trackers: dict[str, TrackerProcess]) -> list[Row]:
    """Measure the 99th percentile of a call, in µs."""
    percentiles: dict[str, list[float]] = defaultdict(list)
    for _ in range(REPEATS):
        for case in CASES:
            tight = _log_to_runyard(backend, case, CALLS, timed=True)
            percentiles[f"{case}, tight loop, {OURS}"].append(_percentile(tight["each"]))
            client = _log_by_client(server, case, CALLS, timed=True)
            percentiles[f"{case}, tight loop, {CLIENT}"].append(_percentile(client["each"]))
        trained = _log_to_runyard(backend, CASES[-1], STEPS, timed=True, training=True)
        percentiles[f"{CASES[-1]}, between matrix products, {OURS}"].append(_percentile(trained["each"]))
        for name in TARGETS:
            each = trackers[name].request(CASES[-1].request(THEIR_CALLS[name], timed=True))["each"]
            percentiles[f"{CASES[-1]}, tight loop, {name}"].append(_percentile(each))
    return [
        row(f"{what}: 99th percentile of a call, µs", each, "<= 50" if what.endswith(OURS) else "")
        for what, each in percentiles.items()
    ]


def _percentile(seconds: list[float]) -> float:
    return 1e6 * statistics.quantiles(seconds, n=100)[-1]


def _bytes(backend: Backend) -> list[Row]:
    """Measure bytes per scalar for runs with 100 and 20,000 steps per second, for 20 s and 2 s."""
    rows = []
    for speed, points, entries in (("100", 5, 400), ("20,000", 1000, 40)):
        sent = RunEntries(*backend.claim_run(any_config()), points, metrics=4, entries=entries)
        with paused_recorder(backend):
            feed(backend, [sent])
            size: Any = backend.redis.memory_usage(broker.EVENTS, samples=0)
        wait_until_committed(backend, [sent])
        written, merged = _stored(backend.folder / f"{points}.db", sent)
        for what, each in (("in Redis, in transit", size), ("in SQLite, new", written), ("in SQLite, merged", merged)):
            rows.append(row(f"bytes per scalar at {speed} steps per second, 4 metrics, {what}", [each / sent.scalars]))
    return rows


def _stored(path: Path, sent: RunEntries) -> tuple[int, int]:
    """Bytes in SQLite of a run's entries with one commit each: as written, and after merging."""
    engine = open_database(f"sqlite:///{path}")
    migrate(engine)
    with writing(engine) as connection:
        run = insert_run(connection, any_config(), {}, None, time.time())
    empty = _used(engine)
    times = sent.times()
    for number in range(sent.entries):
        part = slice(number * sent.points, (number + 1) * sent.points)
        steps = np.arange(part.start, part.stop, dtype=np.int64)
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
