"""An epoch with images streamed from disk compared with the same epoch with all images in memory, on a CPU.

Both train the same module on the same mapped file of 64×64 images, RGB. Then batches are read from a file that is not
in the system's cache, streamed and by plain indexing of the mapped file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

import models
from app.contract.dataset import Dataset, Target
from bench.evaluation import FigureReporter
from bench.interleave import REPEATS, interleaved
from bench.report import Row, ratios, row, save
from bench.training_loops import run_config
from worker.data.datasets import PARTS, Data, Split
from worker.data.device_dataset import Resident, order
from worker.data.inputs import Inputs
from worker.data.mapped_tensors import map_tensors
from worker.data.streamed_dataset import Streamed
from worker.process import SETTINGS
from worker.training.module import Classifier

CPU = torch.device("cpu")
COUNTS = {"train": 20_000, "validation": 2_000, "test": 100}
SIDE = 64
CLASSES = 10
BATCH = 128
NETWORKS = (("simple_cnn", "tiny"), ("simple_mlp", "tiny"))
COLD_BATCHES = 16
NOISE = Dataset(
    name="noise",
    title="Noise",
    channels=3,
    side=SIDE,
    targets=(Target("class", CLASSES, 1.0, tuple(map(str, range(CLASSES)))),),
    train=COUNTS["train"],
    validation=COUNTS["validation"],
    test=COUNTS["test"],
    source="drawn at random",
    offline=True,
    mean=(0.5,) * 3,
    std=(0.29,) * 3,
    megabytes=0.0,
)


class SilentReporter(FigureReporter):
    """Reports nothing, so that only training and its data are measured."""

    def event(self, kind: str, said: object) -> None:
        del kind, said


def main() -> None:
    """Measure in a process with the environment of a trainer."""
    subprocess.run([sys.executable, "-m", "bench.streaming"], env=os.environ | SETTINGS, check=True)


def measure() -> None:
    """Measure every network, and reading from a cold file."""
    torch.set_num_threads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.safetensors"
        _write(path)
        rows += _cold(path) if hasattr(os, "posix_fadvise") else []
        for family, size in NETWORKS:
            rows += _epochs(path, family, size)
    save("streaming", rows, threads=1, images=COUNTS["train"], side=SIDE, batch_size=BATCH)


def _write(path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for part, count in COUNTS.items():
        tensors[f"{part}.images"] = torch.randint(256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
        tensors[f"{part}.class"] = torch.randint(CLASSES, (count,), generator=generator)
    save_file(tensors, path)


def _mapped(path: Path) -> Data:
    shapes: dict[str, tuple[int, ...]] = {}
    for part, count in COUNTS.items():
        shapes |= {f"{part}.images": (count, 3, SIDE, SIDE), f"{part}.class": (count,)}
    tensors = map_tensors(path, shapes)
    train, validation, test = (Split(tensors[f"{part}.images"], {"class": tensors[f"{part}.class"]}) for part in PARTS)
    return Data(NOISE, train, validation, test)


def _epochs(path: Path, family: str, size: str) -> list[Row]:
    config = run_config({"family": family, "size": size, "batch_size": BATCH, "dataset": "cifar10"})
    config = config.model_copy(update={"targets": ["class"]})
    # Each has a mapping of its own: the one that streams announces random access.
    held = [Resident(_mapped(path), CPU), Streamed(_mapped(path), CPU)]
    modules = []
    for images in held:
        torch.manual_seed(1)
        network = models.build(family, size, models.Shape(3, SIDE, {"class": CLASSES}, 0), {})
        modules.append(Classifier(network, images, config, SilentReporter(), lambda: False))
    times = interleaved({name: _epoch(module) for name, module in zip(("resident", "streamed"), modules, strict=True)})
    for images in held:
        images.close()
    one, other = (module.network.state_dict() for module in modules)
    if not all(torch.equal(value, other[name]) for name, value in one.items()):
        raise RuntimeError(f"{family} {size}: other weights when streamed")
    streamed, resident = times["streamed"], times["resident"]
    name = f"{family} {size}"
    return [
        row(f"{name}: epoch in memory, CPU s", resident.cpu),
        row(f"{name}: streamed / in memory, CPU", ratios(streamed.cpu, resident.cpu), "<= 1.15"),
        row(f"{name}: streamed / in memory, wall", ratios(streamed.wall, resident.wall), "<= 1.15"),
    ]


def _epoch(module: Classifier) -> Callable[[], None]:
    def train() -> None:
        torch.manual_seed(module.position.epoch)  # dropout draws from one generator for both
        module.position.done = 0
        for block in module.train_dataloader():
            module.training_step(block, 0)
        module._validate()
        module.position.epoch += 1

    return train


def _cold(path: Path) -> list[Row]:
    """Images per second, read in random order from a file of which nothing is in the system's cache."""
    speeds: dict[str, list[float]] = {"streamed": [], "indexed": []}
    for turn in range(REPEATS):
        for name, values in speeds.items():
            values.append(_cold_speed(path, turn, streamed=name == "streamed"))
    return [row(f"not in the cache: {name}, images/s", values) for name, values in speeds.items()]


def _cold_speed(path: Path, turn: int, streamed: bool) -> float:
    data = _uncached(path)
    batches = order(turn, 0, COUNTS["train"], BATCH, CPU)[:COLD_BATCHES]
    began = time.perf_counter()
    if streamed:
        with Streamed(data, CPU, inputs=Inputs.of(data)) as images:
            for indices in images.ahead("train", batches):
                images.images("train", indices)
    else:
        for indices in batches:
            data.train.images.index_select(0, indices)
    return COLD_BATCHES * BATCH / (time.perf_counter() - began)


def _uncached(path: Path) -> Data:
    """The mapped file, after the system was told to drop it from its cache; nothing may have it mapped before."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return _mapped(path)


if __name__ == "__main__":
    measure()
