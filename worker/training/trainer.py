"""The trainer process: fit(config, reporter) = network + data + Lightning, from its start to its last word."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import multiprocessing.connection
import os
import platform
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import sklearn.datasets  # noqa: F401  the offline default: imported here, it costs the forkserver a second, not a run
import torch
from redis import Redis

import models
from app.contract.datasets import dataset
from app.contract.events import Finishing, Progress, Result, Started
from app.contract.spec import RunConfig
from worker import environment
from worker.data.datasets import Data, DatasetError, load
from worker.data.inputs import Inputs
from worker.data.resident import BatchSizeError, Resident
from worker.job import CANCEL, GO_ON, Control, Job
from worker.memory import is_host_out_of_memory
from worker.reporting.reporter import Reporter
from worker.reporting.sender import Sender
from worker.reporting.spool import Spool
from worker.training import checkpoint_file
from worker.training.autotune import Autotuner
from worker.training.checkpoint_file import State, Store
from worker.training.checkpointing import Checkpointer
from worker.training.live_changes import Changes
from worker.training.memory_fit import largest_batch, words_of_failure
from worker.training.module import Classifier, Stopped
from worker.training.nonfinite_guard import Diverged
from worker.training.system_metrics import watched
from worker.training.tuning import Tuning

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
    except Diverged as error:
        reporter.say(str(error), "error")
        return Result(outcome="failed", reason=str(error))
    except Exception as error:  # whatever it was, the user is told, and the traceback stands in the log
        on_gpu = isinstance(error, torch.cuda.OutOfMemoryError)
        if not on_gpu and not is_host_out_of_memory(error):
            reporter.say(traceback.format_exc(), "error")
            return Result(outcome="failed", reason=f"{type(error).__name__}: {_first_line(error)}")
        reporter.say(_first_line(error), "error")
    # Here, where the traceback that held the run's tensors is gone.
    reason = _too_large(job, "cuda" if on_gpu else "cpu")
    reporter.say(reason, "error")
    return Result(outcome="failed", reason=reason)


def _too_large(job: Job, kind: str) -> str:
    gc.collect()
    config = job.config
    scalars = len(dataset(config.dataset).auxiliary) if config.auxiliary else 0
    device = job.device if kind == job.device.split(":")[0] else kind
    return words_of_failure(config, lambda: build_network(config, scalars, job.settings.models_path), device, scalars)


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
    kept = checkpoint_file.from_bytes(store.read(job.resume.path)) if job.resume else None
    # What a run was begun with it goes on with, also where the dataset's files have become others since.
    as_before = kept is not None and "inputs" in kept.facts and not _differs(kept, config, "normalization")
    inputs = Inputs.from_facts(kept.facts["inputs"]) if kept and as_before else Inputs.of(data, config)
    network = build_network(config, len(inputs.scalars), job.settings.models_path).to(device)
    try:
        config = _with_batch(job, kept, network, data, inputs, reporter, progress)
        tuning = _tuning(job, kept, Autotuner(network, data, inputs, config, device), reporter, progress)
    except Stopped:
        return _stopped(control, "while it tried how to train", "the start")
    resident = Resident(data, device, inputs=inputs, memory_format=tuning.memory_format)
    params = models.count_parameters(network)
    images = resident.size("train")
    megabytes = data.train.images.numel() / 1e6
    reporter.say(
        f"{config.family} {config.size}: {params:,} parameters; {images:,} training images resident, {megabytes:.1f} MB"
    )
    for name in config.targets:
        share = torch.bincount(data.test.targets[name]).max().item() / len(data.test)
        reporter.say(f"{name}: the largest class alone would score {share:.1%} on the test set")
    module = Classifier(network, resident, config, reporter, must_stop, tuning)
    checkpointer = Checkpointer(job, store, module, reporter)
    if kept is not None:
        checkpointer.restore(kept)
    changes = Changes(module, checkpointer, reporter, job.changes)
    changes.listen(control.asked)
    reporter.event("started", _started(job, module, params, device))
    module.after_step = checkpointer.save_now_and_then
    module.after_validation = checkpointer.after_validation
    changes.apply()  # they may give a run that has made all of its epochs some more
    trainer = lightning_trainer(device)
    try:
        if module.position.epoch < module.course.epochs and not module.gave_up:
            with watched(module, reporter, device):
                try:
                    trainer.fit(module)
                finally:
                    # However it ends, what is told last is where it was.
                    module.report_progress(now=True)
        reporter.event("finishing", Finishing())
        checkpointer.load_best()
        trainer.test(module, verbose=False)
    except Stopped:
        if module.position.epoch < module.course.epochs and not module.gave_up:
            checkpointer.save()  # and not the best weights in the place of the last, when the test was stopped
        step = module.position.step
        return _stopped(control, f"at step {step:,} of {module.steps:,}", f"step {step:,}")
    if module.gave_up and module.position.epoch < module.course.epochs:
        waited = f"{config.early_stopping} epoch{'s' if config.early_stopping > 1 else ''}"
        reason = f"stopped early after epoch {module.position.epoch}: no better validation for {waited}"
        reporter.say(reason)
        return Result(outcome="succeeded", reason=reason)
    if module.course.epochs < module.course.planned:
        reason = f"stopped after epoch {module.course.epochs} of {module.course.planned}, as was asked"
        return Result(outcome="succeeded", reason=reason)
    return Result(outcome="succeeded")


def _differs(kept: State, config: RunConfig, *names: str) -> bool:
    """Whether a fork asks for something else than the run that it goes on from."""
    before = kept.facts.get("config", {})
    return any(name in before and before[name] != getattr(config, name) for name in names)


def _with_batch(
    job: Job,
    kept: State | None,
    network: torch.nn.Module,
    data: Data,
    inputs: Inputs,
    reporter: Reporter,
    progress: Callable[[str, float], None],
) -> RunConfig:
    """The configuration with the largest batch that fits, where that is asked for: found once, then the same."""
    config = job.config
    if not config.find_batch:
        return config
    if kept is not None:
        return config.model_copy(update={"batch_size": kept.facts["config"]["batch_size"]})
    tried: list[int] = []

    def tell(batch: int) -> None:
        tried.append(batch)
        progress(f"finding the largest batch: {batch:,}", 0.0)

    resident = Resident(data, torch.device(job.device), inputs=inputs)
    smallest = models.families()[config.family].smallest_batch
    found = largest_batch(network, resident, config, smallest, tell)
    reporter.say(f"the largest batch that fits is {found.batch_size:,}: {found.why}; tried {len(tried)}")
    return config.model_copy(update={"batch_size": found.batch_size})


def _tuning(
    job: Job, kept: State | None, trials: Autotuner, reporter: Reporter, progress: Callable[[str, float], None]
) -> Tuning:
    """How this attempt runs its network: as the one before it on such a device, else as trials say."""
    before: dict[str, Any] = dict(kept.facts["tuning"]) if kept and "tuning" in kept.facts else {}
    same = kept is not None and not _differs(kept, job.config, "precision", "compile", "deterministic")
    if before.pop("device", "") == torch.device(job.device).type and same:
        return Tuning(**before)
    choice = trials.choose(job.settings.tunings, lambda share: progress("trying how to train fastest", share))
    reporter.say(f"trains in {choice.tuning}: {choice.why}")
    for way, seconds in choice.seconds.items():
        took = "cannot be run here" if seconds is None else f"{1000 * seconds:.3g} ms a step"
        reporter.say(f"tried {way}: {took}", "debug")
    return choice.tuning


def build_network(config: RunConfig, scalars: int, models_path: Path | None) -> torch.nn.Module:
    """The network that ``config`` names, freshly initialized, with room for so many auxiliary scalars.

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


def lightning_trainer(device: torch.device) -> pl.Trainer:
    """Lightning's Trainer; how many epochs it makes is the module's to say."""
    # What the trainer would log, save or draw is done by the reporter and the checkpointer.
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


def _started(job: Job, module: Classifier, params: int, device: torch.device) -> Started:
    config = module.config
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    captured = environment.capture(
        datasets=job.settings.datasets,
        name=config.dataset,
        measured=config.auxiliary or any(module.data.dataset.target(each).measured for each in config.targets),
        device=device,
        models_path=job.settings.models_path,
        command=list(job.command),
    )
    facts = environment.facts(job.device, job.threads, name) | environment.brief(captured)
    facts |= {"trained_in": str(module.tuning), "steps_per_epoch": module.steps_per_epoch}
    if config.find_batch:
        facts["batch_size_found"] = config.batch_size
    return Started(
        step=module.position.step,
        epoch=module.position.epoch,
        params=params,
        environment=facts,
        capture=captured,
        batch_size=config.batch_size if config.find_batch else None,
        time=time.time(),
    )
