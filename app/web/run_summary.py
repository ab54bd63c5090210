"""Summary of a run for pages: its main metrics, progress, queue position, settings and changes from the recipe."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection

from app.contract.datasets import DATASETS
from app.contract.metric_names import ADDITIONAL, ROBUST, last_part
from app.contract.recipes import RECIPES, recipe_settings
from app.contract.spec import RunConfig, default_settings
from app.contract.tracked_run import CommandConfig, LoggedConfig
from app.store.metric import Summary
from app.store.person_limit import limits_of
from app.store.queue import count_own_ahead, positions_in_queue, stopped_for
from app.store.run import ACTIVE, RunRecord
from app.store.search.query import RunRow
from app.store.turn import QueueRules, read_turns
from app.store.waiting_reason import why_waiting
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
HIDDEN_SETTINGS = ("name", "tags", "notes", "priority", "preset", "options")


@dataclass(frozen=True)
class Head:
    """One of several targets, with its best validation accuracy and its test accuracy (0 to 1)."""

    target: str
    classes: int | None
    val_acc: float | None
    test_acc: float | None


@dataclass(frozen=True)
class Further:
    """A metric besides the accuracy, such as "f1" or "fine/top5": the best in validation, and that of the test."""

    name: str
    val: float | None
    test: float | None


@dataclass(frozen=True)
class RunSummary:
    """A run as tables, cards and its page show it. ``best_epoch``: the epoch with the best ``val_acc``."""

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
    suffix: str = ""
    robust_acc: float | None = None
    """Settings that distinguish it from listed runs with the same title."""
    further: tuple[Further, ...] = ()
    tested_afterwards: bool = False
    """Whether its test accuracy comes from an evaluation after it had ended early."""

    @property
    def name(self) -> str:
        """Its number and title, with distinguishing settings if needed."""
        return f"#{self.number} {self.run.title}{' · ' if self.suffix else ''}{self.suffix}"

    @property
    def place(self) -> str:
        """Where its attempt runs: the device, after the host of its worker if that is not the server's."""
        host = self.run.worker.rpartition("-")[0]
        if host in ("", socket.gethostname()):
            return self.run.device or "its worker"
        return f"{host} ({self.run.device})"

    def further_metric(self, last: str) -> Further | None:
        """Return a metric besides the accuracy: the one of all heads together, else that of its first head."""
        return next((each for each in self.further if last_part(each.name) == last), None)

    @property
    def share(self) -> float:
        """Fraction of its steps that the run has completed, 0 to 1."""
        if self.run.status == "succeeded":
            return 1.0
        if self.run.status == "starting" and self.phase_share is not None:
            return min(1.0, max(0.0, self.phase_share))
        return min(1.0, self.step / self.steps) if self.steps else 0.0


def summarize_run(row: RunRow, position: int | None = None, why: str = "") -> RunSummary:
    """Return the summary of a run."""
    run, summary = row.run, row.summary
    progress: dict[str, Any] = run.progress
    acc, loss = main_metric(summary, run.config, "val", "acc"), main_metric(summary, run.config, "val", "loss")
    test = main_metric(summary, run.config, "test", "acc")
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
        not_finite=sum(metric.not_finite for metric in summary.values()),
        active=run.status in ACTIVE,
        position=position,
        why=why,
        further=tuple(_further(run.config, summary)),
        tested_afterwards=test is not None and not run.logged and not run.live and not _tested_itself(run, summary),
        robust_acc=robust.last if (robust := main_metric(summary, run.config, ROBUST, "acc")) else None,
    )


def _tested_itself(run: RunRecord, summary: dict[str, Summary]) -> bool:
    """Whether a trainer measured the test images: it reports their loss too, which an evaluation does not."""
    return run.status == "succeeded" or main_metric(summary, run.config, "test", "loss") is not None


def _best_epoch(run: RunRecord, acc: Summary | None, per_epoch: float | None) -> int | None:
    """Return the epoch of the tested weights; of equally accurate epochs, the one with the lowest validation loss."""
    if run.row["best_checkpoint"]:
        return int(from_json(run.row["best_checkpoint"])["epoch"])
    return max(1, round(acc.best_step / per_epoch)) if acc and per_epoch else None


def _heads(config: RunConfig, summary: dict[str, Summary]) -> list[Head]:
    dataset = DATASETS.get(config.dataset)
    classes = {target.name: target.classes for target in dataset.targets} if dataset else {}
    result = []
    for target in config.targets:
        val, test = summary.get(f"val/{target}/acc"), summary.get(f"test/{target}/acc")
        result.append(Head(target, classes.get(target), val.best if val else None, test.last if test else None))
    return result


def _further(config: RunConfig, summary: dict[str, Summary]) -> Iterator[Further]:
    for last in ADDITIONAL:
        for name in (last, *(f"{target}/{last}" for target in config.targets)):
            val, test = summary.get(f"val/{name}"), summary.get(f"test/{name}")
            if val or test:
                yield Further(name, val.best if val else None, test.last if test else None)


def summaries_with_positions(
    connection: Connection, rows: list[RunRow], workers: list[WorkerRecord], rules: QueueRules
) -> list[RunSummary]:
    """Return summaries of several runs; queued runs include their position and why they have not started."""
    queued = [row.run.id for row in rows if row.run.status == "queued"]
    positions = positions_in_queue(connection, queued, read_turns(connection, rules)) if queued else {}
    limits = limits_of(connection, rules.most_running) if queued else {}
    stopped = stopped_for(connection) if positions else ""
    result = []
    for row in rows:
        position = positions.get(row.run.id)
        why = ""
        if position is not None:
            limit = limits.get(row.run.created_by)
            held = "" if limit is None else limit.why_not(row.run.created_by, count_own_ahead(connection, row.run))
            why = why_waiting(row.run, position - 1, workers, stopped, held)
        result.append(summarize_run(row, position, why))
    return result


def metric_name(names: Any, config: RunConfig, stage: str, last: str) -> str | None:
    """Return the main metric of a run: the one of all heads together, else that of its first head."""
    candidates = [f"{stage}/{last}", *(f"{stage}/{target}/{last}" for target in config.targets)]
    return next((name for name in candidates if name in names), None)


def main_metric(summary: dict[str, Summary], config: RunConfig, stage: str, last: str) -> Summary | None:
    """Return the summary of a run's main metric."""
    name = metric_name(summary, config, stage, last)
    return None if name is None else summary[name]


def steps_per_epoch(run: RunRecord) -> float | None:
    """Return the optimizer steps per epoch as reported by the trainer, else computed from dataset and batch size."""
    steps, epochs = run.progress.get("steps"), run.progress.get("epochs")
    if steps and epochs:
        return float(steps) / float(epochs)
    # A script that trained elsewhere may have used only a part of the dataset of this name.
    dataset = None if run.logged else DATASETS.get(run.config.dataset)
    return float(max(1, dataset.train // run.config.batch_size)) if dataset else None


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Return every setting that describes what is trained, with options by name."""
    if isinstance(config, CommandConfig) and config.program:
        # Its fields say what differs between its runs; the command line would only repeat them.
        return {"experiment": config.family, "program": config.program} | config.options
    if isinstance(config, CommandConfig):
        return {"experiment": config.family, "command": config.template_line, "folder": config.folder} | config.options
    if isinstance(config, LoggedConfig):
        dataset = {"dataset": config.dataset} if config.dataset else {}
        return {"experiment": config.family} | dataset | config.options
    settings = config.model_dump(exclude=set(HIDDEN_SETTINGS))
    # The hyphen after a host keeps gpu10 apart from gpu1, and tells a reader nothing.
    settings["worker"] = config.worker.rstrip("-")
    first = {name: settings.pop(name) for name in FIRST}
    return first | {f"option {name}": value for name, value in config.options.items()} | settings


def changed_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that differ from the recipe, with the recipe's values."""
    if config.recipe not in RECIPES:
        return {}
    dataset = DATASETS.get(config.dataset)
    if dataset is not None:
        defaults = default_settings(config.recipe, config.family, dataset)
    else:
        defaults = recipe_settings(config.recipe, config.family, config.dataset_name)
    defaults |= {"device": "auto", "auxiliary": False}
    return {name: value for name, value in defaults.items() if getattr(config, name, value) != value}
