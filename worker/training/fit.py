"""Fits one run: loads its data, builds and tunes its network, trains it with Lightning, and tests it."""

from __future__ import annotations

import os
import platform
import time
import warnings
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

import models
from app.contract.datasets import DATASETS
from app.contract.events import Finishing, Progress, Result, Started
from app.contract.spec import RunConfig
from worker import environment
from worker.data.datasets import Data, load
from worker.data.inputs import Inputs
from worker.data.residence import Residence
from worker.data.shared_datasets import ensure_dataset
from worker.job import CANCEL, CONTINUE, Control, Job
from worker.reporting.disk_wait import DiskWait
from worker.reporting.progress import ProgressReporter
from worker.reporting.reporter import Reporter
from worker.training import checkpoint_file
from worker.training.autotune import Autotuner
from worker.training.checkpoint_file import State, Store
from worker.training.checkpointing import Checkpointer
from worker.training.live_changes import Changes
from worker.training.memory_fit import largest_batch
from worker.training.module import Classifier, Stopped
from worker.training.network import build_network
from worker.training.prediction_keeper import PredictionKeeper
from worker.training.shared_architectures import with_architectures
from worker.training.system_metrics import monitored
from worker.training.tuning import Tuning


def fit(job: Job, reporter: Reporter, control: Control) -> Result:
    """Train one run until it ends or is told to stop.

    Raises DatasetError if the data is not available, BatchSizeError, UnknownArchitecture, and whatever torch raises.
    """
    config = job.config
    device = torch.device(job.device)
    _seed(config)

    disk = DiskWait(control)

    def must_stop() -> bool:
        control.beat()  # a download that makes progress is not stalled, nor is an evaluation
        if reporter.full:
            disk.until(lambda: not reporter.full)
        return control.command != CONTINUE

    def log(text: str) -> None:
        reporter.log(text)
        if must_stop():
            raise Stopped

    threads = f"{job.threads} thread{'' if job.threads == 1 else 's'}"
    start = f"step {job.resume.step:,}" if job.resume else "the start"
    reporter.log(f"attempt {job.attempt} on {job.device}, {threads}, seed {config.seed}")
    step = job.resume.step if job.resume else 0

    def progress(phase: str, share: float) -> None:
        epoch = job.resume.epoch if job.resume else 0
        event = Progress(epoch=epoch, epochs=config.epochs, step=step, steps=0, phase=phase, share=share)
        reporter.event("progress", event)
        if must_stop():
            raise Stopped

    DATASETS.open(job.settings.datasets)
    store = Store(job.settings.artifacts)
    try:
        if job.settings.artifact_url is not None:
            most_bytes = job.settings.fetched_gib * 2**30
            ensure_dataset(config.dataset, job.settings.datasets, store, most_bytes, log, progress)
        job = with_architectures(job, store, ProgressReporter(log, progress))
        data = load(
            config.dataset,
            config.targets,
            job.settings.datasets,
            log,
            auxiliary=config.auxiliary,
            progress=progress,
        )
    except Stopped:
        return _stopped(control, "while loading data", start)
    residence = Residence.choose(data, device, job.settings.resident_share)
    saved = checkpoint_file.from_bytes(store.read(job.resume.path)) if job.resume else None
    # A resumed run keeps its input scaling, even if the dataset's files have changed since.
    same_inputs = saved is not None and "inputs" in saved.metadata and not _differs(saved, config, "normalization")
    inputs = Inputs.from_dict(saved.metadata["inputs"]) if saved and same_inputs else Inputs.of(data, config)
    network = build_network(config, len(inputs.scalars), job.settings.models_path).to(device)
    try:
        config = _with_batch(job, saved, network, residence, data, inputs, reporter, progress)
        tuning = _tuning(job, saved, Autotuner(network, data, inputs, config, device), reporter, progress)
    except Stopped:
        return _stopped(control, "while tuning", start)
    images = residence.hold(data, device, inputs=inputs, memory_format=tuning.memory_format)
    params = models.count_parameters(network)
    reporter.log(f"{config.family} {config.size}: {params:,} parameters; {images.size('train'):,} training images")
    reporter.log(f"images: {residence.text}")
    for name in config.targets:
        baseline = torch.bincount(data.test.targets[name]).max().item() / len(data.test)
        reporter.log(f"{name}: majority-class baseline on the test set: {baseline:.1%}")
    module = Classifier(network, images, config, reporter, must_stop, tuning)
    with (
        images,
        Checkpointer(job, store, module, reporter, disk) as checkpointer,
        PredictionKeeper(job, store, module, reporter, checkpointer.submit) as keeper,
    ):
        if saved is not None:
            checkpointer.restore(saved)
            keeper.restore(saved)
        checkpointer.waiting_history = keeper.waiting
        changes = Changes(module, checkpointer, reporter, job.changes)
        changes.listen(control.changes)
        reporter.event("started", _started(job, module, residence, params, device))
        module.after_step = checkpointer.save_if_due

        def after_validation(improved: bool) -> None:
            keeper.after_validation(improved)
            checkpointer.after_validation(improved)

        module.after_validation = after_validation
        changes.apply()  # they may add epochs to a run that has finished all of its own
        trainer = lightning_trainer(device)
        try:
            if module.position.epoch < module.course.epochs and not module.stopped_early:
                with monitored(module, reporter, device):
                    try:
                        trainer.fit(module)
                    finally:
                        # However it ends, the last report is where it stopped.
                        module.report_progress(now=True)
            checkpointer.load_best()
            reporter.event("finishing", Finishing())
            trainer.test(module, verbose=False)
            keeper.finish()
        except Stopped:
            if module.position.epoch < module.course.epochs and not module.stopped_early:
                checkpointer.save()  # not after the last epoch, where the test has loaded the best weights
            step = module.position.step
            return _stopped(control, f"at step {step:,} of {module.steps:,}", f"step {step:,}")
    if module.stopped_early and module.position.epoch < module.course.epochs:
        patience = f"{config.early_stopping} epoch{'s' if config.early_stopping > 1 else ''}"
        reason = (
            f"stopped early after epoch {module.position.epoch}: no improvement on the validation set for {patience}"
        )
        reporter.log(reason)
        return Result(outcome="succeeded", reason=reason)
    if module.course.epochs < module.course.planned:
        reason = f"stopped after epoch {module.course.epochs} of {module.course.planned}, as requested"
        return Result(outcome="succeeded", reason=reason)
    return Result(outcome="succeeded")


def _differs(saved: State, config: RunConfig, *names: str) -> bool:
    """Whether a fork's settings differ from those of the run it resumes."""
    before = saved.metadata.get("config", {})
    return any(name in before and before[name] != getattr(config, name) for name in names)


def _with_batch(
    job: Job,
    saved: State | None,
    network: torch.nn.Module,
    residence: Residence,
    data: Data,
    inputs: Inputs,
    reporter: Reporter,
    progress: Callable[[str, float], None],
) -> RunConfig:
    """The configuration, with the largest batch that fits if it requests that: found once, then reused."""
    config = job.config
    if not config.find_batch:
        return config
    if saved is not None:
        return config.model_copy(update={"batch_size": saved.metadata["config"]["batch_size"]})
    sizes: list[int] = []

    def on_try(batch: int) -> None:
        sizes.append(batch)
        progress(f"finding the largest batch size (trying {batch:,})", 0.0)

    images = residence.hold(data, torch.device(job.device), inputs=inputs)
    smallest = models.families()[config.family].smallest_batch
    result = largest_batch(network, images, config, smallest, on_try)
    tried = f"{len(sizes)} size{'' if len(sizes) == 1 else 's'} tried"
    reporter.log(f"largest batch size that fits: {result.batch_size:,} ({result.limit}); {tried}")
    return config.model_copy(update={"batch_size": result.batch_size})


def _tuning(
    job: Job, saved: State | None, autotuner: Autotuner, reporter: Reporter, progress: Callable[[str, float], None]
) -> Tuning:
    """This attempt's tuning: that of the previous one on the same device type, otherwise the autotuner's choice."""
    before: dict[str, Any] = dict(saved.metadata["tuning"]) if saved and "tuning" in saved.metadata else {}
    same = saved is not None and not _differs(saved, job.config, "precision", "compile", "deterministic")
    if before.pop("device", "") == torch.device(job.device).type and same:
        return Tuning(**before)
    choice = autotuner.choose(job.settings.tunings, lambda share: progress("autotuning", share))
    reporter.log(f"training with {choice.tuning}: {choice.reason}")
    for tuning, seconds in choice.seconds.items():
        result = "failed" if seconds is None else f"{1000 * seconds:.3g} ms per step"
        reporter.log(f"tested {tuning}: {result}", "debug")
    return choice.tuning


def _stopped(control: Control, where: str, resumes_from: str) -> Result:
    if control.command == CANCEL:
        return Result(outcome="cancelled", reason=f"stopped {where}")
    return Result(outcome="interrupted", reason=f"the worker stopped; the run will resume from {resumes_from}")


def _seed(config: RunConfig) -> None:
    torch.manual_seed(config.seed)
    np.random.seed(config.seed)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


def lightning_trainer(device: torch.device) -> pl.Trainer:
    """Lightning's Trainer; the module decides how many epochs it runs."""
    # The reporter and the checkpointer do the logging, saving and progress.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")  # Lightning 2.6.6 with torch 2.15
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _started(job: Job, module: Classifier, residence: Residence, params: int, device: torch.device) -> Started:
    config = module.config
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    captured = environment.capture(
        datasets=job.settings.datasets,
        name=config.dataset,
        measured=config.auxiliary or any(module.data.dataset.target(target).measured for target in config.targets),
        device=device,
        models_path=job.settings.models_path,
        command=list(job.command),
    )
    summary = environment.versions_and_device(job.device, job.threads, name) | environment.highlights(captured)
    summary |= {
        "images": residence.text,
        "trained_in": str(module.tuning),
        "steps_per_epoch": module.steps_per_epoch,
    }
    if config.find_batch:
        summary["batch_size_found"] = config.batch_size
    return Started(
        step=module.position.step,
        epoch=module.position.epoch,
        params=params,
        environment=summary,
        capture=captured,
        batch_size=config.batch_size if config.find_batch else None,
        time=time.time(),
    )
