"""What it costs a run to keep its predictions: whole runs with and without, in turn.

A run loads its data, trains, validates every epoch, tests, and streams every metric to Redis; with predictions, it also
writes their history and the final file. CPU seconds of the process, which stays the same for all runs of a network.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Final

from bench.backend import Backend
from bench.interleave import REPEATS, cpu_seconds
from bench.json_process import JsonProcess, serve
from bench.report import Row, ratios, row, save
from bench.training_loops import run_config
from worker.process import SETTINGS

TARGET: Final = "<= 1.03"
CASES: Final[tuple[dict[str, Any], ...]] = (
    {"family": "simple_dense_net", "size": "small", "dataset": "digits", "batch_size": 64, "epochs": 150},
    {"family": "simple_cnn", "size": "base", "dataset": "digits", "batch_size": 64, "epochs": 10},
    {"family": "simple_dense_net", "size": "small", "dataset": "mnist", "batch_size": 64, "epochs": 3},
    {"family": "simple_cnn", "size": "base", "dataset": "mnist", "batch_size": 128, "epochs": 1},
)
IMAGES: Final = (18_000, 2_000, 4_000)
"""Training, validation and test images of the stand-in of MNIST: in its proportions, so that a run takes less time."""
TURNS: Final = 2 * REPEATS


def main() -> None:
    """Train with and without, in turn."""
    rows: list[Row] = []
    with Backend() as backend:
        _prepare_mnist(backend.settings.datasets)
        for case in CASES:
            rows += _measure(backend, case)
    save("predictions", rows, threads=1)


def _measure(backend: Backend, case: dict[str, Any]) -> list[Row]:
    cpu: dict[bool, list[float]] = {True: [], False: []}
    wall: dict[bool, list[float]] = {True: [], False: []}
    addresses = {"redis": backend.settings.redis, "folder": str(backend.folder)}
    process = JsonProcess(sys.executable, "-m", "bench.predictions", "process", environment=SETTINGS)
    sizes: dict[str, int] = {}
    try:
        for turn in range(-1, TURNS):
            for keep in (True, False) if turn % 2 else (False, True):
                config = run_config(case | {"settings": {"epochs": case["epochs"], "keep_predictions": keep}})
                run, fence = backend.claim_run(config)
                found = process.request(
                    {"config": config.model_dump(mode="json"), "run": run, "fence": fence, **addresses}
                )
                if turn >= 0:
                    cpu[keep].append(found["cpu"])
                    wall[keep].append(found["wall"])
                sizes |= {"bytes": found["bytes"]} if keep else {}
    finally:
        process.close()
    what = f"{case['epochs']} epochs of {case['family']} {case['size']} on {case['dataset']}"
    return [
        row(f"{what}: with / without predictions, CPU", ratios(cpu[True], cpu[False]), TARGET),
        row(f"{what}: with / without predictions, wall", ratios(wall[True], wall[False])),
        row(f"{what}: CPU seconds of a run without", cpu[False]),
        row(f"{what}: KB of predictions", [sizes["bytes"] / 1000]),
    ]


def _prepare_mnist(folder: Path) -> None:
    """Prepare a stand-in of MNIST, as if its files had been there."""
    import torch

    from app.contract.datasets import dataset
    from bench.synthetic_mnist import synthetic_mnist
    from worker.data.dataset_readers import Labeled
    from worker.data.datasets import save_prepared

    data = synthetic_mnist(*IMAGES)
    images = torch.cat([data.train.images, data.validation.images])
    labels = torch.cat([data.train.targets["digit"], data.validation.targets["digit"]])
    training, test = Labeled(images, {"digit": labels}), Labeled(data.test.images, dict(data.test.targets))
    save_prepared(dataset("mnist"), folder, training, test)


def _answer(request: dict[str, Any]) -> dict[str, float]:
    """Train one run in this process."""
    import torch
    from redis import Redis

    from app.contract.settings import Settings
    from app.contract.spec import RunConfig
    from worker.job import Control, Job
    from worker.reporting.reporter import Reporter
    from worker.reporting.sender import Sender
    from worker.reporting.spool import Spool
    from worker.training.fit import fit

    torch.set_num_threads(1)
    settings = Settings(data_dir=Path(request["folder"]), redis_url=request["redis"])
    config = RunConfig.model_validate(request["config"])
    spool = Spool(settings.spool, request["run"], request["fence"])
    reporter = Reporter(Sender(Redis.from_url(request["redis"]), spool))
    job = Job(request["run"], request["fence"], 1, config, None, settings, "cpu", 1)
    cpu, wall = cpu_seconds(), time.perf_counter()
    result = fit(job, reporter, Control([0, 0]))
    found = {"cpu": cpu_seconds() - cpu, "wall": time.perf_counter() - wall}
    assert result.outcome == "succeeded"
    reporter.close(3.0)
    spool.close()
    files = Path(settings.artifacts).glob(f"{request['run']}/*/predictions.safetensors")
    return found | {"bytes": sum(path.stat().st_size for path in files)}


if __name__ == "__main__":
    if sys.argv[1:] == ["process"]:
        serve(_answer)
    else:
        main()
