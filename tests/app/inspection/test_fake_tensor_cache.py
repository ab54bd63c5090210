"""A cached operation returns the same result as the operation itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import models
from app.inspection import trace as tracing
from app.inspection.fake_tensor_cache import FakeTensorCache


class Remembering(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, mode: FakeTensorMode, memory: FakeTensorCache) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.mode, self.memory = mode, memory

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.memory(self.mode, operation, args, kwargs or {})


def looks(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.storage_offset(), tensor.device.type


def batch_norm(images: Tensor) -> Tensor:
    return nn.functional.batch_norm(images, torch.zeros(4), torch.ones(4), training=True)


@pytest.mark.parametrize(
    "work",
    [
        lambda images: images.relu() * 2,
        lambda images: images.transpose(1, 3)[:, 1:].reshape(6, -1),
        lambda images: images.to(memory_format=torch.channels_last).contiguous(),
        lambda images: images.to(torch.bfloat16).float(),
        lambda images: torch.cat(images.chunk(2, dim=1), dim=3),
        lambda images: images.clone().add_(1),
        lambda images: images.new_empty(6, 1, 1, 1).bernoulli_(0.5) * images,
        lambda images: images.sum(1.0 and 1, keepdim=True) + images.sum(1, keepdim=False)[:, None],
        batch_norm,
    ],
)
def test_the_second_answer_looks_as_the_first(work: Callable[[Tensor], Tensor]) -> None:
    real = work(torch.zeros(6, 4, 8, 8))
    with FakeTensorMode() as mode, Remembering(mode, FakeTensorCache()):
        first, second = work(torch.empty(6, 4, 8, 8)), work(torch.empty(6, 4, 8, 8))
        assert looks(first) == looks(second) == looks(real)


def test_a_view_from_memory_shows_the_memory_of_its_own_base() -> None:
    with FakeTensorMode() as mode, Remembering(mode, FakeTensorCache()):
        bases = [torch.empty(6, 4) for _ in range(2)]
        storages = [base.view(24).untyped_storage()._cdata for base in bases]
        assert storages == [base.untyped_storage()._cdata for base in bases]
        assert storages[0] != storages[1]
        grown = bases[1].add_(1)
        assert grown is bases[1]


def test_numbers_that_are_equal_and_of_other_types_are_with_distinct_names() -> None:
    with FakeTensorMode() as mode, Remembering(mode, FakeTensorCache()):
        whole = torch.empty(3, dtype=torch.int64)
        assert (whole * 1).dtype == torch.int64
        assert (whole * 1.0).dtype == torch.float32
        assert (whole * True).dtype == torch.int64


@pytest.mark.parametrize("family", sorted(models.families()))
def test_a_network_costs_the_same_by_an_empty_memory_and_by_a_full_one(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look() -> tuple[Any, ...]:
        shape = models.Shape(3, 32, {"class": 10})
        found = tracing.trace(lambda: models.build(family, models.get(family).default, shape, {}), shape)
        rows = [(part.path, part.params, part.flops, part.before, part.shape, part.entered) for part in found.parts]
        return rows, found.kept_bytes, found.kept_bytes_per_image

    full = look()
    assert look() == full
    monkeypatch.setattr(tracing, "_remembered", lambda mode, operation, args, kwargs: operation(*args, **kwargs))
    assert look() == full
