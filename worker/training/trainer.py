"""The trainer process: fits one run with Lightning, and reports how it ended."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import traceback
import warnings
from contextlib import suppress

import sklearn.datasets  # noqa: F401  the offline default: imported here, it costs the fork server a second, not a run
import torch
from redis import Redis

import models
from app.contract.datasets import dataset
from app.contract.disk_space import disk_full_reason, is_disk_full
from app.contract.events import Result
from worker.data.datasets import DatasetError
from worker.data.device_dataset import BatchSizeError
from worker.job import DISK_FULL_EXIT, Control, Job
from worker.memory import is_host_out_of_memory
from worker.reporting.disk_wait import DiskWait
from worker.reporting.reporter import Reporter
from worker.reporting.sender import Sender
from worker.training.fit import fit
from worker.training.memory_fit import out_of_memory_reason
from worker.training.network import build_network
from worker.training.nonfinite_guard import Diverged

CLOSE_SECONDS = 3.0


def main(job: Job, control: Control) -> None:
    """Entry point of the trainer process; exits with 0 once its last entry is in the spool."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    torch.set_num_threads(job.threads)
    redis = Redis.from_url(job.settings.redis, socket_timeout=2, socket_connect_timeout=2)
    disk = DiskWait(control)
    spool = disk.open_spool(job.settings.spool, job.run, job.fence)
    if spool is None:
        os._exit(DISK_FULL_EXIT)
    reporter = Reporter(Sender(redis, spool), job.settings.flush_seconds)
    _forward_logs(reporter)
    result = _attempt(job, reporter, control)
    reporter.event("result", result)
    reporter.close(CLOSE_SECONDS, disk.go_on)
    spool.close()
    # Exit at once: nothing that a library left running may occupy the slot or the GPU's memory.
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(DISK_FULL_EXIT if reporter.full else 0)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os.killpg(os.getpgid(0), signal.SIGKILL)


def _forward_logs(reporter: Reporter) -> None:
    """Forward warnings and log records of libraries to the run's log."""

    class ToReporter(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            level = "error" if record.levelno >= 40 else "warning" if record.levelno >= 30 else "info"
            reporter.log(f"{record.name}: {record.getMessage()}", level)

    logging.captureWarnings(True)
    # Users cannot act on messages between library developers.
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
        reporter.log(str(error), "error")
        return Result(outcome="failed", reason=str(error))
    except Diverged as error:
        reporter.log(str(error), "error")
        return Result(outcome="failed", reason=str(error))
    except Exception as error:  # any error is reported to the user, with the traceback in the log
        if is_disk_full(error):
            reason = disk_full_reason(getattr(error, "filename", None) or job.settings.data_dir)
            reporter.log(reason, "error")
            return Result(outcome="failed", reason=reason)
        on_gpu = isinstance(error, torch.cuda.OutOfMemoryError)
        if not on_gpu and not is_host_out_of_memory(error):
            reporter.log(traceback.format_exc(), "error")
            return Result(outcome="failed", reason=_describe(error))
        reporter.log(_describe(error), "error")
    # Only here, where the traceback that kept the run's tensors is gone.
    reason = _memory_reason(job, "cuda" if on_gpu else "cpu")
    reporter.log(reason, "error")
    return Result(outcome="failed", reason=reason)


def _memory_reason(job: Job, kind: str) -> str:
    gc.collect()
    config = job.config
    scalars = len(dataset(config.dataset).auxiliary) if config.auxiliary else 0
    device = job.device if kind == job.device.split(":")[0] else kind
    return out_of_memory_reason(
        config, lambda: build_network(config, scalars, job.settings.models_path), device, scalars
    )


def _describe(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    return f"{name}: {lines[0][:300]}" if lines else f"{name} (no message)"
