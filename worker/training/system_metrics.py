"""Measures the machine while it trains: throughput, CPU, memory, disk and GPU, every few seconds.

A separate thread measures and reports, so a step pays nothing. The gradient norm costs some kernels, so it is taken
every ``NORM_EVERY`` steps; with gradient clipping it is known at every step.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import psutil
import torch
from torch import Tensor

from app.contract.system_metrics import GPU_NAMES, GRADIENT_NORM, HOST_NAMES, IMAGES_PER_SECOND
from worker.reporting.reporter import Reporter
from worker.training.module import Classifier

logger = logging.getLogger("runyard.system_metrics")

EVERY_SECONDS = 2.0
NORM_EVERY = 32


class Meter(Protocol):
    """Measures what happened since the last reading: one value for each of its ``names``."""

    names: tuple[str, ...]

    def read(self) -> tuple[float, ...]:
        """The values, in the order of the names."""


class Host:
    """CPU and memory in use, and the reads and writes of all disks together."""

    names: tuple[str, ...] = HOST_NAMES

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before = (clock(), *_disk())
        self._used, self._passed = _processors()

    def read(self) -> tuple[float, ...]:
        now = (self._clock(), *_disk())
        seconds = max(now[0] - self._before[0], 1e-3)
        # A counter that restarted, because a disk was removed, does not count as a read.
        megabytes = [max(0.0, (new - old) / 1e6 / seconds) for new, old in zip(now[1:], self._before[1:], strict=True)]
        self._before = now
        (used, passed), (used_before, passed_before) = _processors(), (self._used, self._passed)
        self._used, self._passed = used, passed
        share = (used - used_before) / max(passed - passed_before, 1e-3)
        return min(100.0, max(0.0, 100 * share)), psutil.virtual_memory().percent, *megabytes


def _processors() -> tuple[float, float]:
    """Seconds that all processors were busy, and seconds that passed on them."""
    # Not psutil.cpu_percent: it remembers its last answer per thread, and returns 0 at a thread's first call.
    times = psutil.cpu_times()._asdict()
    # The host's time already includes that of its guests.
    passed = sum(value for name, value in times.items() if not name.startswith("guest"))
    return passed - times["idle"] - times.get("iowait", 0.0), passed


def _disk() -> tuple[int, int]:
    # None in a container that sees no disks.
    counters = psutil.disk_io_counters()
    return (counters.read_bytes, counters.write_bytes) if counters is not None else (0, 0)


class Gpu:
    """Utilization, memory, power and temperature of one GPU, as its driver reports them."""

    names: tuple[str, ...] = GPU_NAMES

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle

    @classmethod
    def of(cls, device: torch.device) -> Gpu | None:
        """The meter for a torch device; None if it is no GPU, or if the driver reports nothing."""
        if device.type != "cuda":
            return None
        import pynvml

        try:
            pynvml.nvmlInit()
            # By its UUID: torch counts only the devices that CUDA_VISIBLE_DEVICES leaves visible.
            uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
            return cls(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid))
        except pynvml.NVMLError as error:
            logger.warning("could not monitor the GPU: %s", error)
            return None

    def read(self) -> tuple[float, ...]:
        nvml, handle = self._nvml, self._handle
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        return (
            float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            100 * memory.used / memory.total,
            nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        )


class SystemMonitor:
    """Reports the meters' values and images per second, as long as training makes progress.

    ``step`` returns the optimizer steps so far. Images per second cover the time between two samples, which may include
    a validation or a checkpoint.
    """

    def __init__(
        self,
        reporter: Reporter,
        step: Callable[[], int],
        batch_size: int,
        meters: Iterable[Meter],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reporter = reporter
        self._step = step
        self._batch_size = batch_size
        self._meters = list(meters)
        self._clock = clock
        self._stopped = threading.Event()
        self._before = (clock(), step())

    def sample(self) -> None:
        """Take one sample; without a new step there is none, since its point would overwrite the previous one."""
        now, step = self._clock(), self._step()
        began, first = self._before
        if step <= first:
            return
        self._before = (now, step)
        speed = (step - first) * self._batch_size / max(now - began, 1e-9)
        self._reporter.points((IMAGES_PER_SECOND,), step, (speed,))
        for meter in list(self._meters):
            try:
                self._reporter.points(meter.names, step, meter.read())
            except Exception as error:  # whatever a driver or system raises, training continues without it
                logger.warning("stopped monitoring %s: %s", ", ".join(meter.names), error)
                self._meters.remove(meter)

    @contextmanager
    def running(self, every_seconds: float = EVERY_SECONDS) -> Iterator[None]:
        """Sample regularly from a thread while the context is open."""
        thread = threading.Thread(target=self._run, args=(every_seconds,), name="watching", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join(every_seconds)

    def _run(self, every_seconds: float) -> None:
        wait = every_seconds / 4  # so that a short run has a point too
        while not self._stopped.wait(wait):
            self.sample()
            wait = every_seconds


class GradientNorms:
    """Reports the norm of the gradient over all parameters, before clipping, every ``NORM_EVERY`` steps.

    ``then`` is called after each step, as if this object were not there.
    """

    def __init__(self, module: Classifier, then: Callable[[], None]) -> None:
        self._module = module
        self._then = then
        self._parameters = list(module.network.parameters())

    def after_step(self) -> None:
        """Called after each step, while its gradients still exist."""
        step = self._module.position.step
        if not step % NORM_EVERY:
            self._module.reporter.points((GRADIENT_NORM,), step, (self._norm(),))
        self._then()

    def _norm(self) -> Tensor:
        if self._module.norm is not None:
            return self._module.norm
        with torch.no_grad():
            gradients = [weight.grad for weight in self._parameters if weight.grad is not None]
            norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
            return norm


@contextmanager
def monitored(module: Classifier, reporter: Reporter, device: torch.device) -> Iterator[None]:
    """Monitor the machine and the gradient while the context is open."""
    gpu = Gpu.of(device)
    meters: list[Meter] = [Host(), *([gpu] if gpu else [])]
    module.after_step = GradientNorms(module, module.after_step).after_step
    monitor = SystemMonitor(reporter, lambda: module.position.step, module.config.batch_size, meters)
    with monitor.running():
        yield
