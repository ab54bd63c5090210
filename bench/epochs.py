"""A run of many short epochs with validation after each, compared with a plain loop that validates as often.

simple_dense_net/small on digits: 19 steps of 64 images, then 180 validation images. Ours also streams every metric of
every step and writes checkpoints. Both train in turn, ten epochs at a time.
"""

from __future__ import annotations

import json
import statistics
import sys
from contextlib import ExitStack, closing
from typing import Any

from bench.backend import Backend
from bench.interleave import REPEATS
from bench.json_process import JsonProcess
from bench.report import Row, ratios, row, save
from bench.training_loops import run_config
from worker.process import SETTINGS

EPOCHS = 150
BLOCK = 10
CASE: dict[str, Any] = {
    "family": "simple_dense_net",
    "size": "small",
    "dataset": "digits",
    "batch_size": 64,
    "threads": 1,
    "settings": {"lr": 1e-3},
}
KINDS = ("plain", "bare")


def main() -> None:
    """Train both, block by block in turn, so that both meet the same noise."""
    wall: dict[str, list[float]] = {kind: [] for kind in KINDS}
    cpu: dict[str, list[float]] = {kind: [] for kind in KINDS}
    ends: list[float] = []
    with Backend() as backend:
        addresses = {"redis": backend.settings.redis, "folder": str(backend.folder)}
        addresses |= {"datasets": str(backend.settings.datasets)}
        for _ in range(REPEATS):
            epochs = _pair(backend, CASE | addresses)
            for kind in KINDS:
                wall[kind].append(sum(epoch["wall"] for epoch in epochs[kind]))
                cpu[kind].append(sum(epoch["cpu"] for epoch in epochs[kind]))
            ends.append(1e3 * statistics.median(epoch["end"] for epoch in epochs["plain"]))
    what = f"{EPOCHS} epochs of simple_dense_net small on digits, batch 64"
    rows: list[Row] = [
        row(f"{what}: run / bare loop with validation, wall", ratios(wall["plain"], wall["bare"]), "<= 1.25"),
        row(f"{what}: run / bare loop with validation, CPU", ratios(cpu["plain"], cpu["bare"])),
        row(f"{what}: ms from the last step of an epoch to the first of the next", ends, "<= 4"),
        row(f"{what}: ms per epoch", [1e3 * each / EPOCHS for each in wall["plain"]]),
        row(f"{what}: ms per epoch of the bare loop", [1e3 * each / EPOCHS for each in wall["bare"]]),
    ]
    save("epochs", rows, threads=1)


def _pair(backend: Backend, case: dict[str, Any]) -> dict[str, list[dict[str, float]]]:
    """Every epoch of a run and of a bare loop but the first BLOCK of each, which warm up."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with ExitStack() as stack:
        processes = {kind: stack.enter_context(closing(_process(backend, kind, case))) for kind in KINDS}
        for block in range(1 + EPOCHS // BLOCK):
            for kind in KINDS if block % 2 else reversed(KINDS):
                epochs = [processes[kind].request("epoch") for _ in range(BLOCK)]
                found[kind] += epochs if block else []
    return found


def _process(backend: Backend, kind: str, case: dict[str, Any]) -> JsonProcess:
    run, fence = backend.claim_run(run_config(case))
    case_json = json.dumps(case | {"run": run, "fence": fence})
    environment = SETTINGS if kind == "plain" else None
    return JsonProcess(sys.executable, "-m", "bench.training_loops", kind, case_json, environment=environment)
