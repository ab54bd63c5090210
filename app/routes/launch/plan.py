"""The launch form's plan: steps, expected start, and duration per device."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sqlalchemy import Connection

from app.actions.runs import first_target
from app.analysis.reference import Reference, reference_of
from app.contract.catalog import Catalog
from app.contract.preview import Prediction
from app.contract.spec import RunConfig
from app.routes.launch.cost import Cost
from app.routes.launch.form import Draft
from app.routes.launch.lr_preview import RatePicture, draw_rate
from app.store.database import reading
from app.store.queue import held_for, paused_at, queue
from app.store.turn import QueueRules
from app.store.worker import list_workers
from app.web.dependencies import Parts
from app.web.formatting import format_duration


@dataclass(frozen=True)
class DurationEstimate:
    """A run's estimated duration on a device, and the basis of the estimate."""

    device: str
    duration: str
    basis: str


@dataclass(frozen=True)
class Plan:
    """The plan of a launch. Unknown values are None or 0.

    ``params`` is exact. ``reference``: what the Runyard project measured for this network on this dataset.
    """

    params: int | None
    images: int
    steps_per_epoch: int
    steps: int
    starts: str
    rate: RatePicture | None = None
    durations: list[DurationEstimate] = field(default_factory=list)
    reference: Reference | None = None


def plan_of(parts: Parts, catalog: Catalog, draft: Draft, cost: Cost) -> Plan:
    """Return the plan of a draft, including the cost as far as it is known."""
    params = cost.preview.params if cost.preview else _params(catalog, draft)
    config = draft.config
    images = draft.dataset.train if draft.dataset else 0
    if config is None:
        return Plan(params, images, 0, 0, "once the form is valid")
    per_epoch = images // config.batch_size
    steps = per_epoch * config.epochs
    predictions = cost.preview.predictions if cost.preview else []
    with reading(parts.engine) as connection:
        starts = _starts(connection, parts, config)
    durations = [_duration(each, config.epochs) for each in predictions]
    return Plan(
        params, images, per_epoch, steps, starts, draw_rate(config, steps), durations, _reference(draft, config)
    )


def _params(catalog: Catalog, draft: Draft) -> int | None:
    """Return the exact parameter count; the catalog knows it for a family's default options and the first target."""
    if draft.family is None or draft.dataset is None or not _plain(draft):
        return None
    size = draft.family.size(draft.value("size"))
    return size.params.get(draft.dataset.name) if size is not None else None


def _plain(draft: Draft) -> bool:
    """Whether the network has its family's default options, the first target and no auxiliary scalars."""
    changed = "options" in draft.given or bool(draft.value("auxiliary"))
    return draft.dataset is not None and draft.targets == [first_target(draft.dataset.name)] and not changed


def _reference(draft: Draft, config: RunConfig) -> Reference | None:
    """What the Runyard project measured, which it did with plain networks."""
    return reference_of(config) if _plain(draft) else None


def _duration(prediction: Prediction, epochs: int) -> DurationEstimate:
    if prediction.epoch_seconds is None:
        return DurationEstimate(prediction.device, "", prediction.basis)
    seconds = prediction.epoch_seconds
    duration = f"about {format_duration(seconds * epochs)}, {format_duration(seconds)} per epoch"
    runs = f"based on {prediction.runs} run{'s' if prediction.runs != 1 else ''}"
    if prediction.basis:
        runs += (" with " if prediction.basis.startswith("the same") else ": ") + prediction.basis
    return DurationEstimate(prediction.device, duration, runs)


def _starts(connection: Connection, parts: Parts, config: RunConfig) -> str:
    workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
    waiting, queued = queue(connection, workers, 500, QueueRules.of(parts.settings))
    if not workers:
        return "when a worker connects"
    fitting = [worker for worker in workers if worker.takes(config.device, config.worker)]
    if not fitting:
        worker = f"worker {config.worker}" if config.worker else "a worker"
        return f"when {worker}{'' if config.device == 'auto' else f' with {config.device}'} connects"
    if paused_at(connection) is not None:
        return "when the queue is resumed"
    if held_for(connection) or all(worker.lacks_space for worker in fitting):
        return "when there is room on the disk"
    # A queued run that none of these workers can take does not delay this one.
    before = [
        queued_run
        for queued_run in waiting
        if queued_run.run.priority >= config.priority
        and any(worker.takes(queued_run.run.device_wanted, queued_run.run.worker_wanted) for worker in fitting)
    ]
    ahead = len(before) if queued <= len(waiting) else queued
    free = sum(worker.free_slots for worker in fitting)
    if free > ahead:
        return f"immediately ({free} free slot{'s' if free != 1 else ''})"
    return "as soon as a slot is free" if not ahead else f"after {ahead} queued run{'s' if ahead != 1 else ''}"
