"""Many viewers: the age of a point when it reaches up to 200 viewers, and what 20 of them cost the training.

One run emits 1,000 scalars per second through the trainer's own Reporter and a real Redis, recorder and server. Every
viewer is an event stream over TCP and must receive every point once and in order. All processes run on this machine, so
one clock is enough to compute ages. Then real training, alternating between no viewer and 20.
"""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

from bench.event_clients import EventClients
from bench.fake_worker import METRICS, FakeWorker
from bench.instance import Instance, cpu_seconds_of
from bench.report import Row, ratios, row, save

REPEATS = 5
CROWDS = (1, 50, 200)
SCALARS_PER_SECOND = 1000
EMITTED_SECONDS = 5.0

WATCHERS = 20
WINDOWS = 15
WINDOW_SECONDS = 1.5
SETTLING_SECONDS = 0.4
WARM_STEPS = 500
TRAINED = {"family": "simple_mlp", "size": "base", "epochs": 10_000, "early_stopping": 0}


def main() -> None:
    """Measure latency and the cost of training."""
    save("viewers", [*_latency_rows(), *_training(threads=1), *_training(threads=2)])


# Latency ---------------------------------------------------------------------------------------------------


def _latency_rows() -> list[Row]:
    found: dict[int, list[dict[str, float]]] = {viewers: [] for viewers in CROWDS}
    with Instance(RUNYARD_DEVICE="cpu") as instance, EventClients(instance.address) as clients:
        worker = FakeWorker(instance.redis_url, instance.data / "spool")
        for turn in range(REPEATS):
            for viewers in CROWDS[turn % len(CROWDS) :] + CROWDS[: turn % len(CROWDS)]:
                found[viewers].append(_watch_run(instance, worker, clients, viewers))
        worker.close()
    rows = []
    for viewers, results in found.items():
        label = f"{viewers} viewer{'s' * (viewers > 1)}"
        for share in ("p50", "p95", "p99"):
            target = "<= 300" if (viewers, share) == (CROWDS[-1], "p99") else ""
            rows.append(row(f"log call -> {label}, {share} of all, ms", [s[share] for s in results], target))
        rows.append(
            row(f"points received once and in order by {label}, fraction", [s["share"] for s in results], ">= 1", "min")
        )
        rows.append(row(f"server with {label}, % of a core", [s["server"] for s in results]))
    return rows


def _watch_run(instance: Instance, worker: FakeWorker, clients: EventClients, viewers: int) -> dict[str, float]:
    """Emit one run. Viewers join while it runs and receive everything from its start."""
    run = instance.call("/runs", {"family": "simple_mlp", "device": "cuda"})["id"]
    fake_run = worker.claim(run)
    instance.wait(run, "running")
    rate = SCALARS_PER_SECOND / len(METRICS)
    steps = round(rate * EMITTED_SECONDS)
    emitting = threading.Thread(target=fake_run.emit, args=(steps, rate))
    emitting.start()
    clients.request("join", run=run, viewers=viewers, after="0")
    server = instance.part("server")
    cpu, since = cpu_seconds_of(server), time.time()
    emitting.join()
    used = (cpu_seconds_of(server) - cpu) / (time.time() - since)
    fake_run.finish()
    results = clients.request("until_end", steps=steps, metrics=list(METRICS), since=since)
    return results | {"share": results["points"] / (viewers * steps * len(METRICS)), "server": 100 * used}


# Cost of training -------------------------------------------------------------------------------------------


@dataclass
class _Window:
    """An interval of training, and the CPU seconds that each process used in it."""

    begin: float
    end: float
    cpu: dict[str, float]


def _training(threads: int) -> list[Row]:
    # A worker divides the cores equally among its slots.
    slots = max(1, (psutil.cpu_count() or 1) // threads)
    windows: dict[int, list[_Window]] = {0: [], WATCHERS: []}
    with (
        Instance(RUNYARD_DEVICE="cpu", RUNYARD_SLOTS=str(slots)) as instance,
        EventClients(instance.address) as clients,
    ):
        run = instance.call("/runs", TRAINED)["id"]
        instance.wait(run, "running")
        while instance.call(f"/runs/{run}")["progress"].get("step", 0) < WARM_STEPS:
            time.sleep(0.2)
        processes = {
            "trainer": instance.trainer(),
            "server": instance.part("server"),
            "viewers": clients.process,
        }
        for turn in range(2 * WINDOWS + 1):
            viewers = WATCHERS if turn % 2 else 0
            with _joined(instance, clients, run, viewers):
                time.sleep(SETTLING_SECONDS)
                windows[viewers].append(_window(processes))
        instance.call(f"/runs/{run}/cancel", {})
        instance.wait(run, "cancelled")
        curve = instance.call(f"/runs/{run}/metrics?names=train/loss&points=0")["train/loss"]
    return _training_rows(threads, curve, windows)


def _page_commit(instance: Instance, run: str) -> str:
    """The commit up to which a run's page has data; its stream requests everything after it."""
    with urllib.request.urlopen(f"{instance.address}/runs/{run}") as page:
        found = re.search(r'data-after="([^"]+)"', page.read().decode())
    if found is None:
        raise RuntimeError("the run's page has no commit")
    return found[1]


@contextmanager
def _joined(instance: Instance, clients: EventClients, run: str, viewers: int) -> Iterator[None]:
    if not viewers:
        yield
        return
    clients.request("join", run=run, viewers=viewers, after=_page_commit(instance, run))
    yield
    if not clients.request("leave")["points"]:
        raise RuntimeError("the viewers received nothing")


def _window(processes: dict[str, psutil.Process]) -> _Window:
    begin, before = time.time(), {name: cpu_seconds_of(each) for name, each in processes.items()}
    time.sleep(WINDOW_SECONDS)
    end, after = time.time(), {name: cpu_seconds_of(each) for name, each in processes.items()}
    return _Window(begin, end, {name: after[name] - before[name] for name in processes})


def _training_rows(threads: int, curve: dict[str, Any], windows: dict[int, list[_Window]]) -> list[Row]:
    steps, times = np.array(curve["step"]), np.array(curve["time"])
    if len(np.unique(steps)) != len(steps):
        raise RuntimeError("a step was recorded twice")
    # Steps are reported a few at a time: only the last of them has the right time.
    last = np.append(np.diff(times) > 0.002, True)

    def steps_in(window: _Window) -> float:
        begin, end = np.interp([window.begin, window.end], times[last], steps[last])
        return float(end - begin)

    wall = {n: [1000 * (each.end - each.begin) / steps_in(each) for each in results] for n, results in windows.items()}
    cpu = {n: [1000 * each.cpu["trainer"] / steps_in(each) for each in results] for n, results in windows.items()}
    case = f"trainer with {threads} thread{'s' * (threads > 1)}"

    def share(name: str, viewers: int) -> list[float]:
        return [100 * each.cpu[name] / (each.end - each.begin) for each in windows[viewers]]

    rows = []
    for what, results in (("CPU", cpu), ("wall time", wall)):
        none = results[0]
        found = ratios(results[WATCHERS], _expected(none, none[1:]))
        noise = ratios(none[1:-1], _expected(none, none[2:]))
        rows.append(row(f"{case}: {what} per step, {WATCHERS} viewers / none", found, "<= 1.01"))
        rows.append(row(f"{case}: {what} per step, none / none (the noise)", noise))
    return [
        *rows,
        row(f"{case}: CPU per step with none, ms", cpu[0]),
        row(f"{case}: wall time per step with none, ms", wall[0]),
        row(f"{case}: server with none, % of a core", share("server", 0)),
        row(f"{case}: server with {WATCHERS} viewers, % of a core", share("server", WATCHERS)),
        row(f"{case}: the {WATCHERS} viewers themselves, % of a core", share("viewers", WATCHERS)),
    ]


def _expected(before: list[float], after: list[float]) -> list[float]:
    """Mean of neighboring windows, so that slow changes of the machine cancel out."""
    return [(one + other) / 2 for one, other in zip(before, after, strict=False)]


if __name__ == "__main__":
    main()
