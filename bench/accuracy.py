"""Training time to validation accuracies: recipe `fast` compared with a plain PyTorch loop with Adam.

On real MNIST if its files are in the datasets folder, with every family; otherwise on a stand-in of its size, with
simple_cnn alone. Each attempt is a separate process (``bench/training_loops.py``), and both candidates train with one
thread in turn. Startup is not counted, and neither are the autotuning trials. Attempts are kept in the result: a
benchmark that was interrupted goes on where it stopped, on any processor. A pair is of one seed and one processor, and
each processor has rows of its own.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from app.contract.settings import Settings
from bench.backend import Backend
from bench.interleave import REPEATS
from bench.json_process import JsonProcess
from bench.real_data import available, provide
from bench.report import RESULTS, Row, machine, ratios, row, save
from bench.training_loops import run_config
from worker.process import SETTINGS

TARGETS = (0.98, 0.99, 0.993)
PLAIN_EPOCHS = 10
"""The plain loop gives up after this many epochs; its whole time then counts as the time to the target.

It ends earlier once it has reached what ``fast`` reached with the same seed and has trained at least as long.
"""
SECONDS_FOR_ONE = 30.0
"""Where time is limited, no attempt begins with less than this left."""
IMAGES = 55_000
FAST, PLAIN = "recipe fast", "plain loop, Adam 1e-3"
# What a user would launch, and a loop that a user would write.
CANDIDATES: dict[str, dict[str, Any]] = {
    FAST: {"kind": "tuned", "recipe": "fast"},
    PLAIN: {
        "kind": "bare",
        "recipe": "default",
        "settings": {"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0, "batch_size": 128},
    },
}
Attempt = dict[str, Any]


@dataclass(frozen=True)
class Network:
    """A family and a size, and how much less CPU time ``fast`` should take than the plain loop."""

    family: str
    size: str
    target: str = "<= 1"


NETWORKS = (
    Network("simple_dense_net", "small"),
    Network("simple_mlp", "base"),
    Network("simple_cnn", "base", "<= 0.5"),
    Network("efficientnet", "tiny"),
    Network("convnext_v2", "tiny"),
    Network("vit", "tiny"),
)
STAND_IN = (Network("simple_cnn", "small"),)


def main(
    device: str = "cpu",
    name: str = "accuracy",
    networks: tuple[Network, ...] | None = None,
    seeds: int = REPEATS,
    targets: tuple[float, ...] = TARGETS,
    time_left: Callable[[], float] = lambda: math.inf,
) -> None:
    """Run every candidate with every seed, in turn, as far as the time allows.

    BENCH_ACCURACY="vit,simple_mlp" restricts the families.
    """
    source = Settings().datasets
    real = "mnist" in available(source)
    if not real:
        print(f"no real MNIST in {source}: measured on a stand-in")
        targets = (0.99,)
    chosen = networks or (NETWORKS if real else STAND_IN)
    only = os.environ.get("BENCH_ACCURACY", "").split(",")
    chosen = tuple(network for network in chosen if any(part in network.family for part in only))
    attempts = _kept(name)
    with Backend() as backend:
        data: dict[str, Any] = {"images": IMAGES}
        if real:
            provide("mnist", source, backend.settings.datasets)
            data |= {"datasets": str(backend.settings.datasets)}
        for seed in range(1, seeds + 1):
            for network in chosen:
                if _measured_elsewhere(network, seed, real, device, attempts):
                    continue
                fast: Attempt | None = None  # comes first, and the plain loop trains until it has reached as much
                for title, overrides in CANDIDATES.items():
                    case = _case(network, device, seed, overrides)
                    key = _key(network, title, seed, real, case, machine()["processor"])
                    if key not in attempts and time_left() > SECONDS_FOR_ONE:
                        addresses = {"redis": backend.settings.redis, "folder": str(backend.folder)}
                        attempt = _attempt(backend, case | data | addresses, targets, fast)
                        attempts[key] = attempt | {"seed": seed, "processor": machine()["processor"]}
                        _save(name, attempts, real, device, targets, networks or NETWORKS + STAND_IN)
                    fast = attempts.get(key)
    _save(name, attempts, real, device, targets, networks or NETWORKS + STAND_IN, show=True)


def _measured_elsewhere(network: Network, seed: int, real: bool, device: str, attempts: dict[str, Attempt]) -> bool:
    """Whether both candidates have trained with this seed on another processor."""
    cases = {title: _case(network, device, seed, overrides) for title, overrides in CANDIDATES.items()}
    return any(
        all(_key(network, title, seed, real, case, processor) in attempts for title, case in cases.items())
        for processor in {attempt["processor"] for attempt in attempts.values()} - {machine()["processor"]}
    )


def _case(network: Network, device: str, seed: int, overrides: dict[str, Any]) -> dict[str, Any]:
    named = {"family": network.family, "size": network.size, "threads": 1, "device": device, "seed": seed}
    return named | overrides


def _key(network: Network, title: str, seed: int, real: bool, case: dict[str, Any], processor: str) -> str:
    config = run_config(case).model_dump(exclude={"seed"})
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]
    data = "mnist" if real else "the stand-in"
    return f"{network.family} {network.size} on {data}, {title}, seed {seed}, {processor}, settings {digest}"


def _attempt(backend: Backend, case: dict[str, Any], targets: tuple[float, ...], fast: Attempt | None) -> Attempt:
    """Train until the last target, or what ``fast`` reached in its time, is reached or the epochs are over."""
    config = run_config(case)
    run, fence = backend.claim_run(config)
    ours = case["kind"] == "tuned"
    command = (sys.executable, "-m", "bench.training_loops", case["kind"])
    process = JsonProcess(
        *command, json.dumps(case | {"run": run, "fence": fence}), environment=SETTINGS if ours else None
    )
    goal, least = targets[-1], 0.0
    if fast is not None:
        best, least = fast["epochs"][-1]["accuracy"], fast["epochs"][-1]["cpu"]
        goal = max((target for target in targets if target <= best), default=0.0)
    epochs: list[dict[str, float]] = []
    cpu = wall = 0.0
    try:
        for _ in range(config.epochs if ours else PLAIN_EPOCHS):
            epoch = process.request("epoch")
            cpu, wall = cpu + epoch["cpu"], wall + epoch["wall"]
            epochs.append({"cpu": round(cpu, 2), "wall": round(wall, 2), "accuracy": epoch["accuracy"]})
            if epoch["accuracy"] >= targets[-1] or (epoch["accuracy"] >= goal and cpu >= least):
                break
    finally:
        process.close()
    print(f"{case['family']} {case['size']}, {case['kind']}, seed {case['seed']}: {epochs[-1]}", flush=True)
    return {"epochs": epochs} | ({"tuning": epoch["tuning"]} if ours else {})


def _time_to(attempt: Attempt, target: float, clock: str) -> float | None:
    reached = [epoch[clock] for epoch in attempt["epochs"] if epoch["accuracy"] >= target]
    return float(reached[0]) if reached else None


def _best_by(attempt: Attempt, cpu: float) -> float:
    """The best accuracy until ``cpu`` seconds, with the epoch that had begun by then."""
    best = 0.0
    for epoch in attempt["epochs"]:
        best = max(best, epoch["accuracy"])
        if epoch["cpu"] >= cpu:
            break
    return best


def _kept(name: str) -> dict[str, Attempt]:
    """The attempts of earlier calls by key."""
    file = RESULTS / f"{name}.json"
    kept: dict[str, Attempt] = json.loads(file.read_text()).get("attempts", {}) if file.exists() else {}
    return kept


def _save(
    name: str,
    attempts: dict[str, Attempt],
    real: bool,
    device: str,
    targets: tuple[float, ...],
    networks: tuple[Network, ...],
    show: bool = False,
) -> None:
    rows = [each for network in networks for each in _rows(network, attempts, real, targets)]
    save(name, rows, show, device=device, threads=1, data="MNIST" if real else "a stand-in", attempts=attempts)


def _rows(network: Network, attempts: dict[str, Attempt], real: bool, targets: tuple[float, ...]) -> Iterator[Row]:
    prefix = f"{network.family} {network.size} on {'mnist' if real else 'the stand-in'}"
    for processor, pairs in _pairs(prefix, attempts).items():
        for each in _compared(network, pairs, targets):
            yield each | {"processor": processor}


def _compared(network: Network, pairs: list[tuple[Attempt, Attempt]], targets: tuple[float, ...]) -> Iterator[Row]:
    what = f"{network.family} {network.size}"
    ends = [fast["epochs"][-1] for fast, _ in pairs]
    ours_then = [100 * end["accuracy"] for end in ends]
    plain_then = [100 * _best_by(plain, end["cpu"]) for (_, plain), end in zip(pairs, ends, strict=True)]
    yield row(f"{what}, {FAST}: validation accuracy at the end, %", ours_then)
    yield row(f"{what}, {PLAIN}: validation accuracy by then, %", plain_then)
    ahead = [ours - plain for ours, plain in zip(ours_then, plain_then, strict=True)]
    yield row(f"{what}: {FAST} ahead of the plain loop at the end, points", ahead, ">= 0", slack=0)
    for target in targets:
        goal = f"{what} to {100 * target:g}%"
        ours = [_time_to(fast, target, "cpu") for fast, _ in pairs]
        reached = [pair for pair, time in zip(pairs, ours, strict=True) if time is not None]
        # What the plain loop managed where the recipe did not, in the same CPU time.
        beaten = sum(
            _time_to(plain, target, "cpu") is not None for fast, plain in pairs if _time_to(fast, target, "cpu") is None
        )
        if beaten:
            yield row(
                f"{goal}: seeds that only the plain loop brought there", [beaten], "<= 0", note=f"of {len(pairs)}"
            )
        if not reached:
            continue
        missed = f", reached by {len(reached)} of {len(pairs)} seeds" if len(reached) < len(pairs) else ""
        unreached = sum(_time_to(plain, target, "cpu") is None for _, plain in reached)
        gave_up = f"{unreached} of {len(reached)} ended before" if unreached else ""
        for clock in ("wall", "cpu"):
            fast = [_time_to(pair[0], target, clock) or 0.0 for pair in reached]
            plain = [_time_to(pair[1], target, clock) or pair[1]["epochs"][-1][clock] for pair in reached]
            title = "training time" if clock == "wall" else "CPU time"
            yield row(f"{goal}, {FAST}: {title}, s", fast, note=reached[0][0]["tuning"] + missed)
            yield row(f"{goal}, {PLAIN}: {title}, s", plain, note=gave_up)
            if clock == "cpu":
                yield row(f"{goal}: {FAST} / plain loop, CPU", ratios(fast, plain), network.target, note=gave_up)


def _pairs(prefix: str, attempts: dict[str, Attempt]) -> dict[str, list[tuple[Attempt, Attempt]]]:
    """Attempts of both candidates with the same seed, by processor; of several settings, the newest."""
    digests = {}
    for key in attempts:
        for title in CANDIDATES:
            if key.startswith(f"{prefix}, {title}, "):
                digests[title] = key.rsplit(" ", 1)[1]
    found: dict[str, dict[int, dict[str, Attempt]]] = defaultdict(lambda: defaultdict(dict))
    for title, digest in digests.items():
        for key, attempt in attempts.items():
            if key.startswith(f"{prefix}, {title}, ") and key.endswith(digest):
                found[attempt["processor"]][attempt["seed"]][title] = attempt
    pairs = {
        processor: [(pair[FAST], pair[PLAIN]) for _, pair in sorted(by_seed.items()) if len(pair) == len(CANDIDATES)]
        for processor, by_seed in sorted(found.items())
    }
    return {processor: several for processor, several in pairs.items() if several}
