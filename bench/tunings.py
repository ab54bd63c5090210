"""A training step's time and peak memory by precision, memory layout and compilation.

Each tuning is one process, so that compiled code and the memory of one does not disturb the next.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F

from bench.report import Row, row
from bench.synthetic_mnist import synthetic_mnist
from bench.training_loops import run_config
from worker.data.device_dataset import Resident
from worker.data.inputs import Inputs
from worker.training.network import build_network
from worker.training.tuning import Tuning

NETWORKS = (("simple_cnn", "base"), ("vit", "small"), ("convnext_v2", "base"), ("efficientnet", "small"))
WARMUPS = 5
STEPS = 50
MEGABYTE = 1e6


def tunings(device: str) -> list[Tuning]:
    """The tunings to compare, the plain one first; compiled ones only on a GPU, where they are worth a try."""
    plain = [Tuning(), Tuning(channels_last=True), Tuning("bf16"), Tuning("bf16", channels_last=True)]
    return plain + ([Tuning("bf16", compile="on"), Tuning("bf16", compile="graphs")] if device == "cuda" else [])


def rows(device: str, time_left: Callable[[], float], seconds_for_one: float = 60.0, steps: int = STEPS) -> list[Row]:
    """A row of milliseconds and one of megabytes for each network and tuning, as far as the time allows."""
    found: list[Row] = []
    for family, size in NETWORKS:
        for tuning in tunings(device):
            if time_left() < seconds_for_one:
                return found
            case = {"family": family, "size": size, "device": device, "steps": steps, "tuning": asdict(tuning)}
            command = [sys.executable, "-m", "bench.tunings", json.dumps(case)]
            try:
                said = subprocess.run(command, capture_output=True, text=True, timeout=time_left())
            except subprocess.TimeoutExpired:
                print(f"  {family} {size}, {tuning}: no time left", flush=True)
                return found  # what was measured before is still saved
            what = f"{family} {size}, batch 128, {tuning}"
            if said.returncode:
                print(f"  {what} failed: {said.stderr.strip().splitlines()[-1:]}", flush=True)
                continue
            result = json.loads(said.stdout.splitlines()[-1])
            print(f"  {what}: {statistics.median(result['ms']):.3g} ms", flush=True)
            found.append(row(f"{what}: ms per step", result["ms"], note=f"first step {result['first']:.1f} s"))
            found.append(row(f"{what}: peak memory, MB", [result["megabytes"]]))
    return found


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of each step, megabytes at the peak, and seconds of the first step, which compiles."""
    device, tuning = torch.device(case["device"]), Tuning(**case["tuning"])
    config = run_config({"family": case["family"], "size": case["size"]})
    data = synthetic_mnist(1280, 10, 10)
    resident = Resident(data, device, inputs=Inputs.of(data, config), memory_format=tuning.memory_format)
    torch.manual_seed(1)
    network = build_network(config, 0, None).to(device).train()
    tuning.place(network)
    optimizer, forward = tuning.make_optimizer(network, config), tuning.forward(network)

    def step(number: int) -> float:
        started = time.perf_counter()
        start = number * config.batch_size % 1280
        images, targets = resident.batch("train", torch.arange(start, start + config.batch_size, device=device))
        optimizer.zero_grad(set_to_none=True)
        with tuning.autocast(device):
            output = forward(images)
        logits = output if isinstance(output, torch.Tensor) else output["digit"]
        F.cross_entropy(logits.float(), targets["digit"]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return 1e3 * (time.perf_counter() - started)

    first = step(0) / 1e3
    for number in range(1, WARMUPS):
        step(number)
    milliseconds = [step(number) for number in range(WARMUPS, WARMUPS + case["steps"])]
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    else:
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"ms": milliseconds, "megabytes": peak / MEGABYTE, "first": first}


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
