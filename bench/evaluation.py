"""Validation and test: images a second by the number of images in a forward pass, and against Lightning + torchmetrics.

Ours are the module's own steps, figures read back once at the end; the others are what the introductions show.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from bench.contender import config_of
from bench.interleave import interleaved
from bench.mnistlike import mnistlike
from bench.record import Row, keep, ratios, row
from worker.data.inputs import Inputs
from worker.data.resident import Resident
from worker.process import SETTINGS
from worker.reporting.reporter import Reporter
from worker.training.fit import build_network
from worker.training.module import EVALUATION_IMAGES, Classifier

IMAGES = 10_000
SIZES = (128, 256, 1024, 4096, IMAGES)
NETWORKS = (("simple_dense_net", "small"), ("simple_cnn", "base"), ("convnext_v2", "small"))


class Told(Reporter):
    """Hears the figures of an evaluation and sends them nowhere."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}

    def points(self, names: Any, step: int, values: Any) -> None:
        self.figures = dict(zip(names, map(float, values), strict=True))

    def say(self, text: str, level: str = "info") -> None:
        del text, level


def main() -> None:
    """In a process that has what the worker gives a trainer; both ways have it."""
    subprocess.run([sys.executable, "-m", "bench.evaluation"], env=os.environ | SETTINGS, check=True)


def measure() -> None:
    """Every network at every size, in turn with the usual way."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    data = mnistlike(128, 10, IMAGES)
    rows: list[Row] = []
    for family, size in NETWORKS:
        config = config_of({"family": family, "size": size, "batch_size": 128})
        inputs = Inputs.of(data, config)
        torch.manual_seed(1)
        network = build_network(config, 0, None).eval()
        told = Told()
        module = Classifier(network, Resident(data, torch.device("cpu"), inputs=inputs), config, told, lambda: False)
        usual = _usual(network, module.data, module.data.targets("test", slice(None))["digit"])
        work: dict[str, Callable[[], object]] = {str(each): _ours(module, each) for each in SIZES}
        times = interleaved(work | {"usual": usual})
        _same(told.figures, usual())
        for each in SIZES:
            speed = [IMAGES / 1e3 / taken for taken in times[str(each)].cpu]
            rows.append(row(f"{family} {size}: {each} images a pass, 1,000 images/s", speed))
        share = ratios(times[str(EVALUATION_IMAGES["cpu"])].cpu, times["usual"].cpu)
        rows.append(row(f"{family} {size}: test / Lightning + torchmetrics, CPU", share, "<= 1"))
    keep("evaluation", rows, threads=1, images_a_pass=EVALUATION_IMAGES["cpu"])


def _ours(module: Classifier, size: int) -> Callable[[], None]:
    def evaluate() -> None:
        with torch.inference_mode():
            module.evaluation_images = size
            module.on_test_epoch_start()
            for place, rows in enumerate(module.test_dataloader()):
                module.test_step(rows, place)
            module.on_test_epoch_end()

    return evaluate


def _usual(network: torch.nn.Module, data: Resident, labels: Tensor) -> Callable[[], dict[str, float]]:
    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.accuracy = MulticlassAccuracy(10, average="micro")

        def test_step(self, batch: Any, _: int) -> None:
            images, right = batch
            logits = self.network(images)
            self.accuracy(logits, right)
            self.log("test/loss", F.cross_entropy(logits, right))
            self.log("test/acc", self.accuracy)

    images, _ = data.batch("test", slice(None))
    loader = DataLoader(TensorDataset(images, labels), 128)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    module = Module()
    return lambda: dict(trainer.test(module, loader, verbose=False)[0])


def _same(ours: dict[str, float], theirs: dict[str, float]) -> None:
    for name, value in theirs.items():
        if abs(ours[name] - value) > 1e-3:
            raise RuntimeError(f"{name}: {ours[name]} here, {value} there")


if __name__ == "__main__":
    measure()
