"""Exports every size of the catalog as ONNX: seconds, and the largest difference of a probability from torch."""

from __future__ import annotations

import time

import torch

import models
from bench.report import Row, row, save
from bench.training_loops import run_config
from worker.data.inputs import Inputs
from worker.exporting.onnx_model import export_onnx
from worker.exporting.sample import PICTURES, Sample
from worker.training.network import build_network
from worker.training.predictor import Predictor

INPUTS = Inputs((0.1307,), (0.3081,))


def main() -> None:
    """Export every size untrained and with preprocessing inside, on one core."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images = torch.randint(0, 256, (PICTURES, 1, 28, 28), dtype=torch.uint8)
    rows: list[Row] = []
    for family in models.families().values():
        for size in family.sizes:
            config = run_config({"family": family.name, "size": size.name})
            predictor = Predictor(config, INPUTS, build_network(config, 0, None).eval())
            settle(predictor, Sample(images))
            began = time.perf_counter()
            content, difference = export_onnx(predictor, Sample(images), preprocessing=True)
            seconds = time.perf_counter() - began
            name = f"{family.name} {size.name}"
            rows.append(row(f"{name}: seconds", [seconds]))
            rows.append(row(f"{name}: largest difference of a probability", [difference], "<= 1e-4", "max", slack=0))
            print(f"{name}: {seconds:.1f} s, {len(content):,} bytes, difference {difference:.1e}", flush=True)
    save("exports", rows)


def settle(predictor: Predictor, sample: Sample) -> None:
    """Give a fresh network running statistics, and a last layer as large as a trained one's.

    Without them an efficientnet says the same of every image, and a comparison could not fail.
    """
    network = predictor.network
    (images,) = sample.fed(predictor, preprocessing=False)
    network.train()
    with torch.no_grad():
        for _ in range(40):
            network(images)
        [each for each in network.modules() if isinstance(each, torch.nn.Linear)][-1].weight.mul_(20)
    network.eval()
