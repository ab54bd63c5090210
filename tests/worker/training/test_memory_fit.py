"""The largest batch. No GPU is needed: a fake raises the error torch raises when a GPU's memory is used up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import models
from app.contract.settings import Settings
from tests.worker.conftest import Collector, fit_run, make_config
from worker import memory
from worker.data.datasets import load
from worker.data.device_dataset import Resident
from worker.job import CONTINUE, INTERRUPT, Control, Job
from worker.training import memory_fit
from worker.training.checkpoint_file import from_bytes
from worker.training.memory_fit import MemoryNeed, Rehearsal, estimate_need, largest_batch, out_of_memory_reason
from worker.training.module import Classifier
from worker.training.trainer import _attempt

SHAPE = (1, 28, 28)
PLENTY = 2**40


def network(family: str = "simple_cnn", size: str = "tiny") -> nn.Module:
    return models.build(family, size, models.Shape(1, 28, {"digit": 10}), {})


@pytest.fixture
def resident(datasets: Path) -> Resident:
    return Resident(load("digits", ["digit"], datasets, lambda text: None), torch.device("cpu"))


@pytest.fixture
def holds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A fake GPU whose memory fits the first of these and no more; the rest are the batch sizes tried."""
    monkeypatch.setattr(memory, "free_bytes", lambda: PLENTY)
    told = [10**9]

    def step(_: Rehearsal, images: int) -> None:
        told.append(images)
        if images > told[0]:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Rehearsal, "step", step)
    return told


@pytest.mark.parametrize("most", [1, 2, 31, 32, 33, 100, 640, 1000, 1256])
def test_the_largest_batch_is_found_to_a_sixteenth_and_never_one_that_does_not_fit(
    resident: Resident, holds: list[int], most: int
) -> None:
    holds[0] = most
    found = largest_batch(network(), resident, make_config(), 1, lambda batch: None)
    assert found.batch_size <= most
    assert found.batch_size >= most - max(1, most // 16) - 8
    assert found.limit.endswith("does not fit")
    assert len(holds) - 1 < 20


def test_no_batch_is_larger_than_the_training_set(resident: Resident, holds: list[int]) -> None:
    tried: list[int] = []
    found = largest_batch(network(), resident, make_config(), 1, tried.append)
    assert (found.batch_size, found.limit) == (1257, "limited by the training set")
    assert tried == holds[1:] == [32, 64, 128, 256, 512, 1024, 1257]


def test_where_not_even_the_smallest_fits_that_is_what_is_raised(resident: Resident, holds: list[int]) -> None:
    holds[0] = 1
    with pytest.raises(torch.cuda.OutOfMemoryError):
        largest_batch(network(), resident, make_config(), 2, lambda batch: None)


def test_on_a_processor_nothing_is_tried_that_would_not_fit_into_what_is_free(
    resident: Resident, holds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, config = network(), make_config()
    need = estimate_need(net, config, SHAPE, 0)
    monkeypatch.setattr(
        memory, "free_bytes", lambda: int((need.fixed + 100 * need.per_image) / memory_fit.MEMORY_SHARE) + 1000
    )
    found = largest_batch(net, resident, config, 1, lambda batch: None)
    assert found.batch_size == 100
    assert "of free memory" in found.limit
    assert max(holds[1:]) <= 100


def test_other_errors_are_not_taken_for_a_lack_of_memory(resident: Resident, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(_: Rehearsal, images: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Rehearsal, "step", step)
    with pytest.raises(RuntimeError, match="mat1"):
        largest_batch(network(), resident, make_config(), 1, lambda batch: None)


def test_a_rehearsal_makes_a_real_step_and_leaves_network_and_random_numbers_as_they_were(resident: Resident) -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    found = largest_batch(net, resident, make_config(crop_padding=2), 1, lambda batch: None)
    assert found.batch_size > 100
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(("family", "size"), [("simple_cnn", "tiny"), ("simple_mlp", "base"), ("vit", "tiny")])
def test_the_estimate_grows_with_the_batch_as_what_autograd_keeps_does(family: str, size: str) -> None:
    net = network(family, size)
    state = torch.get_rng_state()
    need = estimate_need(net, make_config(family, size), SHAPE, 0)
    assert torch.equal(torch.get_rng_state(), state)
    weights = sum(each.numel() * each.element_size() for each in net.parameters())
    assert need.fixed >= 4 * weights
    eight = memory_fit._saved_bytes(net, SHAPE, 0, 8)
    assert need.per_image * 8 == pytest.approx(memory_fit.PEAK_FACTOR * eight, rel=0.25)


def test_the_largest_batch_by_estimate() -> None:
    assert MemoryNeed(100, 10).largest(1000) == 90
    assert MemoryNeed(100, 10).largest(50) == 0


# Runs ----------------------------------------------------------------------------------------------------------------


def test_a_run_begins_with_the_largest_batch_tells_it_and_goes_on_with_the_same(
    data_dir: Path, holds: list[int]
) -> None:
    holds[0] = 300
    config = make_config(find_batch=True, epochs=6, batch_size=16)
    whole = fit_run(config, data_dir, fence=9)
    (started,) = whole.reporter.events_of("started")
    found = started.batch_size
    assert 250 <= found <= 300
    assert started.environment["batch_size_found"] == found
    assert started.environment["steps_per_epoch"] == 1257 // found
    assert any(f"largest batch size that fits: {found} (" in text for _, text in whole.reporter.lines)
    assert any(each.phase.startswith("finding the largest batch size") for each in whole.reporter.events_of("progress"))

    class StopsAtStep(list[int]):
        """Commands a stop after a number of beats."""

        def __setitem__(self, index: Any, value: Any) -> None:
            super().__setitem__(index, value)
            if index == 1 and value == 35:
                super().__setitem__(0, INTERRUPT)

    first = fit_run(config, data_dir, shared=StopsAtStep([CONTINUE, 0]), fence=1)
    assert first.result.outcome == "interrupted"
    holds[0] = 40  # others took the memory meanwhile: the batch stays what it was
    tried = len(holds)
    second = fit_run(config, data_dir, resume=first.reporter.last_checkpoint(), fence=2)
    assert len(holds) == tried
    assert second.reporter.events_of("started")[0].batch_size == found
    one, other = (from_bytes(each.kept(each.reporter.last_checkpoint())) for each in (second, whole))
    assert all(torch.equal(value, other.network[name]) for name, value in one.network.items())


def test_the_same_run_given_the_batch_it_would_find_trains_the_same_network(data_dir: Path, holds: list[int]) -> None:
    holds[0] = 100
    found = fit_run(make_config(find_batch=True), data_dir)
    size = found.reporter.events_of("started")[0].batch_size
    given = fit_run(make_config(batch_size=size), data_dir, fence=2)
    assert given.reporter.events_of("started")[0].batch_size is None
    assert found.reporter.curves["train/loss"] == given.reporter.curves["train/loss"]


def attempt(data_dir: Path, error: Exception, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> str:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Classifier, "_micro_step", fail)
    job = Job("r", 1, 1, make_config(**changes), None, Settings(data_dir=data_dir), "cpu", 1)
    reporter = Collector()
    result = _attempt(job, reporter, Control([CONTINUE, 0]))
    assert result.outcome == "failed"
    assert reporter.lines[-1] == ("error", result.reason)
    return result.reason


HOST = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes."),
]


@pytest.mark.parametrize("error", HOST, ids=lambda error: str(error)[:12])
def test_a_machine_out_of_memory_ends_the_run_with_a_batch_that_should_fit(
    data_dir: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = attempt(data_dir, error, monkeypatch, batch_size=512)
    assert said.startswith("simple_mlp tiny at batch size 512 does not fit in this machine's memory (")
    assert "; try batch size 256, which is estimated to fit" in said


def test_the_batch_that_is_advised_is_what_by_estimate_fits(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config("simple_cnn", "tiny", batch_size=1024)
    need = estimate_need(network(), config, SHAPE, 0)
    monkeypatch.setattr(
        memory, "total_bytes", lambda: int((need.fixed + 70 * need.per_image) / memory_fit.MEMORY_SHARE) + 1000
    )
    error = torch.cuda.OutOfMemoryError("CUDA out of memory")
    said = attempt(data_dir, error, monkeypatch, family="simple_cnn", size="tiny", batch_size=1024)
    assert "try batch size 64, which is estimated to fit, or set find_batch to find the largest that fits" in said


def test_advice_is_given_also_where_nothing_can_be_estimated() -> None:
    def broken() -> nn.Module:
        raise MemoryError

    said = out_of_memory_reason(make_config(batch_size=100), broken, "cuda:0", 0)
    assert "does not fit in the GPU's memory; try" in said
    assert "try batch size 32" in said
    assert out_of_memory_reason(make_config(batch_size=1), broken, "cpu", 0).endswith("try a smaller size")
