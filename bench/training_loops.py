"""Train one epoch per request and report its time: ``python -m bench.training_loops KIND CASE``.

KIND is one of:

- plain: Runyard's own loop with Lightning, every metric of every step streaming to Redis, and checkpoints
- tuned: the same, autotuned
- bare: a plain PyTorch loop on float, normalized tensors on the device, without logging or saving
- lightning: Lightning with self.log, torchmetrics, and torchvision's MNIST in a DataLoader

All have the same network, optimizer and rate. An epoch trains on all training images and validates on the others.
CASE is JSON: family, size, batch_size, images, threads, device, redis, folder, workers; optionally recipe, settings,
datasets, the folder of real datasets, and dataset, digits or mnist.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from app.contract.recipes import recipe_settings
from app.contract.settings import Settings
from app.contract.spec import RunConfig
from bench.interleave import cpu_seconds
from bench.json_process import serve
from bench.synthetic_mnist import synthetic_mnist
from worker.data.datasets import Data, load
from worker.data.inputs import Inputs
from worker.training.module import Classifier
from worker.training.tuning import requested_tuning

EVALUATION = 256


def run_config(case: dict[str, Any]) -> RunConfig:
    """Configuration of a case by its recipe; the default recipe only has here what a plain loop has, too."""
    recipe = case.get("recipe", "default")
    name = case.get("dataset", "mnist")
    settings = recipe_settings(recipe, case["family"], name)
    if recipe == "default":
        settings |= {"schedule": "constant", "epochs": 10_000, "warmup": 0.0, "clip_norm": 0.0, "crop_padding": 0}
    named = {"family": case["family"], "size": case["size"], "dataset": name, "targets": ["digit"]}
    overrides = {name: case[name] for name in ("batch_size", "precision", "seed") if name in case}
    return RunConfig.model_validate(settings | case.get("settings", {}) | named | {"recipe": recipe} | overrides)


def dataset_of(case: dict[str, Any]) -> Data:
    """The case's dataset if it names a folder of datasets, otherwise a stand-in of MNIST."""
    if "datasets" in case:
        return load(case.get("dataset", "mnist"), ["digit"], Path(case["datasets"]), lambda sentence: None)
    return synthetic_mnist(case["images"], case["images"] // 10, 100)


class Clock:
    """CPU and wall seconds of an epoch, for this process and its children, including work on the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def start(self) -> None:
        self._wait()
        self._cpu, self._wall = cpu_seconds(), time.perf_counter()

    def stop(self) -> dict[str, float]:
        self._wait()
        return {"cpu": cpu_seconds() - self._cpu, "wall": time.perf_counter() - self._wall}


def plain_loop(case: dict[str, Any], device: torch.device) -> Callable[[], float]:
    """Return a function that trains an epoch in a plain loop and returns the validation accuracy."""
    from worker.training.network import build_network

    config = run_config(case)
    data = dataset_of(case)
    inputs = Inputs.of(data, config)

    def ready(images: Tensor) -> Tensor:
        return ((images.float() / 255 - inputs.mean[0]) / inputs.std[0]).to(device)

    images, labels = ready(data.train.images), data.train.targets["digit"].to(device)
    validation, labels_validation = ready(data.validation.images), data.validation.targets["digit"].to(device)
    torch.manual_seed(config.seed)
    network = build_network(config, 0, None).to(device)
    optimizer = requested_tuning(config).make_optimizer(network, config)
    size = config.batch_size

    def epoch() -> float:
        network.train()
        order = torch.randperm(len(images)).to(device)
        for start in range(0, len(images) - size + 1, size):
            chosen = order[start : start + size]
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(network(images[chosen]), labels[chosen]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        network.eval()
        hits = torch.zeros((), dtype=torch.int64, device=device)
        with torch.no_grad():
            for batch, expected in zip(
                torch.split(validation, EVALUATION), torch.split(labels_validation, EVALUATION), strict=True
            ):
                hits += (network(batch).argmax(1) == expected).sum()
        return hits.item() / len(validation)

    return epoch


class EpochGate:
    """Pauses a training loop of a library after each epoch, until the next one is requested."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._go = threading.Semaphore(0)
        self._done = threading.Semaphore(0)
        self._accuracy = 0.0
        self.result: dict[str, Any] = {}
        self.details: dict[str, Any] = {}

    def wait(self) -> None:
        """Wait in the loop before its first epoch."""
        self._go.acquire()
        self._clock.start()

    def ended(self, accuracy: float) -> None:
        """Report an epoch from the loop and wait for the next request."""
        self.result = self._clock.stop() | {"accuracy": accuracy} | self.details
        self._done.release()
        self.wait()

    def epoch(self) -> dict[str, Any]:
        """Let the loop train one epoch and return its result."""
        self._go.release()
        self._done.acquire()
        return self.result


class EpochEnds:
    """``seconds`` from the last step of the epoch before last to the first of the last one, without pauses."""

    def __init__(self, module: Classifier) -> None:
        self.seconds = 0.0
        self._stopped_at = self._paused = 0.0
        self._step = module._micro_step
        module._micro_step = self._timed  # type: ignore[method-assign]

    def _timed(self, indices: Tensor) -> None:
        if self._paused:
            self.seconds = time.perf_counter() - self._stopped_at - self._paused
            self._paused = 0.0
        self._step(indices)
        self._stopped_at = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens within."""
        since = time.perf_counter()
        yield
        self._paused = time.perf_counter() - since


def runyard_loop(case: dict[str, Any], device: torch.device, gate: EpochGate, tuned: bool) -> None:
    """Run Runyard's loop as in a trainer process, from the network to the checkpoints."""
    from redis import Redis

    from worker.data.device_dataset import Resident
    from worker.job import Control, Job
    from worker.reporting.reporter import Reporter
    from worker.reporting.sender import Sender
    from worker.reporting.spool import Spool
    from worker.training.autotune import Autotuner
    from worker.training.checkpoint_file import Store
    from worker.training.checkpointing import Checkpointer
    from worker.training.fit import lightning_trainer
    from worker.training.network import build_network
    from worker.training.system_metrics import monitored

    config = run_config(case)
    settings = Settings(data_dir=Path(case["folder"]), redis_url=case["redis"])
    data = dataset_of(case)
    inputs = Inputs.of(data, config)
    torch.manual_seed(config.seed)
    network = build_network(config, 0, None).to(device)
    tuning = requested_tuning(config)
    if tuned:
        # As many epochs as a user would train; the benchmark itself trains until its input ends.
        trials = Autotuner(network, data, inputs, config.model_copy(update={"epochs": 10}), device)
        choice = trials.choose(settings.tunings, lambda share: None)
        tuning = choice.tuning
        gate.details = {"tuning": str(tuning), "tried": choice.seconds}
    resident = Resident(data, device, inputs=inputs, memory_format=tuning.memory_format)
    reporter = Reporter(Sender(Redis.from_url(case["redis"]), Spool(settings.spool, case["run"], case["fence"])))
    job = Job(case["run"], case["fence"], 1, config, None, settings, str(device), case["threads"])
    control = Control([0, 0])

    def must_stop() -> bool:
        control.beat()
        return control.command != 0

    module = Classifier(network, resident, config, reporter, must_stop, tuning)
    checkpointer = Checkpointer(job, Store(settings.artifacts), module, reporter)
    module.after_step = checkpointer.save_if_due

    ends = EpochEnds(module)

    def after_validation(improved: bool) -> None:
        checkpointer.after_validation(improved)
        gate.details |= {"end": ends.seconds}
        with ends.paused():
            gate.ended(module.best.accuracy)

    module.after_validation = after_validation
    module.on_train_start = gate.wait  # type: ignore[method-assign]
    with monitored(module, reporter, device):
        lightning_trainer(device).fit(module)


def lightning(case: dict[str, Any], device: torch.device, gate: EpochGate) -> None:
    """Run the loop of Lightning's and torchvision's tutorials."""
    import lightning.pytorch as pl
    from torch.utils.data import DataLoader, Subset
    from torchmetrics.classification import MulticlassAccuracy
    from torchvision.datasets import MNIST
    from torchvision.transforms import Compose, Normalize, ToTensor

    from worker.training.network import build_network

    warnings.filterwarnings("ignore")
    config = run_config(case)
    mean, std = Inputs.of(synthetic_mnist(10, 10, 10), config).mean, Inputs.of(synthetic_mnist(10, 10, 10), config).std
    whole = MNIST(case["mnist"], train=True, transform=Compose([ToTensor(), Normalize(mean, std)]))
    held_out = MNIST(case["mnist"], train=False, transform=Compose([ToTensor(), Normalize(mean, std)]))

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = build_network(config, 0, None)
            self.train_accuracy = MulticlassAccuracy(10, average="micro")
            self.accuracy = MulticlassAccuracy(10, average="micro")

        def training_step(self, batch: Any, _: int) -> Tensor:
            images, labels = batch
            logits = self.network(images)
            loss = F.cross_entropy(logits, labels)
            self.train_accuracy(logits, labels)
            self.log("train/loss", loss)
            self.log("train/acc", self.train_accuracy)
            return loss

        def validation_step(self, batch: Any, _: int) -> None:
            images, labels = batch
            logits = self.network(images)
            self.accuracy(logits, labels)
            self.log("val/loss", F.cross_entropy(logits, labels))
            self.log("val/acc", self.accuracy)

        def on_train_start(self) -> None:
            gate.wait()

        def on_train_epoch_end(self) -> None:
            gate.ended(float(self.trainer.callback_metrics["val/acc"]))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
            return kind(self.parameters(), config.lr, weight_decay=config.weight_decay)

    workers = case["workers"]
    train = DataLoader(whole, config.batch_size, shuffle=True, num_workers=workers, drop_last=True)
    validation = DataLoader(Subset(held_out, range(case["images"] // 10)), config.batch_size, num_workers=workers)
    trainer = pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        max_epochs=10_000,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        logger=pl.loggers.CSVLogger(case["folder"]),
    )
    trainer.fit(Module(), train, validation)


def main(kind: str, case: dict[str, Any]) -> None:
    """Train an epoch per request; the answer has its seconds and the validation accuracy."""
    torch.set_num_threads(case["threads"])
    device = torch.device(case.get("device", "cpu"))
    clock = Clock(device)
    if kind == "bare":
        train_epoch = plain_loop(case, device)

        def timed() -> dict[str, float]:
            clock.start()
            accuracy = train_epoch()
            return clock.stop() | {"accuracy": accuracy}

        serve(lambda _: timed())
        return
    gate = EpochGate(clock)
    threading.Thread(target=_until_no_more, args=(gate,), daemon=True).start()
    if kind == "lightning":
        lightning(case, device, gate)
    else:
        runyard_loop(case, device, gate, tuned=kind == "tuned")


def _until_no_more(gate: EpochGate) -> None:
    serve(lambda _: gate.epoch())
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
