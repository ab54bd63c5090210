"""Training time to 99% validation accuracy, on a stand-in of MNIST's size.

Each attempt is a separate process (``bench/training_loops.py``). Its startup time is not counted, and neither are the
autotuning trials, which are reported separately.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from bench.backend import Backend
from bench.interleave import REPEATS
from bench.json_process import JsonProcess
from bench.report import Row, ratios, row, save
from bench.training_loops import run_config
from worker.process import SETTINGS

TARGET_ACCURACY = 0.99
MAX_EPOCHS = 15
IMAGES = 55_000
# Two runs that a user would launch, and a loop that a user would write.
CANDIDATES: dict[str, dict[str, Any]] = {
    "recipe fast": {"kind": "tuned", "recipe": "fast"},
    "recipe default": {"kind": "tuned", "recipe": "default"},
    "plain loop, Adam 1e-3": {"kind": "bare", "recipe": "default"},
}


def main(device: str = "cpu", name: str = "accuracy", family: str = "simple_cnn", size: str = "small") -> None:
    """Run every candidate with every seed, in turn."""
    attempts: dict[str, list[dict[str, float]]] = {title: [] for title in CANDIDATES}
    with Backend() as backend:
        case = {
            "family": family,
            "size": size,
            "images": IMAGES,
            "threads": 1,
            "device": device,
            "redis": backend.settings.redis,
            "folder": str(backend.folder),
        }
        for seed in range(1, REPEATS + 1):
            for title, overrides in CANDIDATES.items():
                attempts[title].append(_train_to_target(backend, case | overrides | {"seed": seed}))
    what = f"{family} {size} to {TARGET_ACCURACY:.0%}"
    rows: list[Row] = []
    for title, results in attempts.items():
        rows.append(row(f"{what}, {title}: training time, s", [result["wall"] for result in results]))
        rows.append(row(f"{what}, {title}: epochs", [result["epochs"] for result in results]))
    fast, plain = ([result["cpu"] for result in attempts[title]] for title in ("recipe fast", "plain loop, Adam 1e-3"))
    rows.append(row(f"{what}: recipe fast / plain loop, CPU", ratios(fast, plain), "<= 1"))
    save(name, rows, device=device, threads=1, seeds=REPEATS)


def _train_to_target(backend: Backend, case: dict[str, Any]) -> dict[str, float]:
    """CPU and wall seconds and epochs to the target accuracy. Raises RuntimeError if it is not reached."""
    run, fence = backend.claim_run(run_config(case))
    case_json = json.dumps(case | {"run": run, "fence": fence})
    environment = SETTINGS if case["kind"] in ("plain", "tuned") else None
    process = JsonProcess(
        sys.executable, "-m", "bench.training_loops", case["kind"], case_json, environment=environment
    )
    total = {"cpu": 0.0, "wall": 0.0, "epochs": 0.0}
    try:
        while total["epochs"] < MAX_EPOCHS:
            epoch = process.request("epoch")
            total = {
                "cpu": total["cpu"] + epoch["cpu"],
                "wall": total["wall"] + epoch["wall"],
                "epochs": total["epochs"] + 1,
            }
            if epoch["accuracy"] >= TARGET_ACCURACY:
                return total
    finally:
        process.close()
    raise RuntimeError(f"{case} did not reach {TARGET_ACCURACY:.0%} in {MAX_EPOCHS} epochs")
