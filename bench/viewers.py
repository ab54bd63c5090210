"""Many who watch: the age of a point when it comes to the last of 200 viewers, and what 20 of them cost the training.

One run emits 1,000 scalars a second through the trainer's own Reporter, a real Redis, recorder and server; every viewer
is an event stream over TCP, and has to be told of every point once and in order. All processes are on this machine, so
a point's age is read from one clock. Then real training, with nobody watching and with 20 viewers in turn.
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

from bench.audience import Audience
from bench.record import Row, keep, ratios, row
from bench.standin import METRICS, StandIn
from bench.yard import Yard, cpu_seconds_of

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
    """Measure both."""
    keep("viewers", [*_crowds(), *_training(threads=1), *_training(threads=2)])


# The age of a point ---------------------------------------------------------------------------------------------------


def _crowds() -> list[Row]:
    found: dict[int, list[dict[str, float]]] = {viewers: [] for viewers in CROWDS}
    with Yard(RUNYARD_DEVICE="cpu") as yard, Audience(yard.address) as audience:
        worker = StandIn(yard.redis_url, yard.data / "spool")
        for turn in range(REPEATS):
            for viewers in CROWDS[turn % len(CROWDS) :] + CROWDS[: turn % len(CROWDS)]:
                found[viewers].append(_watched(yard, worker, audience, viewers))
        worker.close()
    rows = []
    for viewers, said in found.items():
        crowd = f"{viewers} viewer{'s' * (viewers > 1)}"
        for share in ("p50", "p95", "p99"):
            target = "<= 300" if (viewers, share) == (CROWDS[-1], "p99") else ""
            rows.append(row(f"log call -> {crowd}, {share} of all, ms", [s[share] for s in said], target))
        rows.append(row(f"told once and in order to {crowd}, share", [s["share"] for s in said], ">= 1", "min"))
        rows.append(row(f"server with {crowd}, % of a core", [s["server"] for s in said]))
    return rows


def _watched(yard: Yard, worker: StandIn, audience: Audience, viewers: int) -> dict[str, float]:
    """One run from its start to its end. They come while it runs, and are told of everything from its start."""
    run = yard.call("/runs", {"family": "simple_mlp", "device": "cuda"})["id"]
    playing = worker.claim(run)
    yard.wait(run, "running")
    rate = SCALARS_PER_SECOND / len(METRICS)
    steps = round(rate * EMITTED_SECONDS)
    emitting = threading.Thread(target=playing.emit, args=(steps, rate))
    emitting.start()
    audience.ask("join", run=run, viewers=viewers, after="0")
    server = yard.part("server")
    cpu, since = cpu_seconds_of(server), time.time()
    emitting.join()
    used = (cpu_seconds_of(server) - cpu) / (time.time() - since)
    playing.finish()
    said = audience.ask("until_end", steps=steps, metrics=list(METRICS), since=since)
    return said | {"share": said["told"] / (viewers * steps * len(METRICS)), "server": 100 * used}


# What it costs the training -------------------------------------------------------------------------------------------


@dataclass
class _Window:
    """A stretch of training: when, and the CPU seconds that each process used in it."""

    begin: float
    end: float
    cpu: dict[str, float]


def _training(threads: int) -> list[Row]:
    # A worker gives each of its slots an equal share of the cores.
    slots = max(1, (psutil.cpu_count() or 1) // threads)
    windows: dict[int, list[_Window]] = {0: [], WATCHERS: []}
    with Yard(RUNYARD_DEVICE="cpu", RUNYARD_SLOTS=str(slots)) as yard, Audience(yard.address) as audience:
        run = yard.call("/runs", TRAINED)["id"]
        yard.wait(run, "running")
        while yard.call(f"/runs/{run}")["progress"].get("step", 0) < WARM_STEPS:
            time.sleep(0.2)
        processes = {
            "trainer": yard.trainer(),
            "server": yard.part("server"),
            "viewers": audience.process,
        }
        for turn in range(2 * WINDOWS + 1):
            viewers = WATCHERS if turn % 2 else 0
            with _joined(yard, audience, run, viewers):
                time.sleep(SETTLING_SECONDS)
                windows[viewers].append(_window(processes))
        yard.call(f"/runs/{run}/cancel", {})
        yard.wait(run, "cancelled")
        curve = yard.call(f"/runs/{run}/metrics?names=train/loss&points=0")["train/loss"]
    return _training_rows(threads, curve, windows)


def _shown(yard: Yard, run: str) -> str:
    """The commit that a run's page shows; what came after it is what its stream asks for."""
    with urllib.request.urlopen(f"{yard.address}/runs/{run}") as page:
        found = re.search(r'data-after="([^"]+)"', page.read().decode())
    if found is None:
        raise RuntimeError("the run's page names no commit")
    return found[1]


@contextmanager
def _joined(yard: Yard, audience: Audience, run: str, viewers: int) -> Iterator[None]:
    if not viewers:
        yield
        return
    audience.ask("join", run=run, viewers=viewers, after=_shown(yard, run))
    yield
    if not audience.ask("leave")["points"]:
        raise RuntimeError("the viewers were told nothing")


def _window(processes: dict[str, psutil.Process]) -> _Window:
    begin, before = time.time(), {name: cpu_seconds_of(each) for name, each in processes.items()}
    time.sleep(WINDOW_SECONDS)
    end, after = time.time(), {name: cpu_seconds_of(each) for name, each in processes.items()}
    return _Window(begin, end, {name: after[name] - before[name] for name in processes})


def _training_rows(threads: int, curve: dict[str, Any], windows: dict[int, list[_Window]]) -> list[Row]:
    steps, times = np.array(curve["step"]), np.array(curve["time"])
    if len(np.unique(steps)) != len(steps):
        raise RuntimeError("a step was recorded twice")
    # Steps are reported a few at a time: only the last of them was made at that time.
    last = np.append(np.diff(times) > 0.002, True)

    def made(window: _Window) -> float:
        begin, end = np.interp([window.begin, window.end], times[last], steps[last])
        return float(end - begin)

    wall = {n: [1000 * (each.end - each.begin) / made(each) for each in said] for n, said in windows.items()}
    cpu = {n: [1000 * each.cpu["trainer"] / made(each) for each in said] for n, said in windows.items()}
    case = f"trainer with {threads} thread{'s' * (threads > 1)}"

    def share(name: str, viewers: int) -> list[float]:
        return [100 * each.cpu[name] / (each.end - each.begin) for each in windows[viewers]]

    rows = []
    for what, said in (("CPU", cpu), ("wall time", wall)):
        none = said[0]
        found = ratios(said[WATCHERS], _between(none, none[1:]))
        noise = ratios(none[1:-1], _between(none, none[2:]))
        rows.append(row(f"{case}: {what} a step, {WATCHERS} viewers / none", found, "<= 1.01"))
        rows.append(row(f"{case}: {what} a step, none / none (the noise)", noise))
    return [
        *rows,
        row(f"{case}: CPU a step with none, ms", cpu[0]),
        row(f"{case}: wall time a step with none, ms", wall[0]),
        row(f"{case}: server with none, % of a core", share("server", 0)),
        row(f"{case}: server with {WATCHERS} viewers, % of a core", share("server", WATCHERS)),
        row(f"{case}: the {WATCHERS} viewers themselves, % of a core", share("viewers", WATCHERS)),
    ]


def _between(before: list[float], after: list[float]) -> list[float]:
    """What would be expected between two windows, so that a machine that grows slower is blamed on nobody."""
    return [(one + other) / 2 for one, other in zip(before, after, strict=False)]


if __name__ == "__main__":
    main()
