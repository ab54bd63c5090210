"""Our epoch, every metric of every step streaming, against a plain PyTorch loop and against the usual pipeline.

Each contender is a process that trains one epoch whenever it is its turn (``bench/contender.py``).
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from bench.asked import Asked
from bench.backstage import Backstage
from bench.contender import config_of
from bench.interleave import REPEATS
from bench.mnistlike import mnistlike, write_idx
from bench.record import Row, keep, ratios, row
from worker.process import SETTINGS

# family, size, batch, images of an epoch, and the two targets: of our epoch over the bare loop's, over the pipeline's.
CASES = (
    ("simple_dense_net", "small", 64, 25_600, "<= 1.10", "<= 0.1429"),
    ("simple_dense_net", "small", 256, 51_200, "<= 1.05", "<= 0.1"),
    ("simple_cnn", "base", 128, 6_400, "<= 1.02", "<= 0.4"),
    ("convnext_v2", "small", 128, 6_400, "<= 1.02", ""),
    ("vit", "small", 128, 3_840, "<= 1.02", ""),
    ("efficientnet", "small", 128, 6_400, "<= 1.02", ""),
)
FRAMEWORK_MICROSECONDS = "<= 60"
# One thread, so that CPU seconds are those of the loop and not of threads that wait for one another.
THREADS = 1


def main(device: str = "cpu", name: str = "training") -> None:
    """All cases, or those that BENCH_CASES names by their place."""
    chosen = [CASES[int(place)] for place in os.environ.get("BENCH_CASES", "").split()] or CASES
    rows: list[Row] = []
    with Backstage() as backstage:
        for family, size, batch, images, against_bare, against_pipeline in chosen:
            case = {
                "family": family,
                "size": size,
                "batch_size": batch,
                "images": images,
                "threads": THREADS,
                "device": device,
                "redis": backstage.settings.redis,
                "folder": str(backstage.folder),
                "mnist": str(backstage.folder / f"files-{images}"),
            }
            write_idx(mnistlike(images, 0, 10_000), backstage.folder / f"files-{images}")
            took = _epochs(backstage, case)
            what = f"{family} {size}, batch {batch}"
            clock = "cpu" if device == "cpu" else "wall"
            rows += _rows(what, took, clock, images // batch, against_bare, against_pipeline)
            print(f"  {what}: done", flush=True)
    keep(name, rows, threads=THREADS, device=device)


def _epochs(backstage: Backstage, case: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    kinds: dict[str, dict[str, Any]] = {
        "plain": {"kind": "plain"},
        "tuned": {"kind": "tuned", "precision": "auto"},
        "bare": {"kind": "bare"},
        "lightning 0": {"kind": "lightning", "workers": 0},
        "lightning 2": {"kind": "lightning", "workers": 2},
    }
    contenders = {}
    for name, more in kinds.items():
        run, fence = backstage.hold(config_of(case | more)) if name in ("plain", "tuned") else ("", 0)
        said = json.dumps(case | more | {"run": run, "fence": fence})
        # Ours have the process that the worker gives a trainer, the others what Python starts with.
        environment = SETTINGS if run else None
        words = (sys.executable, "-m", "bench.contender", str(more["kind"]), said)
        contenders[name] = Asked(*words, environment=environment)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in kinds}
    try:
        for turn in range(-1, REPEATS):
            names = list(kinds)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                taken = contenders[name].ask("epoch")
                if turn >= 0:  # the first epoch warms up
                    found[name].append(taken)
    finally:
        for contender in contenders.values():
            contender.close()
    for name, taken in found.items():
        if not taken[-1]["accuracy"] > 0.2:
            raise RuntimeError(f"{case['family']} {name} has learned nothing: {taken[-1]}")
    return found


def _rows(
    what: str,
    took: dict[str, list[dict[str, Any]]],
    clock: str,
    steps: int,
    against_bare: str,
    against_pipeline: str,
) -> list[Row]:
    """clock: "cpu", or "wall" where another device computes; what targets are held against."""
    seconds = {name: [each[clock] for each in taken] for name, taken in took.items()}
    wall = {name: [each["wall"] for each in taken] for name, taken in took.items()}
    own = [1e6 * (one - other) / steps for one, other in zip(seconds["plain"], seconds["bare"], strict=True)]
    pipeline = ratios(seconds["tuned"], seconds["lightning 0"])
    rows = [
        row(f"{what}: epoch / bare loop, {clock}", ratios(seconds["plain"], seconds["bare"]), against_bare),
        row(
            f"{what}: tuned epoch / bare loop, {clock}",
            ratios(seconds["tuned"], seconds["bare"]),
            note=str(took["tuned"][0]["tuning"]),
        ),
        row(f"{what}: tuned epoch / Lightning + torchvision, workers 0, {clock}", pipeline, against_pipeline),
        row(
            f"{what}: tuned epoch / Lightning + torchvision, workers 2, wall",
            ratios(wall["tuned"], wall["lightning 2"]),
        ),
        row(
            f"{what}: bare loop, ms a step with its share of validation",
            [1e3 * each / steps for each in seconds["bare"]],
        ),
    ]
    if what.startswith("simple_dense_net"):
        rows.append(row(f"{what}: cost of the framework, µs a step", own, FRAMEWORK_MICROSECONDS))
    return rows
