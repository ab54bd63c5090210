"""Seconds of training until 99 % of the validation images are right, on a stand-in of MNIST's size.

Each try is a process of its own (``bench/contender.py``); what it takes to start one is not counted, trials of the
fastest way of training are told beside it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from bench.asked import Asked
from bench.backstage import Backstage
from bench.contender import config_of
from bench.interleave import REPEATS
from bench.record import Row, keep, ratios, row
from worker.process import SETTINGS

WANTED = 0.99
MOST_EPOCHS = 15
IMAGES = 55_000
# What a user launches, and what a user writes.
TRIES: dict[str, dict[str, Any]] = {
    "recipe fast": {"kind": "tuned", "recipe": "fast"},
    "recipe default": {"kind": "tuned", "recipe": "default"},
    "plain loop, Adam 1e-3": {"kind": "bare", "recipe": "default"},
}


def main(device: str = "cpu", name: str = "accuracy", family: str = "simple_cnn", size: str = "small") -> None:
    """Every try with every seed, in turn."""
    took: dict[str, list[dict[str, float]]] = {title: [] for title in TRIES}
    with Backstage() as backstage:
        case = {
            "family": family,
            "size": size,
            "images": IMAGES,
            "threads": 1,
            "device": device,
            "redis": backstage.settings.redis,
            "folder": str(backstage.folder),
        }
        for seed in range(1, REPEATS + 1):
            for title, more in TRIES.items():
                took[title].append(_until(backstage, case | more | {"seed": seed}))
    what = f"{family} {size} to {WANTED:.0%}"
    rows: list[Row] = []
    for title, found in took.items():
        rows.append(row(f"{what}, {title}: s of training", [each["wall"] for each in found]))
        rows.append(row(f"{what}, {title}: epochs", [each["epochs"] for each in found]))
    fast, plain = ([each["cpu"] for each in took[title]] for title in ("recipe fast", "plain loop, Adam 1e-3"))
    rows.append(row(f"{what}: recipe fast / plain loop, CPU", ratios(fast, plain), "<= 1"))
    keep(name, rows, device=device, threads=1, seeds=REPEATS)


def _until(backstage: Backstage, case: dict[str, Any]) -> dict[str, float]:
    """What it takes until so many are right. Raises RuntimeError when that does not happen."""
    run, fence = backstage.hold(config_of(case))
    said = json.dumps(case | {"run": run, "fence": fence})
    environment = SETTINGS if case["kind"] in ("plain", "tuned") else None
    contender = Asked(sys.executable, "-m", "bench.contender", case["kind"], said, environment=environment)
    total = {"cpu": 0.0, "wall": 0.0, "epochs": 0.0}
    try:
        while total["epochs"] < MOST_EPOCHS:
            taken = contender.ask("epoch")
            total = {
                "cpu": total["cpu"] + taken["cpu"],
                "wall": total["wall"] + taken["wall"],
                "epochs": total["epochs"] + 1,
            }
            if taken["accuracy"] >= WANTED:
                return total
    finally:
        contender.close()
    raise RuntimeError(f"{case} is not at {WANTED:.0%} after {MOST_EPOCHS} epochs")
