"""An epoch with every metric of every step streaming, compared with a plain PyTorch loop and with Lightning.

Each candidate is a process that trains one epoch per request (``bench/training_loops.py``).
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from typing import Any

from bench.backend import Backend
from bench.interleave import REPEATS
from bench.json_process import JsonProcess
from bench.report import Row, ratios, row, save
from bench.synthetic_mnist import synthetic_mnist, write_idx
from bench.training_loops import run_config
from worker.process import SETTINGS

# family, size, batch, images per epoch, and the targets of our epoch relative to the bare loop and to Lightning.
CASES = (
    ("simple_dense_net", "small", 64, 25_600, "<= 1.10", "<= 0.1429"),
    ("simple_dense_net", "small", 256, 51_200, "<= 1.05", "<= 0.1"),
    ("simple_cnn", "base", 128, 6_400, "<= 1.02", "<= 0.4"),
    ("convnext_v2", "small", 128, 6_400, "<= 1.02", ""),
    ("vit", "small", 128, 3_840, "<= 1.02", ""),
    ("efficientnet", "small", 128, 6_400, "<= 1.02", ""),
)
FRAMEWORK_MICROSECONDS = "<= 60"
SECONDS_FOR_ONE = 45.0
"""Where time is limited, no case begins with less than this left."""
# One thread, so that CPU seconds do not include threads that wait for each other.
THREADS = 1


def main(device: str = "cpu", name: str = "training", time_left: Callable[[], float] = lambda: math.inf) -> None:
    """Measure all cases, or those whose indexes are in BENCH_CASES, as far as the time allows."""
    chosen = [CASES[int(place)] for place in os.environ.get("BENCH_CASES", "").split()] or CASES
    rows: list[Row] = []
    with Backend() as backend:
        for family, size, batch, images, against_bare, against_pipeline in chosen:
            if time_left() < SECONDS_FOR_ONE:
                print(f"  {family} {size}, batch {batch}: no time left", flush=True)
                continue
            case = {
                "family": family,
                "size": size,
                "batch_size": batch,
                "images": images,
                "threads": THREADS,
                "device": device,
                "redis": backend.settings.redis,
                "folder": str(backend.folder),
                "mnist": str(backend.folder / f"files-{images}"),
            }
            write_idx(synthetic_mnist(images, 0, 10_000), backend.folder / f"files-{images}")
            timings = _epochs(backend, case)
            what = f"{family} {size}, batch {batch}"
            clock = "cpu" if device == "cpu" else "wall"
            rows += _rows(what, timings, clock, images // batch, against_bare, against_pipeline)
            print(f"  {what}: done", flush=True)
    save(name, rows, threads=THREADS, device=device)


def _epochs(backend: Backend, case: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    kinds: dict[str, dict[str, Any]] = {
        "plain": {"kind": "plain"},
        "tuned": {"kind": "tuned", "precision": "auto"},
        "bare": {"kind": "bare"},
        "lightning 0": {"kind": "lightning", "workers": 0},
        "lightning 2": {"kind": "lightning", "workers": 2},
    }
    processes = {}
    for name, overrides in kinds.items():
        run, fence = backend.claim_run(run_config(case | overrides)) if name in ("plain", "tuned") else ("", 0)
        case_json = json.dumps(case | overrides | {"run": run, "fence": fence})
        # Ours have the environment that the worker gives a trainer, the others Python's default.
        environment = SETTINGS if run else None
        command = (sys.executable, "-m", "bench.training_loops", str(overrides["kind"]), case_json)
        processes[name] = JsonProcess(*command, environment=environment)
    epochs: dict[str, list[dict[str, Any]]] = {name: [] for name in kinds}
    try:
        for turn in range(-1, REPEATS):
            names = list(kinds)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                epoch = processes[name].request("epoch")
                if turn >= 0:  # the first epoch warms up
                    epochs[name].append(epoch)
    finally:
        for process in processes.values():
            process.close()
    for name, epoch in epochs.items():
        if not epoch[-1]["accuracy"] > 0.2:
            raise RuntimeError(f"{case['family']} {name} did not learn: {epoch[-1]}")
    return epochs


def _rows(
    what: str,
    timings: dict[str, list[dict[str, Any]]],
    clock: str,
    steps: int,
    against_bare: str,
    against_pipeline: str,
) -> list[Row]:
    """Rows of a case. ``clock`` is "cpu", or "wall" if another device computes; targets apply to it."""
    seconds = {name: [each[clock] for each in epoch] for name, epoch in timings.items()}
    wall = {name: [each["wall"] for each in epoch] for name, epoch in timings.items()}
    own = [1e6 * (one - other) / steps for one, other in zip(seconds["plain"], seconds["bare"], strict=True)]
    pipeline = ratios(seconds["tuned"], seconds["lightning 0"])
    rows = [
        row(f"{what}: epoch / bare loop, {clock}", ratios(seconds["plain"], seconds["bare"]), against_bare),
        row(
            f"{what}: tuned epoch / bare loop, {clock}",
            ratios(seconds["tuned"], seconds["bare"]),
            note=str(timings["tuned"][0]["tuning"]),
        ),
        row(f"{what}: tuned epoch / Lightning + torchvision, workers 0, {clock}", pipeline, against_pipeline),
        row(
            f"{what}: tuned epoch / Lightning + torchvision, workers 2, wall",
            ratios(wall["tuned"], wall["lightning 2"]),
        ),
        row(
            f"{what}: bare loop, ms per step including its share of validation",
            [1e3 * each / steps for each in seconds["bare"]],
        ),
    ]
    if what.startswith("simple_dense_net"):
        rows.append(row(f"{what}: cost of the framework, µs per step", own, FRAMEWORK_MICROSECONDS))
    return rows
