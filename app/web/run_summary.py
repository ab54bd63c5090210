"""What pages say about a run in figures: which of its metrics stand for it, how far it is, what was changed in it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection

from app.contract.datasets import DATASETS
from app.contract.recipes import RECIPES, recipe_settings
from app.contract.spec import RunConfig
from app.contract.tracked_run import LoggedConfig
from app.store.metric import Summary
from app.store.queue import paused_at, positions_in_queue, why_waiting
from app.store.run import ACTIVE, RunRecord
from app.store.search.query import RunRow
from app.store.worker import WorkerRecord

FIRST = (
    "family",
    "size",
    "dataset",
    "targets",
    "recipe",
    "epochs",
    "batch_size",
    "optimizer",
    "lr",
    "schedule",
    "lr_min",
    "seed",
)
PEAK_MEMORY = "system/peak_memory_mb"
UNSEEN = ("name", "tags", "notes", "priority", "preset", "options")


@dataclass(frozen=True)
class Head:
    """One of several targets: its best validation accuracy and that on the test set, 0 to 1."""

    target: str
    classes: int | None
    val_acc: float | None
    test_acc: float | None


@dataclass(frozen=True)
class RunSummary:
    """A run as its row, its card and its page show it. ``best_epoch`` is where ``val_acc`` was best."""

    run: RunRecord
    number: int
    val_acc: float | None
    best_epoch: int | None
    val_loss: float | None
    best_val_loss: float | None
    test_acc: float | None
    epoch: int
    epochs: int
    step: int
    steps: int
    samples_per_second: float | None
    eta_seconds: float | None
    phase: str
    phase_share: float | None
    heads: list[Head]
    peak_memory_mb: float | None
    seconds: float | None
    not_finite: int
    active: bool
    position: int | None
    why: str
    apart: str = ""
    """What tells it from others of its title, beside which it is shown."""

    @property
    def name(self) -> str:
        """What it is called among others."""
        return f"#{self.number} {self.run.title}{' · ' if self.apart else ''}{self.apart}"

    @property
    def share(self) -> float:
        """How much of its steps a run has made, 0 to 1."""
        if self.run.status == "succeeded":
            return 1.0
        if self.run.status == "starting" and self.phase_share is not None:
            return min(1.0, max(0.0, self.phase_share))
        return min(1.0, self.step / self.steps) if self.steps else 0.0


def summarize_run(row: RunRow, position: int | None = None, why: str = "") -> RunSummary:
    """The figures of a run."""
    run, summary = row.run, row.summary
    progress: dict[str, Any] = run.progress
    acc, loss = pick(summary, run.config, "val", "acc"), pick(summary, run.config, "val", "loss")
    test = pick(summary, run.config, "test", "acc")
    per_epoch = steps_per_epoch(run)
    return RunSummary(
        run=run,
        number=run.number,
        val_acc=acc.best if acc else None,
        best_epoch=_best_epoch(run, acc, per_epoch),
        val_loss=loss.last if loss else None,
        best_val_loss=loss.best if loss else None,
        test_acc=test.last if test else None,
        epoch=int(progress.get("epoch") or 0),
        epochs=int(progress.get("epochs") or run.config.epochs or 0),
        step=int(progress.get("step") or 0),
        steps=int(progress.get("steps") or 0),
        samples_per_second=progress.get("samples_per_second"),
        eta_seconds=progress.get("eta_seconds") if run.status == "running" else None,
        phase=str(progress.get("phase") or ""),
        phase_share=progress.get("share"),
        heads=_heads(run.config, summary) if len(run.config.targets) > 1 else [],
        peak_memory_mb=summary[PEAK_MEMORY].max if PEAK_MEMORY in summary else None,
        seconds=run.duration(time.time()),
        not_finite=sum(figures.not_finite for figures in summary.values()),
        active=run.status in ACTIVE,
        position=position,
        why=why,
    )


def _best_epoch(run: RunRecord, acc: Summary | None, per_epoch: float | None) -> int | None:
    """Where the weights are from that are tested: of equally accurate ones, those with the lowest validation loss."""
    if run.row["best_checkpoint"]:
        return int(from_json(run.row["best_checkpoint"])["epoch"])
    return max(1, round(acc.best_step / per_epoch)) if acc and per_epoch else None


def _heads(config: RunConfig, summary: dict[str, Summary]) -> list[Head]:
    facts = DATASETS.get(config.dataset)
    classes = {target.name: target.classes for target in facts.targets} if facts else {}
    found = []
    for target in config.targets:
        val, test = summary.get(f"val/{target}/acc"), summary.get(f"test/{target}/acc")
        found.append(Head(target, classes.get(target), val.best if val else None, test.last if test else None))
    return found


def summaries_with_positions(
    connection: Connection, rows: list[RunRow], workers: list[WorkerRecord]
) -> list[RunSummary]:
    """The same of several; runs that wait say their place in the queue and why they have not started."""
    places = positions_in_queue(connection, [row.run.id for row in rows if row.run.status == "queued"])
    paused = bool(places) and paused_at(connection) is not None
    found = []
    for row in rows:
        position = places.get(row.run.id)
        why = "" if position is None else why_waiting(row.run, position - 1, workers, paused)
        found.append(summarize_run(row, position, why))
    return found


def metric_name(names: Any, config: RunConfig, stage: str, last: str) -> str | None:
    """The metric that stands for a run: the one of all heads together, else that of its first head."""
    wanted = [f"{stage}/{last}", *(f"{stage}/{target}/{last}" for target in config.targets)]
    return next((name for name in wanted if name in names), None)


def pick(summary: dict[str, Summary], config: RunConfig, stage: str, last: str) -> Summary | None:
    """The summary of that metric."""
    name = metric_name(summary, config, stage, last)
    return None if name is None else summary[name]


def steps_per_epoch(run: RunRecord) -> float | None:
    """Optimizer steps in an epoch, as the trainer reported them, else as they follow from dataset and batch size."""
    steps, epochs = run.progress.get("steps"), run.progress.get("epochs")
    if steps and epochs:
        return float(steps) / float(epochs)
    # What a script trained elsewhere on data of this name may have been a part of it.
    dataset = None if run.logged else DATASETS.get(run.config.dataset)
    return float(max(1, dataset.train // run.config.batch_size)) if dataset else None


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Every setting that says what is trained, options by their own names."""
    if isinstance(config, LoggedConfig):
        dataset = {"dataset": config.dataset} if config.dataset else {}
        return {"experiment": config.family} | dataset | config.options
    said = config.model_dump(exclude=set(UNSEEN))
    first = {name: said.pop(name) for name in FIRST}
    return first | {f"option {name}": value for name, value in config.options.items()} | said


def changed_settings(config: RunConfig) -> dict[str, Any]:
    """What a run does not take from its recipe, with what the recipe says instead."""
    if config.recipe not in RECIPES:
        return {}
    default = recipe_settings(config.recipe, config.family, config.dataset) | {"device": "auto", "auxiliary": False}
    return {name: value for name, value in default.items() if getattr(config, name, value) != value}
