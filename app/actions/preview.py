"""What a run would be and what it would cost, without launching it."""

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
    """What a run of ``config`` would be and cost.

    Raises SpecError for a network that cannot be trained so, Unavailable when it cannot be looked at.
    """
    profile = await parts.inspector.profile(config)
    predictions = await run_in_threadpool(_predictions, parts, config, {})
    if any(each.epoch_seconds is None and each.basis != NOTHING_YET for each in predictions):
        flops = await _flops(parts)
        own = {(config.family, config.size, config.dataset): profile.flops}
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
        fitting = {each.device_name: config.device in ("auto", each.device_kind) for each in workers}
        devices = [name for name, fits in fitting.items() if fits]
        found = predict(connection, config, devices, flops)
    return [each for each in found if fitting.get(each.device, True)]


async def _flops(parts: Parts) -> dict[Network, int]:
    """Operations of every network on the datasets that runs have finished on."""
    found: dict[Network, int] = {}
    for dataset in await run_in_threadpool(_trained, parts):
        zoo = await parts.inspector.zoo(dataset)
        found |= {(family, size, dataset): profile.flops for (family, size), profile in zoo.items()}
    return found


def _trained(parts: Parts) -> list[str]:
    with reading(parts.engine) as connection:
        return datasets_trained(connection)
