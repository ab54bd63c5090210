"""Images per second in validation and test, by images per forward pass, compared with Lightning and torchmetrics.

Runyard uses the steps of its own module, which reads metrics back once at the end; the alternative follows the
libraries' tutorials.
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

from bench.interleave import interleaved
from bench.report import Row, ratios, row, save
from bench.synthetic_mnist import synthetic_mnist
from bench.training_loops import run_config
from worker.data.device_dataset import Resident
from worker.data.inputs import Inputs
from worker.process import SETTINGS
from worker.reporting.reporter import Reporter
from worker.training.module import EVALUATION_IMAGES, Classifier
from worker.training.network import build_network

IMAGES = 10_000
SIZES = (128, 256, 1024, 4096, IMAGES)
NETWORKS = (("simple_dense_net", "small"), ("simple_cnn", "base"), ("convnext_v2", "small"))


class FigureReporter(Reporter):
    """Stores the metrics of an evaluation instead of sending them."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}

    def points(self, names: Any, step: int, values: Any) -> None:
        self.figures = dict(zip(names, map(float, values), strict=True))

    def log(self, text: str, level: str = "info") -> None:
        del text, level


def main() -> None:
    """Measure in a process with the environment of a trainer, for both candidates."""
    subprocess.run([sys.executable, "-m", "bench.evaluation"], env=os.environ | SETTINGS, check=True)


def measure() -> None:
    """Measure every network at every size, alternating with Lightning."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    data = synthetic_mnist(128, 10, IMAGES)
    rows: list[Row] = []
    for family, size in NETWORKS:
        config = run_config({"family": family, "size": size, "batch_size": 128})
        inputs = Inputs.of(data, config)
        torch.manual_seed(1)
        network = build_network(config, 0, None).eval()
        reporter = FigureReporter()
        module = Classifier(
            network, Resident(data, torch.device("cpu"), inputs=inputs), config, reporter, lambda: False
        )
        lightning_figures = _lightning(network, module.data, module.data.targets("test", slice(None))["digit"])
        work: dict[str, Callable[[], object]] = {str(each): _runyard(module, each) for each in SIZES}
        times = interleaved(work | {"usual": lightning_figures})
        _check_equal(reporter.figures, lightning_figures())
        for each in SIZES:
            speed = [IMAGES / 1e3 / taken for taken in times[str(each)].cpu]
            rows.append(row(f"{family} {size}: {each} images per pass, 1,000 images/s", speed))
        share = ratios(times[str(EVALUATION_IMAGES["cpu"])].cpu, times["usual"].cpu)
        rows.append(row(f"{family} {size}: test / Lightning + torchmetrics, CPU", share, "<= 1"))
    save("evaluation", rows, threads=1, images_a_pass=EVALUATION_IMAGES["cpu"])


def _runyard(module: Classifier, size: int) -> Callable[[], None]:
    def evaluate() -> None:
        with torch.inference_mode():
            module.evaluation_images = size
            module.on_test_epoch_start()
            for place, rows in enumerate(module.test_dataloader()):
                module.test_step(rows, place)
            module.on_test_epoch_end()

    return evaluate


def _lightning(network: torch.nn.Module, data: Resident, labels: Tensor) -> Callable[[], dict[str, float]]:
    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.accuracy = MulticlassAccuracy(10, average="micro")

        def test_step(self, batch: Any, _: int) -> None:
            images, targets = batch
            logits = self.network(images)
            self.accuracy(logits, targets)
            self.log("test/loss", F.cross_entropy(logits, targets))
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


def _check_equal(runyard: dict[str, float], lightning: dict[str, float]) -> None:
    for name, value in lightning.items():
        if abs(runyard[name] - value) > 1e-3:
            raise RuntimeError(f"{name}: {runyard[name]} with Runyard, {value} with Lightning")


if __name__ == "__main__":
    measure()
