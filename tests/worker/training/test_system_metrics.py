"""System metrics have their units, and cost the training nothing."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from app.contract.system_metrics import GPU_NAMES, HOST_NAMES, IMAGES_PER_SECOND
from worker.training.system_metrics import NORM_EVERY, Gpu, GradientNorms, Host, SystemMonitor


class Heard:
    """A reporter that records everything."""

    def __init__(self) -> None:
        self.said: list[tuple[str, int, float]] = []

    def points(self, names: tuple[str, ...], step: int, values: Any) -> None:
        self.said += [(name, step, float(value)) for name, value in zip(names, values, strict=True)]


class StandIn:
    """NVML as it answers on a GPU, since no test needs one; `bench/gpu.py` uses a real one."""

    NVML_TEMPERATURE_GPU = 0

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:  # noqa: N802
        return SimpleNamespace(used=20 * 2**30, total=80 * 2**30)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=97, memory=40)

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:  # noqa: N802
        return 412_300

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:  # noqa: N802
        return 61


def watching(heard: Heard, times: list[float], steps: list[int], meters: list[Any]) -> SystemMonitor:
    clock, counted = iter(times), iter(steps)
    return SystemMonitor(heard, lambda: next(counted), 64, meters, lambda: next(clock))  # type: ignore[arg-type]


def test_throughput_is_images_a_second_between_two_looks() -> None:
    heard = Heard()
    watched = watching(heard, [0.0, 2.0, 4.0, 6.0], [0, 100, 100, 300], [])
    for _ in range(3):
        watched.sample()
    # While no step was made nothing is said, and the time counts for the next look.
    assert heard.said == [(IMAGES_PER_SECOND, 100, 3200.0), (IMAGES_PER_SECOND, 300, 3200.0)]


def test_the_host_says_what_is_used_in_the_unit_of_the_name() -> None:
    times = iter([0.0, 2.0])
    host = Host(lambda: next(times))
    began = time.process_time()
    while time.process_time() < began + 0.1:
        pass
    values = dict(zip(HOST_NAMES, host.read(), strict=True))
    assert 0 < values["system/cpu_percent"] <= 100
    assert 0 < values["system/memory_percent"] <= 100
    assert values["system/disk_write_mb_per_second"] >= 0


def test_a_gpu_is_told_in_per_cent_watts_and_degrees() -> None:
    values = dict(zip(GPU_NAMES, Gpu(StandIn(), "handle").read(), strict=True))
    assert list(values.values()) == pytest.approx([97, 25, 412.3, 61])
    assert Gpu.of(torch.device("cpu")) is None


def test_a_meter_that_fails_is_left_out_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        names = ("system/broken_percent",)

        def read(self) -> tuple[float, ...]:
            raise OSError("no such device")

    heard = Heard()
    watched = watching(heard, [0.0, 1.0, 2.0], [0, 10, 20], [Broken(), Gpu(StandIn(), "handle")])
    watched.sample()
    watched.sample()
    assert [name for name, step, _ in heard.said if step == 20] == [IMAGES_PER_SECOND, *GPU_NAMES]
    assert caplog.text.count("no such device") == 1


def test_it_looks_from_a_thread_and_ends_with_the_training() -> None:
    heard = Heard()
    steps = iter(range(0, 1_000_000, 10))
    watched = SystemMonitor(heard, lambda: next(steps), 64, [])  # type: ignore[arg-type]
    with watched.running(0.01):
        while len(heard.said) < 3:
            pass
    said = len(heard.said)
    watched.sample()
    assert len(heard.said) == said + 1


def test_the_norm_of_the_gradient_is_that_of_all_parameters() -> None:
    heard = Heard()
    network = nn.Linear(3, 2)
    for each in network.parameters():
        each.grad = torch.full_like(each, 2.0)
    module = SimpleNamespace(network=network, reporter=heard, norm=None, position=SimpleNamespace(step=0))
    called: list[int] = []
    norms = GradientNorms(module, lambda: called.append(module.position.step))  # type: ignore[arg-type]
    for step in range(1, 2 * NORM_EVERY + 1):
        module.position.step = step
        norms.after_step()
    whole = (8 * 4) ** 0.5
    assert [step for _, step, _ in heard.said] == [NORM_EVERY, 2 * NORM_EVERY]
    assert [value for *_, value in heard.said] == pytest.approx([whole, whole])
    assert called == list(range(1, 2 * NORM_EVERY + 1))
    module.norm = torch.tensor(7.0)
    norms.after_step()
    assert heard.said[-1] == ("train/grad_norm", 2 * NORM_EVERY, 7.0)
