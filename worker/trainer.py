"""The trainer process: fit(config, reporter) = network + data + Lightning, from its start to its last word."""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import platform
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
import lightning.pytorch as pl
import numpy as np
import sklearn.datasets  # noqa: F401  the offline default: imported here, it costs the forkserver a second, not a run
import torch
from redis import Redis

import models
from app.contract.datasets import dataset
from app.contract.events import Checkpoint, Finishing, Progress, Result, Started
from app.contract.spec import RunConfig
from worker import checkpoint
from worker.checkpoint import State, Store
from worker.data import BatchSizeError, Resident
from worker.datasets import DatasetError, load
from worker.inputs import Inputs
from worker.job import CANCEL, GO_ON, Control, Job
from worker.module import Best, Classifier, Position, Stopped
from worker.reporter import Reporter
from worker.sender import Sender
from worker.spool import Spool

CLOSE_SECONDS = 3.0


def main(job: Job, control: Control) -> None:
    """Entry of the trainer process; exits with 0 when its last word lies in the spool."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    torch.set_num_threads(job.threads)
    redis = Redis.from_url(job.settings.redis, socket_timeout=2, socket_connect_timeout=2)
    spool = Spool(job.settings.spool, job.run, job.fence)
    reporter = Reporter(Sender(redis, spool), job.settings.flush_seconds)
    _capture_words(reporter)
    result = _attempt(job, reporter, control)
    reporter.event("result", result)
    reporter.close(CLOSE_SECONDS)
    spool.close()
    # Nothing that a library left running may keep the slot, or the GPU's memory, a moment longer.
    sys.stdout.flush()
    os._exit(0)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os.killpg(os.getpgid(0), signal.SIGKILL)


def _capture_words(reporter: Reporter) -> None:
    """Warnings and log records of libraries become lines of the run's log."""

    class ToReporter(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            level = "error" if record.levelno >= 40 else "warning" if record.levelno >= 30 else "info"
            reporter.say(f"{record.name}: {record.getMessage()}", level)

    logging.captureWarnings(True)
    # What a library tells the developers of another is nothing that a user can act on.
    for kind in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=kind)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch").propagate = True
    logging.getLogger().addHandler(ToReporter(logging.WARNING))


def _attempt(job: Job, reporter: Reporter, control: Control) -> Result:
    try:
        return fit(job, reporter, control)
    except (DatasetError, BatchSizeError, models.UnknownArchitecture) as error:
        reporter.say(str(error), "error")
        return Result(outcome="failed", reason=str(error))
    except torch.cuda.OutOfMemoryError:
        config = job.config
        what = f"{config.family} {config.size} at batch size {config.batch_size}"
        reason = f"the GPU's memory does not hold {what}; try half of it"
        reporter.say(reason, "error")
        return Result(outcome="failed", reason=reason)
    except Exception as error:  # whatever it was, the user is told, and the traceback stands in the log
        reporter.say(traceback.format_exc(), "error")
        return Result(outcome="failed", reason=f"{type(error).__name__}: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else "no message"


def fit(job: Job, reporter: Reporter, control: Control) -> Result:
    """Train one run to its end, or until it is commanded to stop.

    Raises DatasetError when the data cannot be had, BatchSizeError, UnknownArchitecture, and what torch raises.
    """
    config = job.config
    device = torch.device(job.device)
    _seed(config)

    def must_stop() -> bool:
        control.beat()  # a download that gets on is not stuck, and neither is an evaluation
        return control.command != GO_ON

    def say(text: str) -> None:
        reporter.say(text)
        if must_stop():
            raise Stopped

    reporter.say(f"attempt {job.attempt} on {job.device}, {job.threads} threads, seed {config.seed}")
    at = job.resume.step if job.resume else 0

    def progress(phase: str, share: float) -> None:
        epoch = job.resume.epoch if job.resume else 0
        said = Progress(epoch=epoch, epochs=config.epochs, step=at, steps=0, phase=phase, share=share)
        reporter.event("progress", said)
        if must_stop():
            raise Stopped

    try:
        data = load(
            config.dataset,
            config.targets,
            job.settings.datasets,
            say,
            auxiliary=config.auxiliary,
            progress=progress,
        )
    except Stopped:
        return _stopped(control, "while its data was fetched", "the start")
    store = Store(job.settings.artifacts)
    kept = checkpoint.from_bytes(store.read(job.resume.path)) if job.resume else None
    # What a run was begun with it goes on with, also where the dataset's files have become others since.
    inputs = Inputs.from_facts(kept.facts["inputs"]) if kept and "inputs" in kept.facts else Inputs.of(data, config)
    resident = Resident(data, device, inputs=inputs)
    network = build_network(config, len(inputs.scalars), job.settings.models_path).to(device)
    params = models.count_parameters(network)
    images = resident.size("train")
    megabytes = data.train.images.numel() / 1e6
    reporter.say(
        f"{config.family} {config.size}: {params:,} parameters; {images:,} training images resident, {megabytes:.1f} MB"
    )
    for name in config.targets:
        share = torch.bincount(data.test.targets[name]).max().item() / len(data.test)
        reporter.say(f"{name}: the largest class alone would score {share:.1%} on the test set")
    module = Classifier(network, resident, config, reporter, must_stop)
    keeper = _Keeper(job, store, module, reporter)
    if kept is not None:
        keeper.restore(kept)
    reporter.event("started", _started(job, module, params, device))
    module.after_step = keeper.save_now_and_then
    module.after_validation = keeper.after_validation
    trainer = _lightning(config, device, module.position.epoch)
    try:
        if module.position.epoch < config.epochs and not module.gave_up:
            trainer.fit(module)
        reporter.event("finishing", Finishing())
        keeper.load_best()
        trainer.test(module, verbose=False)
    except Stopped:
        if module.position.epoch < config.epochs and not module.gave_up:
            keeper.save()  # and not the best weights in the place of the last, when the test was stopped
        step = module.position.step
        return _stopped(control, f"at step {step:,} of {module.steps:,}", f"step {step:,}")
    if module.gave_up and module.position.epoch < config.epochs:
        waited = f"{config.early_stopping} epoch{'s' if config.early_stopping > 1 else ''}"
        reason = f"stopped early after epoch {module.position.epoch}: no better validation for {waited}"
        reporter.say(reason)
        return Result(outcome="succeeded", reason=reason)
    return Result(outcome="succeeded")


def build_network(config: RunConfig, scalars: int, models_path: Path | None) -> torch.nn.Module:
    """The network that ``config`` names, freshly initialised, with room for so many auxiliary scalars.

    Architectures of the user's own are imported here, in the trainer's process: an edited file counts from the next run
    on. Raises UnknownArchitecture, also for a file that could not be used, with its error.
    """
    broken = models.load_path(models_path) if models_path is not None else {}
    if config.family not in models.families() and config.family in broken:
        raise models.UnknownArchitecture(f"{config.family} could not be imported: {broken[config.family]}")
    facts = dataset(config.dataset)
    heads = {name: facts.target(name).classes for name in config.targets}
    shape = models.Shape(facts.channels, facts.side, heads, scalars)
    return models.build(config.family, config.size, shape, dict(config.options))


def _stopped(control: Control, where: str, goes_on_from: str) -> Result:
    if control.command == CANCEL:
        return Result(outcome="cancelled", reason=f"stopped {where}")
    return Result(outcome="interrupted", reason=f"its worker stopped; goes on from {goes_on_from}")


def _seed(config: RunConfig) -> None:
    torch.manual_seed(config.seed)
    np.random.seed(config.seed)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)


def _lightning(config: RunConfig, device: torch.device, epochs_done: int) -> pl.Trainer:
    # What the trainer would log, save or draw is done by the reporter and the keeper.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")  # Lightning 2.6.6 with torch 2.15
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        max_epochs=max(1, config.epochs - epochs_done),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _started(job: Job, module: Classifier, params: int, device: torch.device) -> Started:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    environment = {
        "device": job.device,
        "device_name": name,
        "host": socket.gethostname(),
        "threads": job.threads,
        "steps_per_epoch": module.steps_per_epoch,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "numpy": np.__version__,
    }
    return Started(step=module.position.step, epoch=module.position.epoch, params=params, environment=environment)


class _Keeper:
    """Saves and restores checkpoints of one attempt: ``last`` to go on from, ``best`` to test and to use."""

    def __init__(self, job: Job, store: Store, module: Classifier, reporter: Reporter) -> None:
        self._folder = f"{job.run}/{job.fence}"
        self._config = job.config
        self._store = store
        self._module = module
        self._reporter = reporter
        self._every = job.settings.checkpoint_seconds
        self._saved_at = time.monotonic()

    def save_now_and_then(self) -> None:
        """After every step: save where an epoch takes long."""
        if time.monotonic() - self._saved_at > self._every:
            self._module.report_steps()  # a run that goes on from here must not miss them
            self.save()

    def after_validation(self, improved: bool) -> None:
        """Keep the weights when they are the best so far, and everything to go on from."""
        module = self._module
        if improved:
            module.best.path = f"{self._folder}/best.safetensors"
            state = State(module.network.state_dict(), {}, {}, self._what())
            self._store.write(module.best.path, checkpoint.to_bytes(state))
            self._say(module.best.path, best=True)
        self.save()

    def save(self) -> None:
        """Keep everything to go on from."""
        module = self._module
        self._saved_at = time.monotonic()
        best = asdict(module.best) | {"loss": None if module.best.epoch < 0 else module.best.loss}
        facts = self._what() | {
            "position": asdict(module.position),
            "best": best,
            "schedule": module.schedule.state(),
        }
        random = checkpoint.random_state(module.data.device, module.generator)
        state = State(module.network.state_dict(), module.optimizer.state_dict(), random, facts)
        path = f"{self._folder}/last.safetensors"
        self._store.write(path, checkpoint.to_bytes(state))
        self._say(path, best=False)

    def _what(self) -> dict[str, Any]:
        """What the network is and how it is fed: all that a prediction needs beside the weights."""
        return {"config": self._config.model_dump(), "inputs": self._module.data.inputs.as_facts()}

    def restore(self, state: State) -> None:
        """Go on where ``state`` was saved."""
        module = self._module
        module.network.load_state_dict(state.network)
        module.optimizer.load_state_dict(state.optimizer)
        module.schedule.restore(state.facts["schedule"])
        module.position = Position(**state.facts["position"])
        best: dict[str, Any] = state.facts["best"]
        module.best = Best(**best | {"loss": float("inf") if best["loss"] is None else best["loss"]})
        checkpoint.restore_random_state(state.random, module.data.device, module.generator)
        self._reporter.say(f"goes on from step {module.position.step:,} in epoch {module.position.epoch + 1}")

    def load_best(self) -> None:
        """Put the best weights into the network."""
        state = checkpoint.from_bytes(self._store.read(self._module.best.path))
        self._module.network.load_state_dict(state.network)

    def _say(self, path: str, best: bool) -> None:
        position = self._module.position
        said = Checkpoint(path=path, epoch=position.epoch, step=position.step, best=best)
        self._reporter.event("checkpoint", said)
