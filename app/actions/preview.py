"""Preview of a run without launching it: parameters, memory, layers and training time."""

from __future__ import annotations

import time

from starlette.concurrency import run_in_threadpool

from app.contract.catalog import Catalog
from app.contract.datasets import DATASETS
from app.contract.preview import Prediction, Preview
from app.contract.spec import RunConfig
from app.store.database import reading
from app.store.epoch_time import NOTHING_YET, Network, datasets_trained, predict
from app.store.worker import list_workers
from app.web.dependencies import Parts


async def preview(parts: Parts, catalog: Catalog, config: RunConfig) -> Preview:
    """Return the size, cost and expected training time of a run with ``config``.

    Raises SpecError if the network cannot be trained with it, Unavailable if it cannot be analyzed.
    """
    profile = await parts.inspector.profile(config)
    predictions = await run_in_threadpool(_predictions, parts, config, {})
    if any(prediction.epoch_seconds is None and prediction.basis != NOTHING_YET for prediction in predictions):
        flops = await _flops(parts)
        own = {(config.family, config.size, config.dataset_name): profile.flops}
        predictions = await run_in_threadpool(_predictions, parts, config, flops | own)
    steps_per_epoch = DATASETS[config.dataset].train // config.batch_size
    return Preview(
        family=config.family,
        size=config.size,
        dataset=config.dataset,
        params=profile.params,
        flops=profile.flops,
        batch_size=profile.batch_size,
        activation_bytes=profile.activation_bytes,
        memory_bytes=profile.memory_bytes,
        steps_per_epoch=steps_per_epoch,
        steps=steps_per_epoch * config.epochs,
        layers=profile.layers,
        predictions=predictions,
    )


def _predictions(parts: Parts, config: RunConfig, flops: dict[Network, int]) -> list[Prediction]:
    with reading(parts.engine) as connection:
        workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
        fitting = {worker.device_name: config.device in ("auto", worker.device_kind) for worker in workers}
        devices = [name for name, fits in fitting.items() if fits]
        predictions = predict(connection, config, devices, flops)
    return [prediction for prediction in predictions if fitting.get(prediction.device, True)]


async def _flops(parts: Parts) -> dict[Network, int]:
    """Return the operations of every network on the datasets with successful runs."""
    flops: dict[Network, int] = {}
    for dataset in await run_in_threadpool(_trained, parts):
        zoo = await parts.inspector.zoo(dataset)
        flops |= {(family, size, dataset): profile.flops for (family, size), profile in zoo.items()}
    return flops


def _trained(parts: Parts) -> list[str]:
    with reading(parts.engine) as connection:
        return datasets_trained(connection)
