"""What the machine does while it trains: throughput, CPU, memory, disk and GPU, measured every few seconds.

A thread of its own looks and reports, so a step pays nothing. The norm of the gradient costs some kernels, so it is
taken of every ``NORM_EVERY``-th step; where gradients are clipped it is known of all.
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

logger = logging.getLogger("runyard.watching")

EVERY_SECONDS = 2.0
NORM_EVERY = 32


class Meter(Protocol):
    """Measures what happened since it was asked last: a value for each of its ``names``."""

    names: tuple[str, ...]

    def read(self) -> tuple[float, ...]:
        """The values, in the order of the names."""


class Host:
    """CPU and memory in use, and what the disks read and write, all of them together."""

    names: tuple[str, ...] = HOST_NAMES

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before = (clock(), *_disk())
        self._used, self._passed = _processors()

    def read(self) -> tuple[float, ...]:
        now = (self._clock(), *_disk())
        seconds = max(now[0] - self._before[0], 1e-3)
        # A counter that began anew, of a disk that was taken away, is nothing that was read.
        megabytes = [max(0.0, (new - old) / 1e6 / seconds) for new, old in zip(now[1:], self._before[1:], strict=True)]
        self._before = now
        (used, passed), (used_before, passed_before) = _processors(), (self._used, self._passed)
        self._used, self._passed = used, passed
        share = (used - used_before) / max(passed - passed_before, 1e-3)
        return min(100.0, max(0.0, 100 * share)), psutil.virtual_memory().percent, *megabytes


def _processors() -> tuple[float, float]:
    """Seconds that all processors were busy, and that have passed on them."""
    # Not psutil.cpu_percent: it remembers what it said to each thread, and says 0 to one that asks first.
    times = psutil.cpu_times()._asdict()
    # What guests have used is in what their host has.
    passed = sum(value for name, value in times.items() if not name.startswith("guest"))
    return passed - times["idle"] - times.get("iowait", 0.0), passed


def _disk() -> tuple[int, int]:
    # None in a container that is shown no disks.
    found = psutil.disk_io_counters()
    return (found.read_bytes, found.write_bytes) if found is not None else (0, 0)


class Gpu:
    """Utilization, memory, power and temperature of one GPU, as its driver says them."""

    names: tuple[str, ...] = GPU_NAMES

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle

    @classmethod
    def of(cls, device: torch.device) -> Gpu | None:
        """Of a device of torch; None where it is no GPU, or where the driver tells nothing."""
        if device.type != "cuda":
            return None
        import pynvml

        try:
            pynvml.nvmlInit()
            # By its UUID: torch counts only the devices that CUDA_VISIBLE_DEVICES leaves it.
            uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
            return cls(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid))
        except pynvml.NVMLError as error:
            logger.warning("the GPU is not watched: %s", error)
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
    """Reports what the meters say, and how many images a second are trained, as long as the training gets on.

    ``step`` gives the optimizer steps so far. Images a second are those of the time between two looks, in which there
    may be a validation or a checkpoint.
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
        self._over = threading.Event()
        self._before = (clock(), step())

    def look(self) -> None:
        """One look. Nothing is said where no step was made: a point would lie over the one before it."""
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
            except Exception as error:  # whatever a driver or a system says, the training goes on without it
                logger.warning("%s is not watched any more: %s", ", ".join(meter.names), error)
                self._meters.remove(meter)

    @contextmanager
    def going_on(self, every_seconds: float = EVERY_SECONDS) -> Iterator[None]:
        """Look every so often, from a thread."""
        thread = threading.Thread(target=self._run, args=(every_seconds,), name="watching", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(every_seconds)

    def _run(self, every_seconds: float) -> None:
        wait = every_seconds / 4  # a short run has a point too
        while not self._over.wait(wait):
            self.look()
            wait = every_seconds


class GradientNorms:
    """Reports the norm of the gradient, over all parameters and before it is clipped, of every ``NORM_EVERY``-th step.

    ``then`` is done after each step, as if this were not there.
    """

    def __init__(self, module: Classifier, then: Callable[[], None]) -> None:
        self._module = module
        self._then = then
        self._parameters = list(module.network.parameters())

    def after_step(self) -> None:
        """Called after each step, while its gradients are there."""
        step = self._module.position.step
        if not step % NORM_EVERY:
            self._module.reporter.points((GRADIENT_NORM,), step, (self._norm(),))
        self._then()

    def _norm(self) -> Tensor:
        if self._module.norm is not None:
            return self._module.norm
        with torch.no_grad():
            found = [each.grad for each in self._parameters if each.grad is not None]
            whole: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(found)))
            return whole


@contextmanager
def watched(module: Classifier, reporter: Reporter, device: torch.device) -> Iterator[None]:
    """The machine and the gradient are watched while this goes on."""
    gpu = Gpu.of(device)
    meters: list[Meter] = [Host(), *([gpu] if gpu else [])]
    module.after_step = GradientNorms(module, module.after_step).after_step
    watching = SystemMonitor(reporter, lambda: module.position.step, module.config.batch_size, meters)
    with watching.going_on():
        yield
